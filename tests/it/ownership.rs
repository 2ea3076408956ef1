//! Who may change what: live tensors keep their values, temporaries lend their buffers, threads get no gradient lost.

use ferrotape::ErrorKind;
use ferrotape::prelude::*;

use crate::cnn::bits;

fn values() -> Tensor {
    Tensor::from([[-1.5f32, 2., 0.25], [3., -0.5, 1.]])
}

/// The bits of an expression's result, `x` being watched for change meanwhile.
fn keeps(x: &Tensor, name: &str, expression: impl FnOnce(&Tensor) -> Result<Tensor>) {
    let (before, id, address) = (bits(x), x.id(), x.address());
    let y = expression(x).unwrap();
    assert_eq!(bits(x), before, "{name} changed a live tensor");
    assert_eq!((x.id(), x.address()), (id, address), "{name}");
    assert_ne!(y.id(), id, "{name}");
    let y_before = bits(&y);
    let _ = expression_noise(x);
    assert_eq!(bits(&y), y_before, "{name}: its result changed later");
}

/// Other work, that would write into a buffer lent wrongly.
fn expression_noise(x: &Tensor) -> Result<Tensor> {
    (x * 7.0).add(3.0).tanh().mul(x.exp())
}

#[test]
fn a_live_tensor_keeps_its_values() {
    let x = values();
    let view = x.narrow(0, 0, 1).unwrap();
    let view_before = bits(&view);
    keeps(&x, "relu", |x| x.relu());
    keeps(&x, "neg", |x| -x);
    keeps(&x, "(&x + 1).relu", |x| (x + 1.0)?.relu());
    keeps(&x, "(&x + 1).relu on the result", |x| (x + 1.0).relu());
    keeps(&x, "x + x", |x| x + x);
    keeps(&x, "a clone given away", |x| x.clone() + 1.0);
    keeps(&x, "a clone given away as second", |x| x.add(x.clone()));
    keeps(&x, "1 - x", |x| 1.0 - x);
    keeps(&x, "chain", |x| x.exp().mul(x).sub(x.clone()).relu().tanh());
    keeps(&x, "a view given away", |x| x.reshape([3, 2])?.t().exp());
    keeps(&x, "a view of the same shape", |x| x.reshape([6]).reshape([2, 3]).exp());
    keeps(&x, "an expanded view", |x| x.expand([4, 2, 3]).mul(2.0));
    keeps(&x, "detach", |x| x.detach().mul(2.0));
    keeps(&x, "detach and relu", |x| Ok(x.detach()?).relu());
    keeps(&x, "softmax", |x| x.softmax(1));
    keeps(&x, "matmul", |x| x.matmul(x.t()));
    keeps(&x, "no-op casts", |x| x.to_dtype(DType::F32).relu());
    keeps(&x, "no-op contiguous", |x| x.contiguous().mul(2.0));
    keeps(&x, "no-op expand", |x| x.expand([2, 3]).mul(2.0));
    keeps(&x, "no-op sum_to", |x| x.sum_to([2, 3]).mul(2.0));
    assert_eq!(bits(&view), view_before);
}

#[test]
fn an_owned_temporary_lends_its_buffer() {
    let x = values();
    let lends = |name: &str, function: &dyn Fn(Tensor) -> Result<Tensor>| {
        let owned = x.mul(2.0).unwrap();
        let (address, id) = (owned.address(), owned.id());
        let expected = function(owned.clone()).unwrap();
        assert_ne!(expected.address(), address, "{name}: with a second owner");
        let y = function(owned).unwrap();
        assert_eq!(y.address(), address, "{name}");
        assert_ne!(y.id(), id, "{name}");
        assert_eq!(bits(&y), bits(&expected), "{name}");
    };
    lends("unary", &|t| Ok(t).relu());
    lends("negation", &|t| -t);
    lends("binary, first", &|t| Ok(t).sub(&x));
    lends("binary, second", &|t| x.sub(t));
    lends("operator, first", &|t| t / &x);
    lends("operator, second", &|t| &x / t);
    lends("with a number", &|t| t * 0.5);
    lends("a number before", &|t| 2.0 - t);
    lends("broadcast row", &|t| t + Tensor::from([1f32, 2., 3.]));
    lends("a chain", &|t| (t + &x).relu().mul(&x).tanh().add(1.0));
}

