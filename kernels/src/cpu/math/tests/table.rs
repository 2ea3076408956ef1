//! Every function against values of 106 bits from elsewhere (`tests/data/maths.py`), in f64 and f32; the rows in f64 also
//! on every ISA with the same bits, at special values and against std.

use super::*;
use crate::cpu::map::{self, Source};
use crate::elementwise::{BinaryOp, UnaryVisitor, WideUnaryFormula};
use crate::strided::View;

/// Functions in the order of the table, with their bounds in units of the last place: f64, f32.
const FUNCTIONS: [(&str, f64, f64); 26] = [
    ("exp", 1.0, 1.0),
    ("expm1", 2.0, 2.0),
    ("exp2", 1.0, 0.51),
    ("log", 1.0, 1.5),
    ("log1p", 1.0, 2.0),
    ("log2", 0.51, 0.51),
    ("log10", 0.51, 0.51),
    ("sin", 1.0, 1.0),
    ("cos", 1.0, 1.0),
    ("tan", 1.0, 0.51),
    ("asin", 1.0, 0.51),
    ("acos", 1.0, 0.51),
    ("atan", 1.0, 0.51),
    ("sinh", 1.0, 0.51),
    ("cosh", 1.0, 0.51),
    ("tanh", 1.0, 2.0),
    ("asinh", 1.0, 0.51),
    ("acosh", 1.0, 0.51),
    ("atanh", 1.0, 0.51),
    ("sigmoid", 1.5, 2.5),
    ("erf", 1.5, 1.5),
    ("erfc", 2.0, 0.51),
    ("gelu", 2.0, 5.0),
    ("pow", 1.0, 1.25),
    ("atan2", 1.0, 0.51),
    ("hypot", 1.0, 0.51),
];
const ROWS: usize = 160;

/// The columns a, b, high and low of function `place`.
fn columns(place: usize) -> [Vec<f64>; 4] {
    let bytes = include_bytes!("../../../../tests/data/maths.bin");
    assert_eq!(bytes.len(), FUNCTIONS.len() * ROWS * 32);
    let rows = &bytes[place * ROWS * 32..(place + 1) * ROWS * 32];
    [0, 8, 16, 24].map(|column| {
        let number = |row: &[u8]| f64::from_le_bytes(row[column..column + 8].try_into().unwrap());
        rows.chunks(32).map(number).collect()
    })
}

/// The function `name` of the operands, as a user gets it.
fn call<T: Float>(name: &str, a: &[T], b: &[T]) -> Vec<T> {
    let mut y = vec![T::ZERO; a.len()];
    let len = [a.len()];
    let source = |x| Source::View(View::new(x, 0, &len, &[1]).unwrap());
    if let Some(op) = UnaryOp::ALL.iter().find(|op| op.name() == name) {
        map::unary(*op, source(a), &mut y).unwrap();
    } else {
        let op = BinaryOp::ALL.iter().find(|op| op.name() == name).unwrap();
        map::binary(*op, source(a), source(b), &mut y).unwrap();
    }
    y
}

#[test]
fn every_function_keeps_its_bound() {
    for (place, &(name, bound, bound_f32)) in FUNCTIONS.iter().enumerate() {
        let [a, b, high, low] = columns(place);
        let mut worst = [0f64; 2];
        for (i, y) in call(name, &a, &b).into_iter().enumerate() {
            let off = ((y - high[i]) - low[i]).abs() / unit(high[i], 52, -1022);
            assert!(off <= bound, "{name}({:e}, {:e}) = {y:e}: {off} units off", a[i], b[i]);
            worst[0] = worst[0].max(off);
        }
        let single = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let mut compared = 0;
        for (i, y) in call(name, &single(&a), &single(&b)).into_iter().enumerate() {
            let exact = [a[i], b[i]].iter().all(|&x| (x as f32) as f64 == x);
            if !exact || high[i].abs() >= f32::MAX as f64 {
                continue;
            }
            compared += 1;
            let off = (y as f64 - high[i]).abs() / unit(high[i], 23, -126);
            assert!(off <= bound_f32, "{name}({:e}, {:e}) = {y:e}: {off} units off", a[i], b[i]);
            worst[1] = worst[1].max(off);
        }
        assert!(compared >= 20, "{name}: {compared} operands are f32");
        println!("{name:8} f64 {:.3} f32 {:.3}", worst[0], worst[1]);
    }
}

struct Wide<'a, F>(&'a [f64], &'a mut [f64], PhantomData<F>);

