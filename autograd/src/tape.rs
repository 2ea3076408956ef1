//! The tape: what was computed from the tensors it watches, in order.

mod nodes;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use ferrotape_tensor::{
    Dims, Error, ErrorKind, Meta, Observer, Op, Result, Tag, TapeSlot, Tensor, TensorId, observe,
};

use crate::backward::Entry;
use crate::rules::{self, Derivative, Slot};
pub(crate) use nodes::{Node, Nodes};

/// A place in the gradient table: a watched tensor, or an output of a recorded operation.
pub(crate) type Variable = u32;

/// The variable of an input that is not on the tape.
pub(crate) const CONSTANT: Variable = u32::MAX;

/// Hashes a tensor id by one multiplication: ids are unique numbers already.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

pub(crate) type IdMap<V> = HashMap<TensorId, V, BuildHasherDefault<IdHasher>>;

/// What a tape has recorded so far.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) variables: IdMap<Variable>,
    pub(crate) nodes: Nodes,
    /// The inputs of all nodes, one node's after another's: a node has few or many.
    inputs: Vec<Variable>,
    metas: Vec<Meta>,
    pub(crate) count: Variable,
    /// Operations that have begun and not ended: `None` for one that is not recorded.
    open: Vec<Option<Open>>,
    /// The memory of a table of gradients.
    pub(crate) table: Vec<Entry>,
}

/// A recorded operation whose outputs are not there yet.
struct Open {
    /// Its place among the nodes.
    place: usize,
    keep: &'static [Slot],
}

/// The part of a tape that listens.
struct Recorder {
    tag: Tag,
    record: RefCell<Record>,
}

/// A recording of what was computed from watched tensors. Owned by the step that made it: consumed by
/// [`gradient`](Tape::gradient), gone on drop, never global.
pub struct Tape {
    slot: TapeSlot,
    recorder: Rc<Recorder>,
}

impl Tape {
    /// Runs `body` with a new tape listening to this thread, and returns its result with the tape. What `body` returns is then
    /// watched no more.
    ///
    /// # Errors
    /// What `body` fails with; more than 256 tapes alive.
    pub fn record<R>(body: impl FnOnce(&Tape) -> Result<R>) -> Result<(R, Tape)> {
        let slot = TapeSlot::new()?;
        let recorder = Recorder::listening(slot.tag());
        let tape = Tape { slot, recorder };
        let listener = tape.recorder.clone();
        let result = observe(listener, || body(&tape))?;
        Ok((result, tape))
    }

    /// Watches a tensor: operations on it are recorded from now on. A tensor of integers or booleans has no derivative and is
    /// not watched.
    pub fn watch(&self, tensor: &Tensor) {
        if tensor.dtype().is_float() {
            self.recorder.record.borrow_mut().variable(tensor.id());
            tensor.set_tag(self.recorder.tag);
        }
    }

    /// Number of operations recorded so far.
    pub fn len(&self) -> usize {
        self.recorder.record.borrow().nodes.len()
    }

    /// True if nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if `tensor` is watched or was computed from what is.
    pub fn contains(&self, tensor: &Tensor) -> bool {
        self.recorder.record.borrow().variables.contains_key(&tensor.id())
    }

    /// The record, the tape being gone: its tag is dead, so that the backward pass works on ordinary tensors.
    pub(crate) fn into_record(self) -> Record {
        let Tape { slot, recorder } = self;
        drop(slot);
        let record = recorder.record.take();
        // At the end of a thread there is no place to keep it.
        let _ = IDLE.try_with(|idle| idle.set(Some(recorder)));
        record
    }
}

thread_local! {
    /// The memory of a record that is done with: a training loop needs as much again.
    static SPARE: Cell<Option<Record>> = const { Cell::new(None) };

    /// A recorder whose record was taken, for the next tape.
    static IDLE: Cell<Option<Rc<Recorder>>> = const { Cell::new(None) };
}

impl Recorder {
    /// One with an empty record.
    fn listening(tag: Tag) -> Rc<Recorder> {
        let new = Recorder { tag, record: RefCell::new(Record::spare()) };
        let idle = IDLE.try_with(Cell::take).ok().flatten();
        let Some(mut recorder) = idle else { return Rc::new(new) };
        match Rc::get_mut(&mut recorder) {
            Some(place) => *place = new,
            // Someone still holds the last one.
            None => return Rc::new(new),
        }
        recorder
    }
}

impl Drop for Recorder {
    /// What a tape recorded that nobody asked for a gradient; the others' record was taken.
    fn drop(&mut self) {
        let mut record = self.record.take();
        if record.nodes.capacity() > 0 {
            let table = std::mem::take(&mut record.table);
            record.recycle(table);
        }
    }
}

/// Adds the shape and type of an input. The list of sizes is filled where it stays: a whole one would be moved there by loads wider than what
/// has just been stored, and each would wait for the stores.
#[inline(always)]
fn remember(metas: &mut Vec<Meta>, input: &Tensor) {
    let (dtype, device) = (input.dtype(), input.device());
    metas.push(Meta { shape: Dims::new(), dtype, device });
    if let Some(meta) = metas.last_mut() {
        input.shape().iter().for_each(|&size| meta.shape.push(size));
    }
}

/// A record with room for more than this is not kept; nor are lists of inputs with room for four times as many.
const KEPT_NODES: usize = 1 << 12;

impl Record {
    /// An empty one.
    fn spare() -> Record {
        SPARE.try_with(Cell::take).ok().flatten().unwrap_or_default()
    }