#[test]
fn what_does_not_fit_is_not_lent() {
    let x = values();
    let row = || Tensor::from([1f32, 2., 3.]).mul(1.0).unwrap();
    let small = row();
    let address = small.address();
    assert_ne!((small + &x).unwrap().address(), address, "a broadcast operand");
    let whole = x.mul(2.0).unwrap();
    let part = whole.narrow(0, 1, 1).unwrap();
    let address = part.address();
    drop(whole);
    assert_ne!(Ok(part).relu().unwrap().address(), address, "a part of a storage");
    let turned = x.mul(2.0).t().unwrap();
    let address = turned.address();
    let y = Ok(turned).relu().unwrap();
    assert_ne!(y.address(), address, "other strides");
    assert_eq!(y.to_vec::<f32>().unwrap(), [0., 6., 4., 0., 0.5, 2.]);
}

#[test]
fn what_a_tape_keeps_is_not_lent() {
    let x = values();
    let (kept, tape) = Tape::record(|tape| {
        tape.watch(&x);
        let y = x.exp()?; // The rule of exp keeps its output.
        let (address, before) = (y.address(), bits(&y));
        let clone_of_y = y.to_vec::<f32>()?;
        let z = Ok(y).relu()?;
        assert_ne!(z.address(), address, "the tape's value was lent");
        assert_eq!(before, bits(&Tensor::from_vec(clone_of_y, [2, 3])?));
        z.sum(..)
    })
    .unwrap();
    let gradient = &tape.gradient(&kept, &[&x]).unwrap()[0];
    assert_eq!(bits(gradient), bits(&x.exp().unwrap()));

    // What no rule keeps is lent under a tape too: the rule of add keeps nothing.
    let (loss, tape) = Tape::record(|tape| {
        tape.watch(&x);
        let y = x.add(1.0)?;
        let address = y.address();
        let z = Ok(y).add(2.0)?;
        assert_eq!(z.address(), address);
        z.square().sum(..)
    })
    .unwrap();
    let gradient = &tape.gradient(&loss, &[&x]).unwrap()[0];
    assert_eq!(bits(gradient), bits(&x.add(1.0).add(2.0).mul(2.0).unwrap()));
}