impl<F: WideUnaryFormula> Kernel<f64> for Wide<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<f64>>(self, s: S) {
        for (x, y) in self.0.chunks(S::LANES).zip(self.1.chunks_mut(S::LANES)) {
            // SAFETY: both chunks have `x.len() <= LANES` elements.
            unsafe {
                let value = F::apply(s, s.load_first(x.as_ptr(), x.len()));
                s.store_first(y.as_mut_ptr(), value, x.len());
            }
        }
    }
}

/// A row in f64 on every ISA, and against std.
struct OnEveryIsa<'a>(UnaryOp, &'a [f64]);

impl UnaryVisitor for OnEveryIsa<'_> {
    type Output = ();
    fn visit<F: UnaryFormula>(self) {}
    fn visit_wide<F: WideUnaryFormula>(self) {
        let run = |isa| {
            let mut y = vec![0.0; self.1.len()];
            dispatch_on(isa, Wide::<F>(self.1, &mut y, PhantomData));
            y
        };
        let first = run(Isa::Scalar);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            for ((&x, &a), &b) in self.1.iter().zip(&first).zip(&run(isa)) {
                assert!(same(a, b), "{:?}({x:?}): scalar {a:?}, {} {b:?}", self.0, isa.name());
            }
        }
        for (&x, &y) in self.1.iter().zip(&first) {
            // What std and the series themselves are off.
            let slack = if self.0 == UnaryOp::Erfc { 100.0 } else { 4.0 };
            let off = distance(y, reference::unary(self.0, x));
            assert!(off <= slack, "{:?}({x:?}) = {y:?}: {off} units off", self.0);
        }
    }
}

#[test]
fn rows_in_f64_have_the_same_bits_everywhere() {
    let limits =
        [709.7, -709.7, 710.4, -710.4, 711.0, 1023.9, 1024.0, -1074.4, -1075.5, 26.5, 28.0];
    let near = [-1.0, 0.0, 1.0, 2.0].iter().flat_map(|x: &f64| [x.next_up(), x.next_down()]);
    let x: Vec<f64> = sample_f64().into_iter().step_by(9).chain(limits).chain(near).collect();
    UnaryOp::ALL.iter().for_each(|op| op.visit(OnEveryIsa(*op, &x)));
}

#[test]
fn pairs_have_the_special_cases_of_ieee() {
    let values = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        2.0,
        -3.0,
        1e-310,
        -5e-324,
        1e200,
        -1e308,
        f64::MAX,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    let pairs = || values.iter().flat_map(|&a| values.iter().map(move |&b| (a, b)));
    let random = random(4000).map(f64::from_bits);
    let (a, b): (Vec<f64>, Vec<f64>) =
        pairs().chain(random.zip(super::random(8000).skip(4000).map(f64::from_bits))).unzip();
    for (op, units) in [
        (BinaryOp::Atan2, 1.5),
        (BinaryOp::Hypot, 1.5),
        (BinaryOp::Fmod, 0.0),
        (BinaryOp::Remainder, 0.0),
        (BinaryOp::FloorDivide, 0.0),
        (BinaryOp::TruncDivide, 0.0),
    ] {
        for (i, y) in call(op.name(), &a, &b).into_iter().enumerate() {
            let want = reference::binary(op, a[i], b[i]);
            // Infinite beside NaN: std's hypot is of two minds.
            if op == BinaryOp::Hypot && (a[i].is_nan() || b[i].is_nan()) {
                continue;
            }
            let off = distance(y, want);
            assert!(off <= units, "{op:?}({:?}, {:?}) = {y:?}, not {want:?}", a[i], b[i]);
        }
    }
    assert_eq!(
        call("hypot", &[f64::INFINITY, f64::NAN], &[f64::NAN, f64::NEG_INFINITY]),
        [f64::INFINITY; 2]
    );
    assert!(call("hypot", &[f64::NAN], &[1.0])[0].is_nan());
    let powers: Vec<f64> = (-300..=300).map(|n| 10f64.powi(n)).collect();
    for (i, y) in call("log10", &powers, &[]).into_iter().enumerate() {
        // Not every power is exact; those up to 1e22 are.
        assert!(
            (y - (i as f64 - 300.0)).abs() < 1e-13
                && (!(300..=322).contains(&i) || y == i as f64 - 300.0)
        );
    }
    let powers: Vec<f64> = (-1074..=1023)
        .map(|n: i64| {
            f64::from_bits(if n < -1022 { 1 << (n + 1074) } else { ((n + 1023) as u64) << 52 })
        })
        .collect();
    assert!(
        call("log2", &powers, &[]).into_iter().enumerate().all(|(i, y)| y == i as f64 - 1074.0)
    );
    let whole: Vec<f64> = (-1074..=1024).map(f64::from).collect();
    assert_eq!(call("exp2", &whole, &[])[..2098], powers[..]);
}
