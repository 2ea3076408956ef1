//! Cases of the losses with their settings, and what they say at the edges.

use ferrotape::prelude::*;

use super::Cases;
use super::composites::derivatives;

const REDUCTIONS: [Reduction; 4] =
    [Reduction::None, Reduction::Mean, Reduction::Sum, Reduction::BatchMean];

pub(super) fn cases(cases: &mut Cases) {
    elementwise(cases);
    probabilities(cases);
    for reduction in REDUCTIONS {
        classes(cases, reduction);
    }
}

fn elementwise(cases: &mut Cases) {
    type Function = fn(&Tensor, &Tensor) -> Result<Tensor>;
    let functions: [(&str, Function); 6] = [
        ("mse_loss", |x, t| {
            x.mse_loss_with(t, MSELoss::default().reduction(Reduction::BatchMean))?.square()
        }),
        ("l1_loss", |x, t| x.l1_loss(t)?.square()),
        ("smooth_l1_loss", |x, t| x.smooth_l1_loss(t)?.square()),
        ("smooth_l1_loss, no parabola", |x, t| {
            x.smooth_l1_loss_with(t, SmoothL1Loss::default().beta(0.0))?.square()
        }),
        ("huber_loss", |x, t| {
            let settings = HuberLoss::default().delta(0.8).reduction(Reduction::None);
            x.huber_loss_with(t, settings)?.square()
        }),
        ("poisson_nll_loss", |x, t| x.poisson_nll_loss(t)?.square()),
    ];
    for (name, function) in functions {
        let inputs = vec![cases.signed(&[3, 4]), cases.any(&[3, 4]).mul(0.1).unwrap()];
        cases.add(name, inputs, move |x| function(&x[0], &x[1]));
    }
    let inputs = vec![cases.positive(&[2, 3]), cases.positive(&[2, 3])];
    cases.add("poisson_nll_loss of a rate", inputs, |x| {
        let settings = PoissonNLLLoss::default().log_input(false).full(true).eps(0.1);
        x[0].poisson_nll_loss_with(&x[1], settings.reduction(Reduction::None))?.square()
    });
    let signs = Tensor::from([[1.0, -1.0, 1.0], [-1.0, -1.0, 0.0]]);
    let x = cases.signed(&[2, 3]);
    cases.add("hinge_embedding_loss", vec![x], move |x| {
        let settings = HingeEmbeddingLoss::default().reduction(Reduction::None);
        x[0].hinge_embedding_loss_with(&signs, settings)?.square()
    });
}

fn probabilities(cases: &mut Cases) {
    // Between 0.04 and 0.86.
    let inner = |cases: &mut Cases| cases.positive(&[2, 3]).mul(0.25).unwrap();
    let (x, t, w) = (inner(cases), inner(cases), cases.positive(&[3]));
    cases.add("binary_cross_entropy", vec![x, t, w], |x| {
        let settings = BCELoss::default().weight(&x[2]).reduction(Reduction::None);
        x[0].binary_cross_entropy_with(&x[1], settings)?.square()
    });
    let inputs = vec![cases.signed(&[2, 3]), inner(cases), cases.any(&[2, 1]), cases.any(&[3])];
    cases.add("bce_with_logits, weighted", inputs, |x| {
        let settings = BCEWithLogitsLoss::default().weight(&x[2]).pos_weight(&x[3]);
        x[0].bce_with_logits_with(&x[1], settings.reduction(Reduction::Sum))?.square()
    });
    let inputs = vec![cases.any(&[2, 3]), inner(cases)];
    cases.add("kl_div", inputs, |x| x[0].kl_div(&x[1])?.square());
    let inputs = vec![cases.any(&[2, 3]), cases.any(&[2, 3])];
    cases.add("kl_div of logarithms", inputs, |x| {
        let settings = KLDivLoss::default().log_target(true).reduction(Reduction::BatchMean);
        x[0].kl_div_with(&x[1], settings)?.square()
    });
}

fn classes(cases: &mut Cases, reduction: Reduction) {
    let shapes: [(&[usize], Tensor); 4] = [
        (&[3], Tensor::from_vec(vec![2i64], ()).unwrap()),
        (&[4, 3], Tensor::from([2i64, 0, -100, 1])),
        (&[2, 3, 2], Tensor::from([[2i64, 0], [1, -100]])),
        (&[1, 3, 2, 2], Tensor::from([[[2i64, 0], [-100, 1]]])),
    ];
    for (shape, target) in shapes {
        let name = |what: &str| format!("{what} {shape:?} {reduction:?}");
        let t = target.clone();
        let inputs = vec![cases.signed(shape), cases.positive(&[3])];
        cases.add(name("cross_entropy"), inputs, move |x| {
            let settings = CrossEntropyLoss::default().weight(&x[1]).reduction(reduction);
            x[0].cross_entropy_with(&t, settings)?.square()
        });
        let t = target.clone();
        let inputs = vec![cases.signed(shape), cases.positive(&[3])];
        cases.add(name("smoothed cross_entropy"), inputs, move |x| {
            let settings = CrossEntropyLoss::default().weight(&x[1]).label_smoothing(0.2);
            x[0].cross_entropy_with(&t, settings.reduction(reduction))?.square()
        });
        let t = target.clone();
        let x = cases.signed(shape);
        cases.add(name("cross_entropy, class 0 ignored"), vec![x], move |x| {
            let t = t.eq(Tensor::from([-100i64]).reshape(())?)?.select(0.0, &t)?;
            let settings = CrossEntropyLoss::default().ignore_index(0).reduction(reduction);
            x[0].cross_entropy_with(&t, settings.label_smoothing(0.1))?.square()
        });
        let inputs = vec![cases.signed(shape), cases.positive(shape), cases.positive(&[3])];
        cases.add(name("cross_entropy of probabilities"), inputs, move |x| {
            let settings = CrossEntropyLoss::default().weight(&x[2]).label_smoothing(0.1);
            x[0].cross_entropy_with(&x[1], settings.reduction(reduction))?.square()
        });
        let inputs = vec![cases.signed(shape), cases.positive(&[3])];
        cases.add(name("nll_loss"), inputs, move |x| {
            let settings = NLLLoss::default().weight(&x[1]).reduction(reduction);
            x[0].nll_loss_with(&target, settings)?.square()
        });
    }
}

