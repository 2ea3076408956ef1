//! Operators, chains, promotion, broadcasting and indexing: everything that design.md promises compiles, and computes.

use ferrotape::DType::{Bool, F32, F64, I64, U8};
use ferrotape::prelude::*;

const DTYPES: [DType; 5] = [Bool, U8, I64, F32, F64];

fn t(values: [f32; 2]) -> Tensor {
    Tensor::from(values)
}

fn values(x: Result<Tensor>) -> Vec<f32> {
    x.unwrap().to_vec().unwrap()
}

/// Every combination of operands of one operator, each with the same values.
macro_rules! combinations {
    ($op:tt) => {{
        let (a, b) = (t([6., 9.]), t([2., 2.]));
        let expected = vec![6f32 $op 2., 9f32 $op 2.];
        let (x, y) = (|| a.clone(), || b.clone());
        let ok = |x: Tensor| -> Result<Tensor> { Ok(x) };
        for got in [
            &a $op &b, &a $op y(), &a $op ok(y()), &a $op 2.0,
            x() $op &b, x() $op y(), x() $op ok(y()), x() $op 2.0,
            ok(x()) $op &b, ok(x()) $op y(),
        ] {
            assert_eq!(values(got), expected, stringify!($op));
        }
        let expected = vec![3f32 $op 6., 3f32 $op 9.];
        for got in [3.0 $op &a, 3.0 $op x()] {
            assert_eq!(values(got), expected, stringify!($op));
        }
        // The operands are as before.
        assert_eq!((values(Ok(a)), values(Ok(b))), (vec![6., 9.], vec![2., 2.]));
    }};
}

#[test]
fn every_combination_of_every_operator() {
    combinations!(+);
    combinations!(-);
    combinations!(*);
    combinations!(/);
    let a = t([1., -2.]);
    assert_eq!((values(-&a), values(-a)), (vec![-1., 2.], vec![-1., 2.]));
}

#[test]
fn failures_pass_through_operators() {
    let (a, wrong) = (t([1., 2.]), Tensor::from([1f32, 2., 3.]));
    let failed = || &a + &wrong;
    for got in [&a * failed(), a.clone() - failed(), failed() / &a, failed() + a.clone()] {
        let message = got.unwrap_err().to_string();
        assert!(message.starts_with("add: [2] and [3] don't broadcast"), "{message}");
    }
}

#[test]
fn chains_need_one_question_mark() -> Result<()> {
    let (x, w, b) =
        (t([1., 2.]).unsqueeze(0)?, Tensor::from([[1f32, -1.], [2., -2.]]), t([0.5, 1.]));
    let methods = x.matmul(&w).add(&b).relu()?;
    let operators = (x.matmul(&w) + &b).relu()?;
    assert_eq!(methods.to_vec::<f32>()?, [5.5, 0.]);
    assert_eq!(operators.to_vec::<f32>()?, [5.5, 0.]);
    let both = x.mul(2.0).add(x.exp().log()).sub(1.0).maximum(0.0).sum(..)?;
    assert!((both.item::<f32>()? - 7.).abs() < 1e-6);
    assert!(x.matmul(&x).add(&b).relu().sum(..).unwrap_err().to_string().starts_with("matmul:"));
    Ok(())
}

/// `torch.where(c, a, b).dtype` for a of row type, b of column type; a and b being 1-d or 0-d.
const PROMOTED: [[[DType; 5]; 5]; 4] = [
    // [1-d, 1-d]
    [
        [Bool, U8, I64, F32, F64],
        [U8, U8, I64, F32, F64],
        [I64, I64, I64, F32, F64],
        [F32, F32, F32, F32, F64],
        [F64, F64, F64, F64, F64],
    ],
    // [0-d, 1-d]
    [
        [Bool, U8, I64, F32, F64],
        [U8, U8, I64, F32, F64],
        [I64, U8, I64, F32, F64],
        [F32, F32, F32, F32, F64],
        [F64, F64, F64, F32, F64],
    ],
    // [1-d, 0-d]
    [
        [Bool, U8, I64, F32, F64],
        [U8, U8, U8, F32, F64],
        [I64, I64, I64, F32, F64],
        [F32, F32, F32, F32, F32],
        [F64, F64, F64, F64, F64],
    ],
    // [0-d, 0-d]
    [
        [Bool, U8, I64, F32, F64],
        [U8, U8, I64, F32, F64],
        [I64, I64, I64, F32, F64],
        [F32, F32, F32, F32, F64],
        [F64, F64, F64, F64, F64],
    ],
];

fn ones(rank: usize, dtype: DType) -> Tensor {
    Tensor::ones(&[2; 4][..rank], dtype).unwrap()
}

