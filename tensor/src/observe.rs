//! Observers: who listens to the operations of a thread, and what marks the tensors they watch.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use crate::apply::Outputs;
use crate::error::{Error, ErrorKind, Result};
use crate::op::{Meta, Op};
use crate::tensor::Tensor;

/// The one extension mechanism: a tape, a profiler, a graph capture, quantization. Installed for a scope on one thread by [`observe`].
pub trait Observer {
    /// An operation begins; its inputs are still whole. What is cloned here has a second owner and is never taken over.
    ///
    /// # Errors
    /// Refuses the operation, which then does not run.
    fn begin(&self, op: &Op, inputs: &[&Tensor]) -> Result<()> {
        let _ = (op, inputs);
        Ok(())
    }

    /// The operation has ended, well or not. Called once for every `begin` that succeeded.
    ///
    /// # Errors
    /// Fails the operation.
    fn end(&self, op: &Op, metas: &[Meta], outcome: Result<&[Tensor], &Error>) -> Result<()> {
        let _ = (op, metas, outcome);
        Ok(())
    }

    /// Asked before an operation is announced to anyone: the outputs, if it is to be computed in another way (in int8, say). The
    /// operation has not happened then; what happens instead are the operations that the answer is made of. Outputs must have the
    /// shapes and types of the operation's own. The observer that was installed last is asked first. Updates are not asked for.
    ///
    /// # Errors
    /// Fails the operation.
    fn replace(&self, op: &Op, inputs: &[&Tensor]) -> Result<Option<Outputs>> {
        let _ = (op, inputs);
        Ok(None)
    }

    /// The mark that outputs inherit from inputs on this observer; `None` for one that watches no tensors.
    fn tag(&self) -> Option<Tag> {
        None
    }
}

/// "Watched by listener t": one word that outputs inherit. Dies with its listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Tag(u64);

const SLOTS: usize = 256;

/// Live listeners: slot `tag % SLOTS` holds the tag while it lives.
static LIVE: [AtomicU64; SLOTS] = [const { AtomicU64::new(0) }; SLOTS];

impl Tag {
    /// Watched by no one.
    pub const NONE: Tag = Tag(0);

    #[inline]
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Tag {
        Tag(bits)
    }

    /// True while its listener lives.
    #[inline]
    pub fn is_live(self) -> bool {
        self.0 != 0 && LIVE[(self.0 % SLOTS as u64) as usize].load(Ordering::Relaxed) == self.0
    }
}

/// Keeps a [`Tag`] alive; on drop the tag is dead and what carries it is an ordinary tensor.
#[derive(Debug)]
pub struct TapeSlot(Tag);

impl TapeSlot {
    /// A new tag, younger than all before it.
    ///
    /// # Errors
    /// More than 256 tapes are alive in this process.
    pub fn new() -> Result<TapeSlot> {
        static GENERATION: AtomicU64 = AtomicU64::new(1);
        let generation = GENERATION.fetch_add(1, Ordering::Relaxed);
        for probe in 0..SLOTS as u64 {
            let slot = (generation + probe) % SLOTS as u64;
            let tag = generation * SLOTS as u64 + slot;
            let free =
                LIVE[slot as usize].compare_exchange(0, tag, Ordering::Relaxed, Ordering::Relaxed);
            if free.is_ok() {
                return Ok(TapeSlot(Tag(tag)));
            }
        }
        Err(Error::argument("record", format!("more than {SLOTS} tapes are alive")))
    }

    /// The tag it keeps alive.
    pub fn tag(&self) -> Tag {
        self.0
    }
}

impl Drop for TapeSlot {
    fn drop(&mut self) {
        LIVE[(self.0.0 % SLOTS as u64) as usize].store(0, Ordering::Relaxed);
    }
}

struct Scope {
    observers: RefCell<Vec<Rc<dyn Observer>>>,
    /// Inside `no_tape`: tapes below this place are suspended.
    floor: Cell<Option<usize>>,
    /// Number of observers, readable without a borrow.
    count: Cell<usize>,
}

thread_local! {
    static SCOPE: Scope = const {
        Scope { observers: RefCell::new(Vec::new()), floor: Cell::new(None), count: Cell::new(0) }
    };
}

/// Restores the scope when a closure ends, by return or by unwinding.
struct Restore {
    len: usize,
    floor: Option<usize>,
}

