//! Checkpoints: recomputed instead of kept, and otherwise as if they were not there.

use ferrotape::nn::checkpoint;
use ferrotape::prelude::*;

use crate::cnn::{bits, hash_model};

#[derive(Module, Clone)]
struct Net {
    conv: Conv2d,
    norm: BatchNorm2d,
    drop: Dropout,
    mid: Linear,
    last: Linear,
}

impl Net {
    fn new() -> Net {
        let mut rng = Generator::new(0);
        Net {
            conv: Conv2dConfig::new(1, 3, [3, 3]).build(&mut rng).unwrap(),
            norm: BatchNorm2d::new(3).unwrap(),
            drop: Dropout::new(0.4).unwrap(),
            mid: Linear::new(48, 20, &mut rng).unwrap(),
            last: Linear::new(20, 4, &mut rng).unwrap(),
        }
    }

    fn body(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let x = self.norm.forward(x, ctx).relu()?;
        let x = self.drop.forward(&x, ctx).flatten(1, -1)?;
        self.drop.forward(&self.mid.forward(&x, ctx).tanh()?, ctx)
    }

    fn loss(&self, x: &Tensor, save: bool, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let x = self.conv.forward(x, ctx)?;
        let x = match save {
            true => {
                let net = self.clone();
                checkpoint(&x, ctx, move |x, ctx| net.body(x, ctx))?
            }
            false => self.body(&x, ctx)?,
        };
        // Drawn after the checkpoint: the generator must stand where it stands without one.
        let noise = match ctx.is_training() {
            true => ctx.rng()?.normal([8, 20], 0., 0.1, DType::F32)?,
            false => Tensor::zeros([8, 20], DType::F32)?,
        };
        self.last.forward(&x.add(&noise)?, ctx).square().mean(..)
    }
}

fn input() -> Tensor {
    Generator::new(11).normal([8, 1, 6, 6], 0., 1., DType::F32).unwrap()
}

#[test]
fn loss_gradients_and_updates_are_those_without() {
    let x = input();
    let train = |save: bool| {
        let (mut net, mut rng, mut optimizer) = (Net::new(), Generator::new(5), Adam::new(0.01));
        let mut seen = Vec::new();
        for _ in 0..3 {
            let step = value_and_grad(&net, &mut rng, |m, ctx| m.loss(&x, save, ctx)).unwrap();
            seen.push(bits(&step.loss));
            seen.extend(step.gradients.iter().map(|(_, gradient)| bits(gradient)));
            assert_eq!(step.gradients.iter().count(), 8);
            optimizer.step(&mut net, &step).unwrap();
        }
        assert_eq!(
            net.norm.num_batches_tracked.as_ref().unwrap().item::<i64>().unwrap(),
            3,
            "updates happen once"
        );
        (seen, hash_model(&net), rng.state())
    };
    let (with, without) = (train(true), train(false));
    assert_eq!(with.0, without.0, "losses and gradients");
    assert_eq!(with.1, without.1, "weights and running statistics");
    assert_eq!(with.2, without.2, "the generator");
}

#[test]
fn evaluation_passes_straight_through() {
    let (net, x) = (Net::new(), input());
    let eval = |save| bits(&net.loss(&x, save, &mut Ctx::eval()).unwrap());
    assert_eq!(eval(true), eval(false));
}

#[test]
fn checkpoints_nest() {
    let (net, x) = (Net::new(), input());
    let run = |depth: usize| {
        let step = value_and_grad(&net, &mut Generator::new(5), |m, ctx| {
            let x = m.conv.forward(&x, ctx)?;
            let inner = m.clone();
            let y = match depth {
                0 => m.body(&x, ctx)?,
                _ => checkpoint(&x, ctx, move |x, ctx| {
                    let inner = inner.clone();
                    let y = checkpoint(x, ctx, move |x, ctx| inner.body(x, ctx))?;
                    y.mul(1.0)
                })?,
            };
            m.last.forward(&y, ctx).square().mean(..)
        })
        .unwrap();
        let all: Vec<_> = step.gradients.iter().map(|(n, g)| (n.to_owned(), bits(g))).collect();
        (bits(&step.loss), all)
    };
    let (flat, nested) = (run(0), run(1));
    assert_eq!(flat.0, nested.0);
    assert_eq!(flat.1, nested.1);
}

#[test]
fn a_failing_body_fails_the_step_and_no_more() {
    let (net, x) = (Net::new(), input());
    let before = hash_model(&net);
    let failed = value_and_grad(&net, &mut Generator::new(5), |m, ctx| {
        let owned = m.clone();
        checkpoint(&m.conv.forward(&x, ctx)?, ctx, move |x, ctx| {
            owned.mid.forward(x, ctx)?;
            owned.body(x, ctx)?.matmul(x)
        })
    });
    assert!(failed.is_err());
    assert_eq!(hash_model(&net), before);
    assert!(value_and_grad(&net, &mut Generator::new(5), |m, c| m.loss(&x, true, c)).is_ok());
}