#[test]
fn clones_share_an_id_and_results_get_their_own() {
    let x = values();
    assert_eq!(x.id(), x.clone().id());
    let view = x.t().unwrap();
    let mut ids = vec![x.id(), view.id(), x.relu().unwrap().id(), x.detach().unwrap().id()];
    let mut y = x.clone();
    y.assign(view.t().unwrap()).unwrap();
    ids.push(y.id());
    y.assign(3.0).unwrap();
    ids.push(y.id());
    let owned = x.mul(1.0).unwrap();
    ids.push(owned.id());
    ids.push(Ok(owned).relu().unwrap().id());
    ids.sort();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn an_assignment_leaves_clones_and_views_untouched() {
    let mut x = values();
    let (clone, view, before) = (x.clone(), x.narrow(1, 1, 2).unwrap(), bits(&x));
    let view_before = bits(&view);
    x.assign(x.mul(2.0).unwrap()).unwrap();
    assert_eq!((bits(&clone), bits(&view)), (before, view_before));
    assert_ne!(x.address(), clone.address());
    assert_eq!(bits(&x), bits(&clone.mul(2.0).unwrap()));

    // Alone, it writes in place; of itself too.
    let address = x.address();
    x.assign(5.0).unwrap();
    assert_eq!(x.address(), address);
    x.assign(x.clone()).unwrap();
    assert_eq!(x.to_vec::<f32>().unwrap(), [5.; 6]);

    // A part of a storage gets memory of its own.
    let whole = values();
    let mut part = whole.narrow(0, 1, 1).unwrap();
    part.assign(0.0).unwrap();
    assert_eq!(bits(&whole), bits(&values()));
    assert_eq!(part.to_vec::<f32>().unwrap(), [0.; 3]);
    assert!(part.assign(&whole).is_err());
    assert_eq!(part.to_vec::<f32>().unwrap(), [0.; 3]);
}

#[test]
fn an_assignment_on_the_tape_is_refused_by_name() {
    let x = values();
    let refused = Tape::record(|tape| {
        tape.watch(&x);
        let mut y = Tensor::zeros([2, 3], DType::F32)?;
        y.assign(&x.square()?)?;
        y.sum(..)
    });
    let message = refused.err().unwrap().to_string();
    assert!(message.contains("assign: has no derivative rule"), "{message}");
}

fn is_tracked_elsewhere(result: Result<Tensor>) -> bool {
    matches!(result.unwrap_err().kind(), ErrorKind::TrackedElsewhere { .. })
}

/// Runs `body` on another thread.
fn elsewhere<R: Send>(body: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| scope.spawn(body).join().unwrap())
}

#[test]
fn a_tracked_tensor_on_another_thread_is_an_error() {
    let (leaf, other) = (values(), values());
    let (y, tape) = Tape::record(|tape| {
        tape.watch(&leaf);
        let y = leaf.square()?;
        assert!(elsewhere(|| is_tracked_elsewhere(y.relu())), "a result");
        assert!(elsewhere(|| is_tracked_elsewhere(leaf.relu())), "a watched leaf");
        assert!(elsewhere(|| is_tracked_elsewhere(other.mul(&y))), "as second operand");
        assert!(elsewhere(|| is_tracked_elsewhere(y.t())), "a view");
        let message = elsewhere(|| y.relu().unwrap_err().to_string());
        assert!(message.starts_with("relu: operand 0 is tracked"), "{message}");
        // What is no gradient's way out is allowed.
        assert!(elsewhere(|| y.detach()).is_ok() || elsewhere(|| no_tape(|| y.detach())).is_ok());
        assert_eq!(elsewhere(|| no_tape(|| y.relu())).map(|t| bits(&t))?, bits(&y));
        assert_eq!(elsewhere(|| other.relu()).map(|t| t.len())?, 6, "an ordinary tensor");
        y.sum(..)
    })
    .unwrap();
    // The recording has ended and the tape lives: here, too, a gradient would be lost.
    assert!(is_tracked_elsewhere(y.exp()));
    assert!(is_tracked_elsewhere(leaf.exp()));
    let gradient = tape.gradient(&y, &[&leaf]).unwrap().remove(0);
    assert_eq!(bits(&gradient), bits(&leaf.mul(2.0).unwrap()));
    // It is gone: all are ordinary tensors, everywhere.
    for tensor in [&y, &leaf, &gradient] {
        assert!(tensor.exp().is_ok());
        assert!(elsewhere(|| tensor.exp()).is_ok());
    }
}

#[test]
fn a_tape_dropped_early_leaves_ordinary_tensors() {
    let x = values();
    let (y, tape) = Tape::record(|tape| {
        tape.watch(&x);
        x.square()
    })
    .unwrap();
    drop(tape);
    assert!(elsewhere(|| y.relu()).is_ok() && elsewhere(|| x.relu()).is_ok());
    let failed = Tape::record(|tape| {
        tape.watch(&x);
        x.matmul(&x)
    });
    assert!(failed.is_err());
    assert!(elsewhere(|| x.relu()).is_ok(), "after a recording that failed");
}