impl Drop for Restore {
    fn drop(&mut self) {
        SCOPE.with(|scope| {
            scope.floor.set(self.floor);
            // One by one: what an observer drops may ask for the scope.
            while scope.count.get() > self.len {
                let last = scope.observers.borrow_mut().pop();
                scope.count.set(scope.count.get() - 1);
                drop(last);
            }
        });
    }
}

fn restore() -> Restore {
    SCOPE.with(|scope| Restore { len: scope.count.get(), floor: scope.floor.get() })
}

/// Runs `body` while `observer` listens to this thread.
pub fn observe<R>(observer: Rc<dyn Observer>, body: impl FnOnce() -> R) -> R {
    let _restore = restore();
    SCOPE.with(|scope| {
        let mut observers = scope.observers.borrow_mut();
        observers.push(observer);
        scope.count.set(observers.len());
    });
    body()
}

/// Runs `body` while no tape that is active now records: outputs carry no mark. Other observers go on listening; a tape
/// that is opened inside records.
///
/// ```
/// # use ferrotape_tensor::{no_tape, Tensor};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let y = no_tape(|| Tensor::from([1f32, 2.]).sum(..))?;
/// assert_eq!(y.item::<f32>()?, 3.);
/// # Ok(()) }
/// ```
pub fn no_tape<R>(body: impl FnOnce() -> R) -> R {
    let _restore = restore();
    SCOPE.with(|scope| scope.floor.set(Some(scope.count.get())));
    body()
}

/// True if somebody other than a tape hears this thread's operations: they should then be those that were written, not several as one.
///
/// ```
/// assert!(!ferrotape_tensor::is_observed());
/// ```
pub fn is_observed() -> bool {
    SCOPE.with(|scope| {
        scope.count.get() > 0
            && scope.observers.borrow().iter().any(|observer| observer.tag().is_none())
    })
}

/// Who hears an operation that begins now, where that is soon said.
pub(crate) enum Hearing {
    Nobody,
    One(Rc<dyn Observer>),
    /// Several, or tapes are suspended.
    Others,
}

#[inline]
pub(crate) fn hearing() -> Hearing {
    SCOPE.with(|scope| match (scope.count.get(), scope.floor.get()) {
        (0, _) => Hearing::Nobody,
        (1, None) => {
            scope.observers.borrow().first().cloned().map_or(Hearing::Others, Hearing::One)
        }
        _ => Hearing::Others,
    })
}

/// The observers that hear an operation that begins now.
pub(crate) type Listeners = SmallVec<[Rc<dyn Observer>; 2]>;

pub(crate) fn listeners(hearing: &mut Listeners) {
    SCOPE.with(|scope| {
        if scope.count.get() == 0 {
            return;
        }
        let floor = scope.floor.get().unwrap_or(0);
        for (place, observer) in scope.observers.borrow().iter().enumerate() {
            if place >= floor || observer.tag().is_none() {
                hearing.push(observer.clone());
            }
        }
    });
}

/// The mark that the outputs inherit: the oldest live one of the inputs, since its listener lives longest.
pub(crate) fn inherited_tag(op: &Op, inputs: &[&Tensor]) -> Result<Tag> {
    let mut inherited = Tag::NONE;
    for (operand, input) in inputs.iter().enumerate() {
        let tag = input.tag();
        if !tag.is_live() {
            continue;
        }
        match place_of(tag) {
            Place::Recording => {
                inherited = if inherited == Tag::NONE { tag } else { inherited.min(tag) };
            }
            Place::Suspended => {}
            Place::Elsewhere => {
                return Err(Error::plain(ErrorKind::TrackedElsewhere { op: op.name(), operand }));
            }
        }
    }
    Ok(inherited)
}

enum Place {
    Recording,
    Suspended,
    Elsewhere,
}

fn place_of(tag: Tag) -> Place {
    SCOPE.with(|scope| {
        let floor = scope.floor.get();
        let observers = scope.observers.borrow();
        match observers.iter().position(|observer| observer.tag() == Some(tag)) {
            Some(place) if place >= floor.unwrap_or(0) => Place::Recording,
            Some(_) => Place::Suspended,
            // Inside `no_tape` nothing records, so nothing can be lost by it.
            None if floor.is_some() => Place::Suspended,
            None => Place::Elsewhere,
        }
    })
}
