//! Odd calls, with what PyTorch gives for them: ties, mixed types, integers, scalars, nothing at all.

use ferrotape::Element;
use ferrotape::autograd::Tape;
use ferrotape::prelude::*;

fn vec<T: Element>(x: Result<Tensor>) -> Vec<T> {
    x.unwrap().to_vec().unwrap()
}

fn gradients<const N: usize>(x: [&Tensor; N], f: impl Fn() -> Result<Tensor>) -> [Vec<f64>; N] {
    let (y, tape) = Tape::record(|tape| {
        x.iter().for_each(|x| tape.watch(x));
        f()?.sum(..)
    })
    .unwrap();
    let gradients = tape.gradient(&y, &x).unwrap();
    std::array::from_fn(|i| gradients[i].to_vec().unwrap())
}

#[test]
fn types_that_meet() {
    let (half, byte) = (Tensor::ones([2], DType::F16).unwrap(), Tensor::from([7u8, 9]));
    let all = Tensor::cat(&[&half, &byte, &Tensor::from([0.5])], 0).unwrap();
    assert_eq!((all.dtype(), vec::<f64>(Ok(all))), (DType::F64, vec![1., 1., 7., 9., 0.5]));
    assert_eq!(Tensor::stack(&[&byte, &Tensor::from([1i8, 2])], 0).unwrap().dtype(), DType::I32);
    // A number that a byte can't hold is no byte beside it.
    assert_eq!(vec::<f32>(byte.div(-2.0)), [-3.5, -4.5]);
    assert!(vec::<f32>(byte.xlogy(-1.0)).iter().all(|x| x.is_nan()));
    assert_eq!(vec::<f32>(Tensor::from([0u8]).atan2(-1.0)), [std::f32::consts::PI]);
    let two = Tensor::from([0i64, 0]).logsumexp(0).unwrap();
    assert_eq!((two.dtype(), two.item::<f32>().unwrap()), (DType::F32, 2f32.ln()));
    let (x, w) = (Tensor::from([[1i32, 2]]), Tensor::from([[3i32, 4], [5, 6]]));
    assert_eq!(vec::<i32>(x.linear(&w, Some(&Tensor::from([100i32, 200])))), [111, 217]);
    let message = x.ne(0.0).linear(&w.ne(0.0).unwrap(), None).unwrap_err().to_string();
    assert!(message.contains("bool"), "{message}");
}

#[test]
fn scans_of_integers() {
    let x = Tensor::from([100i8, 100, -3, 100]);
    let sums = x.cumsum(0).unwrap();
    assert_eq!((sums.dtype(), vec::<i64>(Ok(sums))), (DType::I64, vec![100, 200, 197, 297]));
    assert_eq!(vec::<i64>(x.gt(0.0).cumsum(-1)), [1, 2, 2, 3]);
    assert_eq!(vec::<i64>(x.cumprod(0)), [100, 10_000, -30_000, -3_000_000]);
    let (best, places) = x.cummax(0).unwrap();
    assert_eq!((vec::<i8>(Ok(best)), vec::<i64>(Ok(places))), (vec![100; 4], vec![0, 1, 1, 3]));
    let large = Tensor::from([i64::MAX, 1]);
    assert_eq!(vec::<i64>(large.cumsum(0)), [i64::MAX, i64::MIN]);
    assert_eq!(vec::<i64>(Ok(large.cummin(0).unwrap().0)), [i64::MAX, 1]);
    assert!(large.linear_scan(&large, 0).unwrap_err().to_string().contains("i64"));
}

#[test]
fn integers_that_meet_in_a_place() {
    let (x, index) = (Tensor::from([1u8, 2, 3]), Tensor::from([0i64, 2, 0]));
    let source = Tensor::from([200u8, 1, 100]);
    assert_eq!(vec::<u8>(x.scatter_add(0, &index, &source)), [45, 2, 4]);
    assert_eq!(vec::<u8>(x.index_add(0, &index, &source)), [45, 2, 4]);
    assert!(x.index_add(0, &index, Tensor::from([1u8])).is_err());
    let reduced = |how, own| vec::<u8>(x.scatter_reduce(0, &index, &source, how, own));
    assert_eq!(reduced(ScatterReduce::Amax, true), [200, 2, 3]);
    assert_eq!(reduced(ScatterReduce::Amin, false), [100, 2, 1]);
    assert_eq!(reduced(ScatterReduce::Prod, false), [(20_000u32 % 256) as u8, 2, 1]);
    assert_eq!(reduced(ScatterReduce::Mean, true), [100, 2, 2]);
    let (no, yes) = (Tensor::from([false, false]), Tensor::from([true, true]));
    assert_eq!(vec::<bool>(no.scatter_add(0, &Tensor::from([1i64, 1]), &yes)), [false, true]);
    let rows = Tensor::zeros([2, 3], DType::I64).unwrap();
    let slices = Tensor::from([[1i64, 2, 3], [4, 5, 6]]);
    assert_eq!(
        vec::<i64>(rows.index_add(0, &Tensor::from([1i32, 1]), &slices)),
        [0, 0, 0, 5, 7, 9]
    );
}

