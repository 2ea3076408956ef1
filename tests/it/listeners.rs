//! Who listens hears the same of an operation whichever way it goes: dense tensors and one listener have a shorter one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::thread;

use ferrotape::prelude::*;
use ferrotape::{ErrorKind, Meta, Observer, Op, Outputs, Tag, observe};

use crate::child;

/// Writes down what it hears, and does what it is told to.
#[derive(Default)]
struct Ear {
    heard: RefCell<Vec<String>>,
    tag: Option<Tag>,
    instead: RefCell<Option<Tensor>>,
    refuses: Cell<bool>,
    fails: Cell<bool>,
}

impl Ear {
    fn note(&self, what: &str, op: &Op, rest: String) {
        self.heard.borrow_mut().push(format!("{what} {} {rest}", op.name()));
    }

    fn take(&self) -> Vec<String> {
        self.heard.take()
    }
}

fn error(message: &str) -> Error {
    Error::new(ErrorKind::Gradient(message.into()))
}

impl Observer for Ear {
    fn begin(&self, op: &Op, inputs: &[&Tensor]) -> Result<()> {
        let metas: Vec<Meta> = inputs.iter().map(|x| x.meta()).collect();
        self.note("begin", op, format!("{metas:?}"));
        if self.refuses.get() { Err(error("refused")) } else { Ok(()) }
    }

    fn end(&self, op: &Op, metas: &[Meta], outcome: Result<&[Tensor], &Error>) -> Result<()> {
        let values = outcome.map(|y| y.iter().map(|y| y.to_vec::<f32>().unwrap()).collect());
        let values: Result<Vec<Vec<f32>>, String> = values.map_err(Error::to_string);
        self.note("end", op, format!("{metas:?} {values:?}"));
        if self.fails.get() { Err(error("failed")) } else { Ok(()) }
    }

    fn replace(&self, op: &Op, inputs: &[&Tensor]) -> Result<Option<Outputs>> {
        self.note("replace", op, inputs.len().to_string());
        Ok(self.instead.take().map(|y| Outputs::from_iter([y])))
    }

    fn tag(&self) -> Option<Tag> {
        self.tag
    }
}

/// Writes down nothing but whether things ended well.
#[derive(Default)]
struct Ends(RefCell<Vec<Option<String>>>);

impl Observer for Ends {
    fn end(&self, _: &Op, _: &[Meta], outcome: Result<&[Tensor], &Error>) -> Result<()> {
        self.0.borrow_mut().push(outcome.err().map(Error::to_string));
        Err(error("a second failure"))
    }
}

type Binary = fn(&Tensor, &Tensor) -> Result<Tensor>;

const OPS: [Binary; 3] = [|a, _| a.exp(), |a, b| a.mul(b), |a, b| a.matmul(b)];

/// Two matrices that lie densely, and the same with their columns apart.
fn matrices() -> ([Tensor; 2], [Tensor; 2]) {
    let dense = [[1f32, 2., 3., 4.], [-1., 0.5, 2., 7.]].map(|x| x.to_vec());
    let dense = dense.map(|x| Tensor::from_vec(x, [2, 2]).unwrap());
    let apart = dense.clone().map(|x| x.t().unwrap().contiguous().unwrap().t().unwrap());
    assert!(apart.iter().all(|x| !x.is_contiguous()));
    (dense, apart)
}

#[test]
fn one_listener_hears_of_dense_tensors_what_it_hears_of_others() {
    let ([a, b], [c, d]) = matrices();
    for op in OPS {
        let ear = Rc::new(Ear::default());
        let y = observe(ear.clone(), || op(&a, &b)).unwrap();
        let dense = ear.take();
        let z = observe(ear.clone(), || op(&c, &d)).unwrap();
        assert_eq!((y.to_vec::<f32>().unwrap(), &dense), (z.to_vec().unwrap(), &ear.take()));
        let words: Vec<&str> = dense.iter().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(words, ["replace", "begin", "end"]);
        // Given away, and with a second listener.
        observe(ear.clone(), || observe(Rc::new(Ear::default()), || op(&a, &b))).unwrap();
        assert_eq!(ear.take(), dense);
    }
}

#[test]
fn a_refusal_and_a_failure_are_the_operations() {
    let ([a, b], [c, d]) = matrices();
    for op in OPS {
        for (x, y) in [(&a, &b), (&c, &d)] {
            let ear = Rc::new(Ear::default());
            ear.refuses.set(true);
            let refused = observe(ear.clone(), || op(x, y)).unwrap_err();
            assert!(refused.to_string().contains("refused"), "{refused}");
            assert_eq!(ear.take().len(), 2, "what was refused does not end");
            ear.refuses.set(false);
            ear.fails.set(true);
            let failed = observe(ear.clone(), || op(x, y)).unwrap_err();
            assert!(failed.to_string().contains("failed"), "{failed}");
            assert_eq!(ear.take().len(), 3);
        }
    }
}