    /// For the next tape of this thread.
    pub(crate) fn recycle(mut self, mut table: Vec<Entry>) {
        if self.nodes.capacity() > KEPT_NODES || self.variables.capacity() > 4 * KEPT_NODES {
            return;
        }
        if self.metas.capacity() > 4 * KEPT_NODES {
            (self.inputs, self.metas) = (Vec::new(), Vec::new());
        }
        self.nodes.clear();
        self.inputs.clear();
        self.metas.clear();
        self.variables.clear();
        self.open.clear();
        table.clear();
        self.table = table;
        self.count = 0;
        // At the end of a thread there is no place to keep it.
        let _ = SPARE.try_with(|spare| spare.set(Some(self)));
    }

    /// The variable of a value, a new one if it has none.
    fn variable(&mut self, id: TensorId) -> Variable {
        let next = self.count;
        let variable = *self.variables.entry(id).or_insert(next);
        if variable == next {
            self.count += 1;
        }
        variable
    }

    /// The variables of a node's inputs.
    pub(crate) fn inputs(&self, node: &Node) -> &[Variable] {
        &self.inputs[node.first_input..][..node.input_count]
    }

    /// Their shapes and types.
    pub(crate) fn metas(&self, node: &Node) -> &[Meta] {
        &self.metas[node.first_input..][..node.input_count]
    }

    // Lists are filled one by one, where they stay: every operation of a training step comes through here.
    fn begin(&mut self, op: &Op, inputs: &[&Tensor]) -> Result<Option<Open>> {
        let first_input = self.inputs.len();
        let keep = self.inputs_of(op, inputs);
        let Ok(Some(keep)) = keep else {
            self.inputs.truncate(first_input);
            return keep.map(|_| None);
        };
        let place = self.nodes.len();
        let node = self.nodes.add();
        (node.first_input, node.input_count) = (first_input, inputs.len());
        (node.first_output, node.outputs) = (0, 0);
        match *op {
            // Small ones are written where they stay; a clone is made elsewhere, and moved.
            Op::Unary(f) => node.op = Op::Unary(f),
            Op::Binary(f) => node.op = Op::Binary(f),
            Op::Linear(activation) => node.op = Op::Linear(activation),
            _ => node.op = op.clone(),
        }
        let kept = &mut node.kept;
        if inputs.len() > 3 {
            // Long lists grow once.
            kept.reserve_exact(inputs.len().max(keep.len()));
        }
        let all = keep.contains(&Slot::AllInputs);
        for (place, &input) in inputs.iter().enumerate() {
            remember(&mut self.metas, input);
            if all || keep.contains(&Slot::Input(place)) {
                kept.push((Slot::Input(place), input.clone()));
            }
        }
        Ok(Some(Open { place, keep }))
    }

    /// Adds the variables of an operation's inputs; what is to be kept of it if it is to be recorded.
    #[inline(always)]
    fn inputs_of(&mut self, op: &Op, inputs: &[&Tensor]) -> Result<Option<&'static [Slot]>> {
        let mut tracked = false;
        for input in inputs {
            let variable = self.variables.get(&input.id()).copied().unwrap_or(CONSTANT);
            tracked |= variable != CONSTANT;
            self.inputs.push(variable);
        }
        if !tracked {
            return Ok(None);
        }
        match rules::derivative(op) {
            Derivative::Rule(rule) => Ok(Some(rule.keep)),
            Derivative::Custom => Ok(Some(rules::KEEP_ALL)),
            Derivative::None => Ok(None),
            Derivative::Missing => {
                let message =
                    format!("{}: has no derivative rule, and an operand is tracked", op.name());
                Err(Error::new(ErrorKind::Gradient(message)))
            }
        }
    }

    fn end(&mut self, outputs: &[Tensor]) -> Result<()> {
        let Some(Some(Open { place, keep })) = self.open.pop() else { return Ok(()) };
        let Some(node) = self.nodes.get_mut(place) else { return Ok(()) };
        for (place, output) in outputs.iter().enumerate() {
            if keep.contains(&Slot::Output(place)) || keep.contains(&Slot::AllInputs) {
                node.kept.push((Slot::Output(place), output.clone()));
            }
        }
        node.first_output = self.count;
        node.outputs = outputs.len();
        for output in outputs {
            self.variables.insert(output.id(), self.count);
            self.count =
                self.count.checked_add(1).filter(|&count| count < CONSTANT).ok_or_else(|| {
                    Error::new(ErrorKind::Gradient(
                        "the tape is full: more than 2^32 values".into(),
                    ))
                })?;
        }
        Ok(())
    }

    /// An operation failed: it gave nothing, so nothing is kept for it. What an observer computed meanwhile stays.
    fn forget(&mut self) {
        let Some(Some(Open { place, .. })) = self.open.pop() else { return };
        let last = place + 1 == self.nodes.len();
        let Some(node) = self.nodes.get_mut(place) else { return };
        node.input_count = 0;
        node.kept.clear();
        if last {
            self.inputs.truncate(node.first_input);
            self.metas.truncate(node.first_input);
            self.nodes.pop();
        }
    }
}

impl Observer for Recorder {
    fn begin(&self, op: &Op, inputs: &[&Tensor]) -> Result<()> {
        let mut record = self.record.borrow_mut();
        let open = record.begin(op, inputs)?;
        record.open.push(open);
        Ok(())
    }

    fn end(&self, _: &Op, _: &[Meta], outcome: Result<&[Tensor], &Error>) -> Result<()> {
        let mut record = self.record.borrow_mut();
        match outcome {
            Ok(outputs) => record.end(outputs),
            Err(_) => {
                record.forget();
                Ok(())
            }
        }
    }

    fn tag(&self) -> Option<Tag> {
        Some(self.tag)
    }
}
