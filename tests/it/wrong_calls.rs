//! Wrong calls of methods are errors that name the operation, the shapes and the caller's line.

use ferrotape::ErrorKind;
use ferrotape::chain::*;
use ferrotape::prelude::*;

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32).unwrap()
}

/// The error's words without its place; the place must be in this file.
fn words<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.location().unwrap().file(), file!(), "{error}");
    error.to_string().split(" (at ").next().unwrap().to_string()
}

#[test]
fn an_error_names_operation_shapes_and_line() {
    let (a, b) = (ones(&[2, 3]), ones(&[4, 5]));
    let line = line!() + 1;
    let message = a.matmul(&b).unwrap_err().to_string();
    let place = format!("(at {}:{line}:21)", file!());
    assert_eq!(message, format!("matmul: [2, 3] x [4, 5]: inner sizes 3 and 4 differ {place}"));

    let line = line!() + 1;
    let message = (&a + &b).unwrap_err().to_string();
    let place = format!("(at {}:{line}:19)", file!());
    let told = "add: [2, 3] and [4, 5] don't broadcast: sizes 2 and 4 differ in dim 0";
    assert_eq!(message, format!("{told} {place}"));

    // In a chain it is the line of the call that failed.
    let line = line!() + 1;
    let chain = a.relu().reshape([7]).exp().sum(..);
    let error = chain.unwrap_err();
    assert_eq!(error.location().unwrap().line(), line, "{error}");
    assert!(error.to_string().starts_with("reshape: [2, 3] has 6 elements, [7] has 7"), "{error}");
}

#[test]
fn wrong_shapes_and_dims() {
    let x = ones(&[2, 3]);
    assert_eq!(words(x.flatten(1, 0)), "flatten: dim 1 comes after dim 0");
    assert_eq!(words(x.flatten(0, 2)), "flatten: dim 2 is out of range for 2 dims");
    assert_eq!(words(x.narrow(1, 2, 2)), "narrow: 2 from 2 on leave size 3 of dim 1");
    assert_eq!(
        words(x.narrow(0, usize::MAX, 2)),
        format!("narrow: 2 from {} on leave size 2 of dim 0", usize::MAX)
    );
    assert_eq!(words(x.i((0, 3))), "index: index 3 is out of range for size 3 of dim 1");
    assert_eq!(words(x.i((0, 0, 0))), "index: 3 indices for shape [2, 3]");
    assert_eq!(
        words(x.i(i64::MIN)),
        format!("index: index {} is out of range for size 2 of dim 0", i64::MIN)
    );
    assert_eq!(words(Tensor::cat(&[], 0)), "cat: no tensors");
    assert_eq!(words(Tensor::stack(&[], 0)), "cat: no tensors");
    assert!(
        words(Tensor::cat(&[&x, &ones(&[3, 2])], 0)).starts_with("cat: tensor 1 of shape [3, 2]")
    );
    assert!(Tensor::stack(&[&x, &ones(&[3, 2])], 0).is_err());
    assert!(Tensor::stack(&[&x, &ones(&[2])], 9).is_err());
    assert_eq!(
        words(x.expand([3, 3])),
        "expand: [2, 3] and [3, 3] don't broadcast: sizes 2 and 3 differ in dim 0"
    );
    assert_eq!(words(x.expand([3])), "expand: [2, 3] does not expand to [3]");
    assert_eq!(words(x.permute([0, 0])), "permute: [0, 0] does not permute the dims of [2, 3]");
    assert_eq!(words(x.permute([0])), "permute: [0] does not permute the dims of [2, 3]");
    assert_eq!(
        words(x.transpose(0, i64::MAX)),
        format!("transpose: dim {} is out of range for 2 dims", i64::MAX)
    );
    assert_eq!(
        words(x.sum_to([2])),
        "sum_to: [2] and [2, 3] don't broadcast: sizes 2 and 3 differ in dim 1"
    );
    assert_eq!(words(x.sum_to([4, 2, 3])), "sum_to: [2, 3] is no broadcast of [4, 2, 3]");
    assert_eq!(words(x.sum([0, 0])), "sum: dim 0 is named twice");
    assert_eq!(words(x.softmax(2)), "softmax: dim 2 is out of range for 2 dims");
    assert_eq!(words(ones(&[0]).max(..)), "max: [0] has no element in dim 0");
    assert!(x.unsqueeze(4).is_err() && x.squeeze(2).is_err() && x.flip(5).is_err());
    assert!(x.argmax(2).is_err() && x.size(-3).is_err());
    assert!(ones(&[usize::MAX, 0]).flatten(0, -1).is_ok());
    assert!(ones(&[usize::MAX, 3, 0]).flatten(0, 1).is_err());
}