#[test]
fn an_operation_without_memory_ends_badly_for_listeners_and_tapes() {
    let name = "listeners::an_operation_without_memory_ends_badly_for_listeners_and_tapes";
    child::alone(name, || {
        let ([a, b], _) = matrices();
        for op in OPS {
            let ends = Rc::new(Ends::default());
            Tape::record(|tape| {
                tape.watch(&a);
                Device::cpu().set_memory_limit(Some(Device::cpu().memory_stats().live));
                let failed = op(&a, &b).unwrap_err();
                assert!(matches!(failed.kind(), ErrorKind::OutOfMemory { .. }), "{failed}");
                assert!(tape.is_empty(), "nothing is kept for it");
                // Of its failure and the listener's, the operation's counts.
                let failed = no_tape(|| observe(ends.clone(), || op(&b, &b))).unwrap_err();
                assert!(matches!(failed.kind(), ErrorKind::OutOfMemory { .. }), "{failed}");
                Device::cpu().set_memory_limit(None);
                op(&a, &b)?;
                assert_eq!(tape.len(), 1);
                Ok(())
            })
            .unwrap();
            Device::cpu().set_memory_limit(Some(Device::cpu().memory_stats().live));
            observe(ends.clone(), || op(&b, &b)).unwrap_err();
            Device::cpu().set_memory_limit(None);
            let ends = ends.0.take();
            assert_eq!(ends.len(), 2);
            assert!(ends.iter().all(|end| end.as_ref().is_some_and(|e| e.contains("memory"))));
        }
    });
}

#[test]
fn what_a_listener_has_instead_is_the_output_if_it_fits() {
    let ([a, b], [c, d]) = matrices();
    for op in OPS {
        let mut told = Vec::new();
        for (x, y) in [(&a, &b), (&c, &d)] {
            let ear = Rc::new(Ear::default());
            let other = Tensor::from([[9f32, 8.], [7., 6.]]);
            *ear.instead.borrow_mut() = Some(other.clone());
            let found = observe(ear.clone(), || op(x, y)).unwrap();
            assert_eq!(found.id(), other.id());
            assert_eq!(ear.take().len(), 1, "it did not happen");
            *ear.instead.borrow_mut() = Some(Tensor::from([1f32, 2.]));
            told.push(observe(ear.clone(), || op(x, y)).unwrap_err().to_string());
        }
        assert_eq!(told[0], told[1]);
        assert!(told[0].contains("an observer's outputs are not those of the operation"));
    }
}

/// What the other thread says of an operation on a tensor that a tape of this one watches.
fn elsewhere(x: &Tensor, hears: impl Fn(&dyn Fn() -> Result<Tensor>) -> Result<Tensor> + Sync) {
    let ([a, _], _) = matrices();
    let both: [(usize, Binary); 2] = [(0, |x, a| x.mul(a)), (1, |x, a| a.matmul(x))];
    thread::scope(|scope| {
        scope.spawn(|| {
            for (place, op) in both {
                let error = hears(&|| op(x, &a)).unwrap_err();
                let ErrorKind::TrackedElsewhere { operand, .. } = error.kind() else {
                    panic!("{error}")
                };
                assert_eq!(*operand, place);
                assert!(no_tape(|| op(x, &a)).is_ok());
            }
        });
    });
}

#[test]
fn a_tensor_of_a_tape_that_does_not_listen_is_an_error_whoever_does() {
    let ([x, _], _) = matrices();
    Tape::record(|tape| {
        tape.watch(&x);
        elsewhere(&x, |op| op());
        elsewhere(&x, |op| observe(Rc::new(Ear::default()), op));
        elsewhere(&x, |op| Ok(Tape::record(|_| op())?.0));
        elsewhere(&x, |op| observe(Rc::new(Ear::default()), || Ok(Tape::record(|_| op())?.0)));
        assert!(tape.is_empty());
        Ok(())
    })
    .unwrap();
}

#[test]
fn outputs_are_watched_by_the_tape_that_watches_an_operand() {
    let ([a, b], _) = matrices();
    for op in OPS {
        let ((), tape) = Tape::record(|tape| {
            assert!(!op(&a, &b)?.tag().is_live());
            assert!(tape.is_empty());
            tape.watch(&a);
            let y = op(&a, &b)?;
            assert!(tape.contains(&y) && y.tag() == a.tag() && tape.len() == 1);
            let suspended = no_tape(|| op(&a, &b))?;
            assert!(!suspended.tag().is_live() && !tape.contains(&suspended) && tape.len() == 1);
            // An inner tape records too; the mark is the outer one's, which lives longest.
            let (z, inner) = Tape::record(|inner| {
                inner.watch(&a);
                op(&a, &b)
            })?;
            assert!(inner.contains(&z) && inner.len() == 1);
            assert!(tape.contains(&z) && z.tag() == a.tag() && tape.len() == 2);
            Ok(())
        })
        .unwrap();
        drop(tape);
        assert!(!a.tag().is_live());
    }
}

#[test]
fn a_tag_whose_listener_is_gone_is_none() {
    let ([a, b], _) = matrices();
    let dead = Tape::record(|tape| {
        tape.watch(&a);
        Ok(a.tag())
    });
    let tag = dead.unwrap().0;
    assert!(!tag.is_live());
    let ear = Rc::new(Ear { tag: Some(tag), ..Ear::default() });
    let y = observe(ear, || a.mul(&b)).unwrap();
    assert_eq!(y.tag(), Tag::NONE);
}

#[test]
fn a_tape_that_was_dropped_leaves_the_next_one_nothing() {
    let ([a, b], _) = matrices();
    let gone = || {
        Tape::record(|tape| {
            tape.watch(&a);
            a.mul(&b)?.matmul(&b)
        })
    };
    let (y, tape) = gone().unwrap();
    drop(tape);
    let ((), next) = Tape::record(|tape| {
        assert!(tape.is_empty() && !tape.contains(&a) && !tape.contains(&y));
        y.mul(&b)?;
        assert!(tape.is_empty());
        tape.watch(&b);
        a.mul(&b)?.sum(..).map(drop)
    })
    .unwrap();
    assert_eq!(next.len(), 2);
}
