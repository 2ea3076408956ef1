//! By operation, as an observer hears it: where the time of a run goes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use ferrotape::{Error, Meta, Observer, Op, Result, Tensor, observe};

/// Sums up the time between an operation's begin and its end, by its name and the shapes that go in and out.
#[derive(Default)]
struct Profile {
    running: RefCell<Vec<(String, Instant)>>,
    sums: RefCell<BTreeMap<String, (usize, f64)>>,
}

impl Observer for Profile {
    fn begin(&self, op: &Op, inputs: &[&Tensor]) -> Result<()> {
        let shapes: Vec<_> = inputs.iter().map(|input| input.shape()).collect();
        let name = format!("{} {shapes:?}", op.name());
        self.running.borrow_mut().push((name, Instant::now()));
        Ok(())
    }

    fn end(&self, _: &Op, _: &[Meta], _: std::result::Result<&[Tensor], &Error>) -> Result<()> {
        if let Some((name, start)) = self.running.borrow_mut().pop() {
            let mut sums = self.sums.borrow_mut();
            let (count, seconds) = sums.entry(name).or_default();
            *count += 1;
            *seconds += start.elapsed().as_secs_f64();
        }
        Ok(())
    }
}

/// How many operations a run is.
pub fn operations(mut run: impl FnMut()) -> usize {
    let profile = Rc::new(Profile::default());
    observe(profile.clone(), &mut run);
    profile.sums.take().values().map(|(count, _)| count).sum()
}

/// Prints the operations of `runs` runs, the dearest first.
pub fn profile(runs: usize, mut run: impl FnMut()) {
    let profile = Rc::new(Profile::default());
    let start = Instant::now();
    observe(profile.clone(), || (0..runs).for_each(|_| run()));
    let total = start.elapsed().as_secs_f64();
    let mut sums: Vec<_> = profile.sums.take().into_iter().collect();
    sums.sort_by(|(_, (_, a)), (_, (_, b))| b.total_cmp(a));
    println!("a run: {:.1} us", total / runs as f64 * 1e6);
    for (name, (count, seconds)) in sums {
        let (count, micros) = (count as f64 / runs as f64, seconds / runs as f64 * 1e6);
        println!("{micros:>10.2} us {:>5.1}% {count:>4}x {name}", 100.0 * seconds / total);
    }
}