/// What PyTorch says at the edges, and that no derivative is NaN where the loss is none.
#[test]
fn edges_of_losses() {
    let far = Tensor::from([-1e300, 0.0, 1e300]);
    let zero = far.zeros_like().unwrap();
    let huber = |x: &Tensor| {
        x.smooth_l1_loss_with(&zero, SmoothL1Loss::default().reduction(Reduction::Sum))
    };
    assert_eq!(derivatives(&far, huber), [[-1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]);

    // Certain and wrong: PyTorch's slope is that of 1e-12.
    let sum = |t: &[f64; 2]| {
        let t = Tensor::from(*t);
        move |x: &Tensor| {
            x.binary_cross_entropy_with(&t, BCELoss::default().reduction(Reduction::Sum))
        }
    };
    let certain = Tensor::from([0.0, 1.0]);
    assert_eq!(derivatives(&certain, sum(&[0.0, 1.0]))[0], [0.0, 0.0]);
    assert_eq!(derivatives(&certain, sum(&[1.0, 0.0]))[0], [-1e12, 1e12]);
    let wrong = sum(&[1.0, 0.0])(&certain).unwrap();
    assert_eq!(wrong.to_f64().unwrap(), 200.0);
    let none = Tensor::from([1.5, 0.5]).binary_cross_entropy(&certain).unwrap();
    assert!(none.to_f64().unwrap().is_nan(), "a probability above 1");

    let x = Tensor::from([[-1.0, -2.0]]);
    let t = Tensor::from([[0.0, 1.0]]);
    assert_eq!(
        x.kl_div_with(&t, KLDivLoss::default().reduction(Reduction::Sum))
            .unwrap()
            .to_f64()
            .unwrap(),
        2.0
    );
    let slope =
        derivatives(&t, |t| x.kl_div_with(t, KLDivLoss::default().reduction(Reduction::Sum)));
    assert_eq!(slope[0], [1.0, 3.0]);

    let full = PoissonNLLLoss::default().full(true).reduction(Reduction::Sum);
    let slope = derivatives(&Tensor::from([0.0, 1.0]), |t| {
        Tensor::from([0.5, 0.25]).poisson_nll_loss_with(t, full)
    });
    assert_eq!(slope[0], [-0.5, -0.25], "no Stirling up to 1");
}

#[test]
fn rows_that_do_not_count() {
    let x = Tensor::from([[1.0, 2.0, 3.0], [f64::NEG_INFINITY, 0.0, 5.0], [0.5, 0.25, 0.125]]);
    let all = x.cross_entropy(&Tensor::from([0i64, 1, 2])).unwrap().to_f64().unwrap();
    let rows = x.cross_entropy_rows(&Tensor::from([0i64, 1, 2])).unwrap().to_vec::<f64>().unwrap();
    // The lanes of R3 meet in this order.
    assert_eq!(all, (rows[0] + rows[2] + rows[1]) / 3.0);
    // PyTorch's default, and any other.
    let some = Tensor::from([0i64, -100, 2]);
    let expected = (rows[0] + rows[2]) / 2.0;
    assert_eq!(x.cross_entropy(&some).unwrap().to_f64().unwrap(), expected);
    let first = CrossEntropyLoss::default().ignore_index(1);
    let found = x.cross_entropy_with(&Tensor::from([0i64, 1, 2]), first).unwrap();
    assert_eq!(found.to_f64().unwrap(), expected);
    let gradient = derivatives(&x, |x| x.cross_entropy(&some));
    assert_eq!(gradient[0][3..6], [0.0; 3]);
    assert!(gradient.iter().flatten().all(|g| g.is_finite()), "{gradient:?}");
    // The mean of nothing.
    let none = Tensor::from([-100i64; 3]);
    assert!(x.cross_entropy(&none).unwrap().to_f64().unwrap().is_nan());
    assert!(x.nll_loss(&none).unwrap().to_f64().unwrap().is_nan());
    let sum = CrossEntropyLoss::default().reduction(Reduction::Sum);
    assert_eq!(x.cross_entropy_with(&none, sum).unwrap().to_f64().unwrap(), 0.0);
    let empty = Tensor::zeros([0, 3], DType::F64).unwrap();
    let nothing = Tensor::zeros([0], DType::I64).unwrap();
    assert!(empty.cross_entropy(&nothing).unwrap().to_f64().unwrap().is_nan());
    assert!(empty.cross_entropy(&empty).unwrap().to_f64().unwrap().is_nan());
    assert!(empty.nll_loss(&nothing).unwrap().to_f64().unwrap().is_nan());
    assert!(empty.mse_loss(&empty).unwrap().to_f64().unwrap().is_nan());
}