#[test]
fn wrong_creation() {
    assert_eq!(
        words(Tensor::from_vec(vec![1f32; 5], [2, 3])),
        "from_vec: 5 elements for shape [2, 3]"
    );
    let huge = usize::MAX;
    for shape in [[huge, 2], [huge, 1], [huge / 8, 3], [1 << 40, 1 << 40]] {
        assert!(words(Tensor::zeros(shape, DType::F64)).starts_with("create: "));
        assert!(Tensor::from_vec(vec![1i64], shape).is_err());
    }
    assert_eq!(Tensor::zeros([huge, 0], DType::F64).unwrap().len(), 0);
    assert!(Tensor::eye(huge, DType::F32).is_err());
    assert!(Tensor::arange(0., 1., huge, DType::U8).is_err());
    let mut rng = Generator::new(0);
    assert!(rng.uniform([2], 1.0, 0.0, DType::F32).is_err());
    assert!(rng.normal([2], 0.0, f64::NAN, DType::F32).is_err());
    assert!(rng.bernoulli([2], 1.5, 1.0, DType::F32).is_err());
    assert!(rng.uniform([huge, huge], 0.0, 1.0, DType::F32).is_err());
    assert!(rng.uniform([2], 0.0, 1.0, DType::I64).is_err());
}

#[test]
fn matmul_of_all_ranks() {
    let shape = |rank: usize, last: [usize; 2]| -> Vec<usize> {
        [2, 1, 2]
            .iter()
            .copied()
            .cycle()
            .take(rank.saturating_sub(2))
            .chain(last[2 - rank.min(2)..].iter().copied())
            .collect()
    };
    for m in 0..=5 {
        for n in 0..=5 {
            let k_last = if n == 1 { [0, 3] } else { [3, 4] };
            let (a, b) = (ones(&shape(m, [2, 3])), ones(&shape(n, k_last)));
            let product = a.matmul(&b);
            if m == 0 || n == 0 {
                assert!(words(product).starts_with("matmul: "));
                continue;
            }
            let product = product.unwrap();
            let matrix = usize::from(m > 1) + usize::from(n > 1);
            assert_eq!(product.rank(), m.max(n).max(2) - 2 + matrix, "{m} x {n}");
            assert!(product.to_vec::<f32>().unwrap().iter().all(|&x| x == 3.));
            let wrong = ones(&shape(n, if n == 1 { [0, 7] } else { [7, 4] }));
            assert!(words(a.matmul(&wrong)).contains("inner sizes 3 and 7 differ"));
        }
    }
    let (a, b) = (ones(&[2, 2, 3]), ones(&[5, 3, 4]));
    assert_eq!(
        words(a.matmul(&b)),
        "matmul: [2] and [5] don't broadcast: sizes 2 and 5 differ in dim 0"
    );
}