#[test]
fn ties_and_bounds() {
    let (x, low) = (Tensor::from([0.0, 0.5, 0.25, -1.0]), Tensor::from([0.0; 4]));
    assert_eq!(gradients([&x], || x.clamp(0.0, 0.5)), [[0., 0., 1., 0.]]);
    assert_eq!(gradients([&x], || x.clamp_min(0.0)), [[0., 1., 1., 0.]]);
    assert_eq!(gradients([&x], || x.clamp_max(0.5)), [[1., 0., 1., 1.]]);
    let halves = [[0.5, 1., 1., 0.], [0.5, 0., 0., 1.]];
    assert_eq!(gradients([&x, &low], || x.clamp_min(&low)), halves);
    assert!(vec::<f64>(x.clamp(f64::NAN, 1.0)).iter().all(|x| x.is_nan()));
    assert!(vec::<f64>(x.clamp_max(f64::NAN)).iter().all(|x| x.is_nan()));
    assert_eq!(vec::<f64>(Tensor::from([f64::NAN, 3.0]).clamp(0.0, 1.0))[1], 1.0);
    assert_eq!(vec::<i64>(Tensor::from([-3i64, 3]).clamp_min(0.0)), [0, 3]);
    let tied = Tensor::from([1.0, f64::NAN, 2.0, f64::NAN]);
    assert_eq!(vec::<i64>(Ok(tied.cummax(0).unwrap().1)), [0, 1, 1, 3]);
    assert_eq!(vec::<i64>(Ok(Tensor::from([2f32, 2., 3., 3.]).cummin(0).unwrap().1)), [0, 1, 1, 1]);
    let (base, exponent) = (Tensor::from([0.0, 0.0, 2.0]), Tensor::from([-2.0, 0.0, 0.0]));
    let [a, b] = gradients([&base, &exponent], || base.pow(&exponent));
    assert_eq!(
        (a[0], &a[1..], b[0], b[1]),
        (f64::NEG_INFINITY, &[0., 0.][..], f64::NEG_INFINITY, 0.)
    );
}

#[test]
fn scalars_and_nothing() {
    let nothing = Tensor::zeros([0, 4], DType::F32).unwrap();
    let parts = nothing.chunk(3, 0).unwrap();
    assert_eq!(parts.iter().map(|part| part.shape().to_vec()).collect::<Vec<_>>(), [[0, 4]; 3]);
    assert_eq!(vec::<i64>(Tensor::from(1i64).one_hot(3, DType::I64)), [0, 1, 0]);
    let many = Tensor::from([[0i64, 1], [1, 0]]).one_hot(2, DType::F32).unwrap();
    assert_eq!((many.shape(), vec::<f32>(many.sum(-1))), (&[2, 2, 2][..], vec![1.; 4]));
    assert_eq!(
        Tensor::zeros([0, 2], DType::I64).unwrap().one_hot(3, DType::F32).unwrap().shape(),
        [0, 2, 3]
    );
    // A number without dims takes a slice; it is no index tensor, of which the choice would stand first.
    let x = Tensor::arange(0., 1., 24, DType::F32).reshape([2, 3, 4]).unwrap();
    let (at, list) = (Tensor::from(-1i64), Tensor::from([0i64, 2]));
    let y = x.i((&at, .., &list)).unwrap();
    assert_eq!(
        (y.shape(), y.to_vec::<f32>().unwrap()),
        (&[3, 2][..], vec![12., 14., 16., 18., 20., 22.])
    );
    assert!(x.i(Tensor::from(2i64)).unwrap_err().to_string().contains('2'));
    let x = Tensor::from([[1f32, 2.], [3., 4.]]);
    let y = x.repeat_interleave_by(&Tensor::from([0i32, 2]), Some(0));
    assert_eq!(vec::<f32>(y), [3., 4., 3., 4.]);
    for wrong in
        [Tensor::from([1i64, -1]), Tensor::from([i64::MAX, 1]), Tensor::from([i64::MAX, 0])]
    {
        assert!(x.repeat_interleave_by(&wrong, Some(0)).is_err());
    }
    assert!(x.repeat_interleave_by(&Tensor::from([1f32, 1.]), Some(0)).is_err());
}

#[test]
fn sure_predictions_keep_their_loss() {
    let (x, target) = (Tensor::from([30f32, -30., -30., 30.]), Tensor::from([1f32, 0., 1., 0.]));
    let settings = BCEWithLogitsLoss::default().reduction(Reduction::None);
    let small = (-30f32).exp().ln_1p();
    for loss in [
        x.bce_with_logits_with(&target, settings),
        x.bce_with_logits_with(&target, settings.pos_weight(&Tensor::from(1f32))),
    ] {
        let loss = vec::<f32>(loss);
        assert!(
            (loss[0] / small - 1.0).abs() < 1e-6 && (loss[1] / small - 1.0).abs() < 1e-6,
            "{loss:?}"
        );
        assert_eq!(loss[2..], [30., 30.]);
    }
}
