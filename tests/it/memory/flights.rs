//! What memory training an LSTM takes.

use super::*;

/// An LSTM's last state, and a line through it.
#[derive(Module, Clone)]
struct Flights {
    lstm: LSTM,
    fc: Linear,
}

impl Flights {
    fn new(hidden: usize, rng: &mut Generator) -> Flights {
        let lstm = LSTM::new(1, hidden, rng).unwrap();
        Flights { lstm, fc: Linear::new(hidden, 1, rng).unwrap() }
    }
}

impl Forward for Flights {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let (_, (h_n, _)) = self.lstm.forward(&x.transpose(0, 1)?, ctx)?;
        self.fc.forward(&h_n.squeeze(0)?, ctx)
    }
}

/// `count` windows of 12 months and the months after them.
fn windows(count: usize) -> (Tensor, Tensor) {
    let mut rng = Generator::new(3);
    let mut normal = |shape: &[usize]| rng.normal(shape, 0., 1., DType::F32).unwrap();
    (normal(&[count, 12, 1]), normal(&[count, 1]))
}

#[test]
fn no_memory_is_asked_for_after_the_first_epochs() {
    child::alone("memory::flights::no_memory_is_asked_for_after_the_first_epochs", || {
        let mut model = Flights::new(32, &mut Generator::new(0));
        let (x, y) = windows(132);
        let data = TensorDataset::new(x, y).unwrap();
        let train = DataLoader::new(data.clone(), 132).unwrap();
        let test = DataLoader::new(data, 50).unwrap();
        let ends = epochs(&mut model, &train, &test, |y, t| y.mse_loss(t));
        assert_eq!(ends[1], ends[2], "requests after each epoch: {ends:?}");
        assert_eq!(ends[2], ends[3], "requests after each epoch: {ends:?}");
    });
}

#[test]
fn live_memory_is_flat_and_goes_back_to_nothing() {
    child::alone("memory::flights::live_memory_is_flat_and_goes_back_to_nothing", || {
        assert_eq!(live(), 0, "before anything");
        let (x, y) = windows(132);
        let mut rng = Generator::new(0);
        let mut model = Flights::new(32, &mut rng);
        let mut optimizer = Adam::new(0.01);
        let mut levels = Vec::new();
        for number in 0..200 {
            let step = value_and_grad(&model, &mut rng, |m, ctx| m.forward(&x, ctx)?.mse_loss(&y));
            optimizer.step(&mut model, &step.unwrap()).unwrap();
            if number % 10 == 0 {
                levels.push(live());
            }
        }
        assert!(levels[0] > 0);
        assert!(levels.iter().all(|level| *level == levels[0]), "live bytes: {levels:?}");
        drop((x, y, model, optimizer));
        assert_eq!(live(), 0, "at the end");
    });
}

/// Wherever in a step memory ends, in the forward or in the backward pass, nothing has changed; with more memory the same step then
/// gives what it gives.
#[test]
fn a_step_over_any_limit_changes_nothing() {
    child::alone("memory::flights::a_step_over_any_limit_changes_nothing", || {
        let (x, y) = windows(20);
        let mut model = Flights::new(8, &mut Generator::new(0));
        let run = |model: &Flights, done: &Cell<bool>| {
            done.set(false);
            value_and_grad(model, &mut Generator::new(1), |m, ctx| {
                let loss = m.forward(&x, ctx)?.mse_loss(&y)?;
                done.set(true);
                Ok(loss)
            })
        };
        let done = Cell::new(false);
        let hash = |step: &Step| step.gradients.iter().map(|(_, g)| bits(g)).collect::<Vec<_>>();
        let expected = hash(&run(&model, &done).unwrap());
        let (start, weights) = (live(), hash_model(&model));
        let mut refused = [0, 0];
        for extra in (0..).map(|i| i * 512) {
            Device::cpu().set_memory_limit(Some(start + extra));
            match run(&model, &done) {
                Ok(step) => {
                    assert_eq!(hash(&step), expected);
                    break;
                }
                Err(error) => refusal(error),
            }
            refused[usize::from(done.get())] += 1;
            assert_eq!(live(), start, "after a refused step, {extra} bytes");
            assert_eq!(hash_model(&model), weights);
        }
        assert!(refused[0] > 3 && refused[1] > 3, "in forward and backward: {refused:?}");

        Device::cpu().set_memory_limit(None);
        let step = run(&model, &done).unwrap();
        assert_eq!(hash(&step), expected);
        Adam::new(0.01).step(&mut model, &step).unwrap();
        assert_ne!(hash_model(&model), weights);
    });
}