#[test]
fn wrong_losses() {
    let x = ones(&[2, 3]);
    let row = |class| Tensor::from([0i64, class]);
    let says = |op: &str| format!("{op}: the target of row 1 is class 3, there are 3 classes");
    assert_eq!(words(x.cross_entropy(&row(3))), says("cross_entropy"));
    assert_eq!(words(x.nll_loss(&row(3))), says("nll_loss"));
    let weight = ones(&[3]);
    let weighted = CrossEntropyLoss::default().weight(&weight).ignore_index(0);
    assert_eq!(words(x.cross_entropy_with(&row(3), weighted)), says("cross_entropy"));
    let weighted = NLLLoss::default().weight(&weight);
    assert_eq!(words(x.nll_loss_with(&row(3), weighted)), says("nll_loss"));
    // Beside one that does not count.
    assert_eq!(words(x.cross_entropy(&Tensor::from([-100i64, 3]))), says("cross_entropy"));
    let short = ones(&[2]);
    assert_eq!(
        words(x.cross_entropy_with(&row(0), CrossEntropyLoss::default().weight(&short))),
        "cross_entropy: weight [2] for 3 classes"
    );
    assert_eq!(
        words(ones(&[2, 3, 4]).nll_loss(&row(0))),
        "nll_loss: logits [2, 3, 4], targets [2]: class numbers [2, 4] expected"
    );
    assert!(words(x.nll_loss(&short)).starts_with("nll_loss: targets of f32"));
    assert!(words(x.cross_entropy(&short)).starts_with("cross_entropy: logits [2, 3], prob"));
    assert!(ones(&[]).cross_entropy(&row(0)).is_err() && ones(&[]).nll_loss(&row(0)).is_err());
    for smoothing in [-0.1, 1.1, f64::NAN] {
        let settings = CrossEntropyLoss::default().label_smoothing(smoothing);
        assert!(words(x.cross_entropy_with(&row(0), settings)).contains("label smoothing"));
    }
    let ignored = CrossEntropyLoss::default().ignore_index(1);
    assert!(words(x.cross_entropy_with(&x, ignored)).contains("class numbers"));
    assert!(words(x.huber_loss_with(&x, HuberLoss::default().delta(0.0))).contains("delta 0"));
    assert!(words(x.smooth_l1_loss_with(&x, SmoothL1Loss::default().beta(-1.0))).contains("beta"));
    type Loss = fn(&Tensor, &Tensor) -> Result<Tensor>;
    let losses: [(&str, Loss); 9] = [
        ("mse_loss", |x, t| x.mse_loss(t)),
        ("l1_loss", |x, t| x.l1_loss(t)),
        ("smooth_l1_loss", |x, t| x.smooth_l1_loss(t)),
        ("huber_loss", |x, t| x.huber_loss(t)),
        ("binary_cross_entropy", |x, t| x.binary_cross_entropy(t)),
        ("bce_with_logits", |x, t| x.bce_with_logits(t)),
        ("kl_div", |x, t| x.kl_div(t)),
        ("poisson_nll_loss", |x, t| x.poisson_nll_loss(t)),
        ("hinge_embedding_loss", |x, t| x.hinge_embedding_loss(t)),
    ];
    for (name, loss) in losses {
        let expected = format!("{name}: prediction [2, 3] and target [3] differ");
        assert_eq!(
            loss(&x, &weight).unwrap_err().to_string().split(" (at ").next(),
            Some(&expected[..])
        );
    }
}

#[test]
fn wrong_values() {
    let logits = ones(&[2, 3]);
    for target in [[0, 3], [-1, 0], [i64::MAX, 0], [i64::MIN, 0]] {
        let error = logits.cross_entropy(&Tensor::from(target)).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Class { op: "cross_entropy", classes: 3, .. }),
            "{error}"
        );
    }
    assert!(
        words(logits.cross_entropy(&Tensor::from([0i64])))
            .starts_with("cross_entropy: logits [2, 3], targets [1]")
    );
    assert!(logits.cross_entropy(&Tensor::from([0f32, 1.])).is_err());
    let classes = Tensor::from([0i64, 2]);
    assert_eq!(classes.one_hot(3, DType::U8).unwrap().to_vec::<u8>().unwrap(), [1, 0, 0, 0, 0, 1]);
    assert!(classes.one_hot(2, DType::F32).is_err() && logits.one_hot(3, DType::F32).is_err());
    let rows = Tensor::from([0i64, 2]);
    assert_eq!(
        words(logits.index_select(0, &rows)),
        "index_select: index 2 is out of range for size 2 of dim 0"
    );
    assert!(logits.gather(0, &Tensor::from([[0i64, 1, -1]])).is_err());
    assert!(logits.item::<f32>().is_err() && logits.to_vec::<f64>().is_err());
    assert!(
        logits.mse_loss(ones(&[3])).is_err() && logits.bce_with_logits(&ones(&[2, 1])).is_err()
    );
}

#[test]
fn a_wrong_assignment_changes_nothing() {
    let mut x = ones(&[2, 3]);
    assert_eq!(words(x.assign(ones(&[3, 2]))), "assign: [2, 3] and [3, 2] differ");
    assert_eq!(
        words(x.assign(Tensor::zeros([2, 3], DType::F64))),
        "assign: operands of f32 and f64"
    );
    assert_eq!(x.to_vec::<f32>().unwrap(), [1.; 6]);
    x.assign(5.0).unwrap();
    assert_eq!(x.to_vec::<f32>().unwrap(), [5.; 6]);
}

#[test]
fn beside_a_size_0_a_sum_may_be_too_large() {
    for huge in [1usize << 61, 1 << 62] {
        for (shape, dim) in [([0, huge], 0), ([huge, 0], 1)] {
            let message = words(Tensor::zeros(shape, DType::F32).unwrap().sum(dim));
            assert!(message.contains("too large") || message.contains("memory"), "{message}");
        }
        let op = ferrotape::Op::LinearWeight;
        let operands = [[0, huge], [0, 0]].map(|shape| Tensor::zeros(shape, DType::F32).unwrap());
        let [g, x] = &operands;
        assert!(ferrotape::apply(&op, &mut [g.into(), x.into()]).is_err());
    }
}