#[test]
fn types_promote_as_in_pytorch() {
    for (table, (m, n)) in PROMOTED.iter().zip([(1, 1), (0, 1), (1, 0), (0, 0)]) {
        for (i, a) in DTYPES.into_iter().enumerate() {
            for (j, b) in DTYPES.into_iter().enumerate() {
                let (x, y, expected) = (ones(m, a), ones(n, b), table[i][j]);
                let chosen = ones(m.max(n), Bool).select(&x, &y).unwrap();
                assert_eq!(chosen.dtype(), expected, "{m}-d {a} and {n}-d {b}");
                assert_eq!(x.eq(&y).unwrap().dtype(), Bool);
                assert_eq!(x.add(&y).unwrap().dtype(), expected, "{m}-d {a} + {n}-d {b}");
                let float = if expected.is_float() { expected } else { F32 };
                assert_eq!(x.div(&y).unwrap().dtype(), float, "{m}-d {a} / {n}-d {b}");
            }
        }
    }
}

#[test]
fn numbers_take_the_type_of_the_tensor() {
    for (dtype, whole, broken) in DType::ALL.map(|dtype| match dtype {
        Bool => (Bool, I64, F32),
        integer if integer.is_integer() => (integer, integer, F32),
        float => (float, float, float),
    }) {
        for rank in [0, 1] {
            let x = ones(rank, dtype);
            for (number, expected) in [(2.0, whole), (2.5, broken)] {
                for y in [&x + number, number + &x, x.clone() + number, number + x.clone()] {
                    let y = y.unwrap();
                    assert_eq!((y.dtype(), y.rank()), (expected, rank), "{dtype} + {number}");
                    assert_eq!(
                        y.to_dtype(F64).sum(..).unwrap().to_f64().unwrap(),
                        (1. + number) * y.len() as f64
                    );
                }
            }
        }
    }
    let third = 1.0 / Tensor::from([3i64]);
    assert_eq!(values(third), [1. / 3.]);
}

#[test]
fn shapes_broadcast() {
    for (a, b, c) in [
        (&[2, 3][..], &[3][..], &[2, 3][..]),
        (&[2, 1], &[1, 3], &[2, 3]),
        (&[], &[2, 3], &[2, 3]),
        (&[4, 1, 3], &[2, 1], &[4, 2, 3]),
        (&[0, 1], &[1, 3], &[0, 3]),
        (&[1], &[0], &[0]),
    ] {
        let x = Tensor::arange(0., 1., a.iter().product(), F64).reshape(a).unwrap();
        let y = Tensor::arange(10., 10., b.iter().product(), F64).reshape(b).unwrap();
        let (sum, full) = ((&x + &y).unwrap(), x.expand(c).add(y.expand(c)).unwrap());
        assert_eq!(sum.shape(), c);
        assert_eq!(sum.to_vec::<f64>().unwrap(), full.to_vec::<f64>().unwrap());
        assert_eq!((&y + &x).unwrap().shape(), c);
    }
    let sum = Tensor::from([[1f32], [2.]]) + Tensor::from([10f32, 20.]);
    assert_eq!(values(sum), [11., 21., 12., 22.]);
    assert!((ones(1, F32) + Tensor::ones([3], F32).unwrap()).is_err());
}

#[test]
fn indexing_takes_parts() -> Result<()> {
    let x = Tensor::arange(0., 1., 24, I64).reshape([2, 3, 4])?;
    let part = |y: Result<Tensor>| -> Result<(Vec<usize>, Vec<i64>)> {
        let y = y?;
        Ok((y.shape().to_vec(), y.to_vec()?))
    };
    assert_eq!(part(x.i((1, 2, 3)))?, (vec![], vec![23]));
    assert_eq!(part(x.i((-1, -1)))?, (vec![4], vec![20, 21, 22, 23]));
    assert_eq!(part(x.i((.., 1..3, 0)))?, (vec![2, 2], vec![4, 8, 16, 20]));
    assert_eq!(part(x.i((0, .., 3..)))?, (vec![3, 1], vec![3, 7, 11]));
    assert_eq!(part(x.i((0, ..-1, -2..=-1)))?, (vec![2, 2], vec![2, 3, 6, 7]));
    assert_eq!(part(x.i((0, 0, ferrotape::Index::NewDim)))?, (vec![1, 4], vec![0, 1, 2, 3]));
    assert_eq!(part(x.i(1..1))?, (vec![0, 3, 4], vec![]));
    assert_eq!(part(x.i(..))?.0, [2, 3, 4]);
    // A view: no copy.
    assert_eq!(x.i((1, 0, 0))?.address(), x.address() + 12 * 8);
    for wrong in [
        x.i(2),
        x.i(-3),
        x.i((0, 0, 4)),
        x.i((.., ferrotape::Index::Range(2, Some(1)))),
        x.i((.., 0..4)),
        x.i((0, 0, 0, 0)),
    ] {
        assert!(wrong.unwrap_err().to_string().starts_with("index:"));
    }
    Ok(())
}
