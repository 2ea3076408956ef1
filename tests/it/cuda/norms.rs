//! Layer norm, pools and cross entropy on a GPU, with their gradients of first and second order: the CPU's bits and words; nothing of
//! it is done by the host.

use ferrotape::host_fallbacks;
use ferrotape::prelude::*;

use super::{bits, gpu};

type Results = Vec<(String, Result<Tensor>)>;

/// A function's value, its gradients and those of a function of its gradients.
fn derived(
    all: &mut Results,
    name: &str,
    operands: &[&Tensor],
    f: impl Fn(&[&Tensor]) -> Result<Tensor>,
) -> Result<()> {
    let (gradients, outer) = Tape::record(|outer| {
        operands.iter().for_each(|x| outer.watch(x));
        let (loss, tape) = Tape::record(|tape| {
            operands.iter().for_each(|x| tape.watch(x));
            let y = f(operands)?;
            all.push((name.to_owned(), Ok(y.clone())));
            y.mul(&y).sum(..)
        })?;
        let gradients = tape.gradient(&loss, operands)?;
        all.extend(gradients.iter().map(|g| (format!("{name}'"), Ok(g.clone()))));
        gradients.iter().try_fold(Tensor::zeros((), (loss.dtype(), loss.device()))?, |sum, g| {
            sum.add(g.square().sum(..)?)
        })
    })?;
    let second = outer.gradient(&gradients, operands)?;
    all.extend(second.iter().map(|g| (format!("{name}''"), Ok(g.clone()))));
    Ok(())
}

fn normalized(x: &Tensor, parameters: &Tensor) -> Result<Results> {
    let (mut all, size) = (Vec::new(), x.shape()[x.rank() - 1]);
    let weight = parameters.narrow(0, 1, size)?;
    let bias = parameters.narrow(0, size + 2, size)?;
    derived(&mut all, "layer_norm", &[x, &weight, &bias], |o| {
        o[0].layer_norm([size], Some(o[1]), Some(o[2]), 1e-5)
    })?;
    derived(&mut all, "plain layer_norm", &[x], |o| o[0].layer_norm([size], None, None, 0.1))?;
    Ok(all)
}

fn pooled(x: &Tensor) -> Result<Results> {
    let mut all = Vec::new();
    let three = Pool2dOp::new([3, 2]).stride([2, 1]).padding([1, 1]).ceil_mode(true);
    for settings in [Pool2dOp::new([2, 2]), three] {
        derived(&mut all, "max_pool2d", &[x], |o| o[0].max_pool2d(settings))?;
        all.push(("indices".to_owned(), x.max_pool2d_with_indices(settings).map(|both| both.1)));
    }
    let wide = Pool2dOp::new([2, 2]).stride([1, 1]).dilation([2, 1]);
    all.push(("dilated".to_owned(), x.max_pool2d_with_indices(wide).map(|both| both.1)));
    let means = AvgPool2dOp::new([3, 2]).stride([2, 1]).padding([1, 1]).ceil_mode(true);
    for settings in [AvgPool2dOp::new([2, 2]), means, means.count_include_pad(false)] {
        derived(&mut all, "avg_pool2d", &[x], |o| o[0].avg_pool2d(settings))?;
    }
    derived(&mut all, "adaptive", &[x], |o| o[0].adaptive_avg_pool2d([3, 2]))?;
    let (y, taps) = x.max_pool2d_with_taps(three)?;
    let size = [x.shape()[2], x.shape()[3]];
    all.push(("scatter".to_owned(), y.max_pool2d_scatter(&taps, three, size)));
    all.push(("gather".to_owned(), x.max_pool2d_gather(&taps, three)));
    let wrong = taps.add(&taps)?;
    all.push(("bad taps".to_owned(), y.max_pool2d_scatter(&wrong, three, size)));
    all.push(("bad taps".to_owned(), x.max_pool2d_gather(&wrong, three)));
    Ok(all)
}

fn lost(x: &Tensor, target: &Tensor) -> Result<Results> {
    let mut all = Vec::new();
    let each = CrossEntropyLoss::default().reduction(Reduction::None);
    derived(&mut all, "cross_entropy", &[x], |o| o[0].cross_entropy(target))?;
    derived(&mut all, "each", &[x], |o| o[0].cross_entropy_with(target, each))?;
    all.push(("no class".to_owned(), x.cross_entropy(&target.add(3.0)?)));
    all.push(("no class".to_owned(), x.cross_entropy(&target.sub(1.0)?)));
    Ok(all)
}

fn assert_equal(here: Results, there: Results, what: &str) {
    assert_eq!(here.len(), there.len());
    for ((name, here), (_, there)) in here.iter().zip(&there) {
        match (here, there) {
            (Ok(here), Ok(there)) => assert_eq!(bits(there), bits(here), "{name} of {what}"),
            (Err(here), Err(there)) => {
                let first = |e: &ferrotape::Error| e.to_string().lines().next().map(str::to_owned);
                assert_eq!(first(there), first(here), "{name} of {what}");
            }
            (here, there) => panic!("{name} of {what}: {there:?}, not {here:?}"),
        }
    }
}

#[test]
fn norms_pools_and_losses_run_there() {
    let name = "cuda::norms::norms_pools_and_losses_run_there";
    crate::child::alone(name, || {
        let Some(gpu) = gpu() else { return };
        let mut rng = Generator::new(8);
        for dtype in [DType::F32, DType::F64] {
            let mut draw = |shape: &[usize]| rng.normal(shape, 0.0, 2.0, dtype).unwrap();
            let (x, parameters) = (draw(&[5, 3, 70]), draw(&[200]));
            let (image, logits) = (draw(&[2, 3, 7, 9]), draw(&[6, 11]));
            let target = Tensor::from([0i64, 10, 3, 3, 8, 1]);
            let there = |x: &Tensor| x.to_device(gpu).unwrap();
            let before = host_fallbacks();
            let turned = |x: &Tensor| x.transpose(0, 1).unwrap();
            for turn in [false, true] {
                let on = |x: &Tensor| if turn { turned(x) } else { x.clone() };
                let what = format!("{dtype}, turned: {turn}");
                let want = normalized(&on(&x), &parameters).unwrap();
                let got = normalized(&on(&there(&x)), &there(&parameters)).unwrap();
                assert_equal(want, got, &what);
                let image_on = |x: &Tensor| {
                    if turn { x.transpose(2, 3).unwrap() } else { x.clone() }
                };
                let want = pooled(&image_on(&image)).unwrap();
                assert_equal(want, pooled(&image_on(&there(&image))).unwrap(), &what);
            }
            let want = lost(&logits, &target).unwrap();
            assert_equal(want, lost(&there(&logits), &there(&target)).unwrap(), "logits");
            assert_eq!(host_fallbacks(), before, "the host computed some of it");
        }
    });
}
