//! A device's one stream: what is put on it, what waits for it, and its recordings.
//!
//! While a [`Graph`](super::Graph) runs a step, the stream records what it is given instead of starting it. Calls that must not meet a
//! recording (whatever waits, frees device memory or loads a module) [pause](Gpu::pause) it: what was recorded until then is started as
//! one graph, and recording goes on after them. Any thread may put work on the stream or pause it meanwhile; all of it stays in order.

use std::ffi::c_int;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::driver::{Functions, Gpu, Handle, UpdateResult};
use crate::error::Result;

/// The stream; the lock keeps work from being put on it while it changes between recording and not.
pub(super) struct Stream {
    handle: Handle,
    state: RwLock<State>,
}

struct State {
    /// Calls under way that must not meet a recording.
    pauses: usize,
    recording: bool,
    /// The step that is to be recorded.
    step: Option<Step>,
    /// Number of the recording under way, or of the next one.
    generation: u64,
    /// Passed when the recording was run whose number has this remainder.
    fences: [Handle; FENCES as usize],
}

const FENCES: u64 = 16;

/// The graphs of earlier steps, and what became of this one's recordings.
#[derive(Default)]
pub(super) struct Step {
    pub(super) executables: Vec<Executable>,
    pub(super) launched: u64,
    pub(super) instantiated: u64,
}

/// A graph ready to run, and how many nodes it has.
pub(super) struct Executable {
    pub(super) handle: Handle,
    nodes: usize,
}

/// Graphs that a step keeps: of a loop that now and then reads a value in the middle.
const MOST_EXECUTABLES: usize = 16;

/// An event that is not timed.
pub(super) fn event(functions: &Functions) -> Result<Handle> {
    let mut event = std::ptr::null_mut();
    // 2: no times.
    // SAFETY: a place for a handle.
    functions.check("cuEventCreate", unsafe { (functions.event_create)(&mut event, 2) })?;
    Ok(event)
}

impl Stream {
    pub(super) fn new(functions: &Functions, handle: Handle) -> Result<Stream> {
        let mut fences = [std::ptr::null_mut(); FENCES as usize];
        for fence in &mut fences {
            *fence = event(functions)?;
        }
        let state = State { pauses: 0, recording: false, step: None, generation: 0, fences };
        Ok(Stream { handle, state: RwLock::new(state) })
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While it lives nothing is recorded.
pub(super) struct Paused<'a>(&'a Gpu);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        let mut state = self.0.stream.write();
        state.pauses -= 1;
        self.0.resume(&mut state);
    }
}

/// When memory that copies on the stream read may be written again.
#[derive(Debug, Clone, Copy)]
pub(super) enum Passed {
    /// Once the event has passed that was given to [`mark`](Gpu::mark).
    Event,
    /// Once that recording was run.
    Recording(u64),
}

impl Gpu {
    /// Puts work on the stream: `work` is given the functions and the stream.
    #[inline]
    pub(super) fn enqueue(
        &self,
        call: &'static str,
        work: impl FnOnce(&Functions, Handle) -> u32,
    ) -> Result<()> {
        let _no_change = self.stream.read();
        self.bind()?;
        self.check(call, work(self.functions, self.stream.handle))
    }

    /// Starts what was recorded so far; until the value is dropped, nothing is recorded.
    pub(super) fn pause(&self) -> Result<Paused<'_>> {
        let mut state = self.stream.write();
        state.pauses += 1;
        let paused = Paused(self);
        let started = self.start(&mut state);
        drop(state);
        // On an error the pause is over.
        started.and_then(|()| self.bind()).map(|()| paused)
    }

    /// Waits for all work given to the device.
    ///
    /// # Errors
    /// [`Cuda`](crate::Error::Cuda): a fault of that work, which is only seen now.
    pub fn synchronize(&self) -> Result<()> {
        self.wait(&self.pause()?)
    }

    /// The same in a pause.
    pub(super) fn wait(&self, _: &Paused<'_>) -> Result<()> {
        // SAFETY: the stream lives as long as the process.
        let code = unsafe { (self.functions.stream_synchronize)(self.stream.handle) };
        self.check("cuStreamSynchronize", code)
    }

    /// Lets the event pass once all work is done that is on the stream by now, or says which recording that work belongs to.
    pub(super) fn mark(&self, event: Handle) -> Result<Passed> {
        let state = self.stream.read();
        if state.recording {
            return Ok(Passed::Recording(state.generation));
        }
        self.bind()?;
        // SAFETY: an event of this context, the stream.
        let code = unsafe { (self.functions.event_record)(event, self.stream.handle) };
        self.check("cuEventRecord", code)?;
        Ok(Passed::Event)
    }

    /// Waits until that has passed.
    pub(super) fn wait_for(&self, passed: Passed, event: Handle) -> Result<()> {
        let event = match passed {
            Passed::Event => event,
            Passed::Recording(number) => {
                // A later recording may have taken the fence: more is waited for, never less.
                let state = self.stream.read();
                let (pending, fence) =
                    (state.generation == number, state.fences[(number % FENCES) as usize]);
                drop(state);
                if pending {
                    drop(self.pause()?);
                }
                fence
            }
        };
        self.bind()?;
        // SAFETY: an event of this context that no recording contains.
        let code = unsafe { (self.functions.event_synchronize)(event) };
        self.check("cuEventSynchronize", code)
    }

    /// Records from now on; false if a step is being recorded already, to which this one's work then belongs.
    pub(super) fn begin_step(&self, executables: &mut Vec<Executable>) -> Result<bool> {
        let mut state = self.stream.write();
        if state.step.is_some() {
            return Ok(false);
        }
        self.bind()?;
        state.step = Some(Step { executables: std::mem::take(executables), ..Step::default() });
        self.resume(&mut state);
        Ok(true)
    }

    /// Starts what was recorded and records no more.
    pub(super) fn end_step(&self) -> (Step, Result<()>) {
        let mut state = self.stream.write();
        let started = self.start(&mut state);
        (state.step.take().unwrap_or_default(), started)
    }

    /// Records again if a step is under way and nothing forbids it.
    fn resume(&self, state: &mut State) {
        if state.pauses > 0 || state.recording || state.step.is_none() || self.bind().is_err() {
            return;
        }
        // 2: relaxed; any thread may end it, and what others do elsewhere is no matter.
        const RELAXED: c_int = 2;
        // SAFETY: the stream.
        let code = unsafe { (self.functions.capture_begin)(self.stream.handle, RELAXED) };
        // If it can't be recorded, the step's work is simply started at once.
        state.recording = code == 0;
    }

    /// Ends the recording under way and starts what it holds.
    fn start(&self, state: &mut State) -> Result<()> {
        if !state.recording {
            return Ok(());
        }
        state.recording = false;
        let number = state.generation;
        state.generation += 1;
        self.bind()?;
        let mut graph = std::ptr::null_mut();
        // SAFETY: the stream records; a place for a handle.
        let code = unsafe { (self.functions.capture_end)(self.stream.handle, &mut graph) };
        self.check_lost("cuStreamEndCapture", code)?;
        let started = match &mut state.step {
            Some(step) => self.run(step, graph),
            None => Ok(()),
        };
        // SAFETY: a graph that nobody else has; what was made of it is independent.
        let _ = unsafe { (self.functions.graph_destroy)(graph) };
        started?;
        let fence = state.fences[(number % FENCES) as usize];
        // SAFETY: an event of this context, the stream, which does not record.
        let code = unsafe { (self.functions.event_record)(fence, self.stream.handle) };
        self.check_lost("cuEventRecord", code)
    }

    /// Runs a graph, by way of an earlier one that differs in its arguments only, if there is one.
    fn run(&self, step: &mut Step, graph: Handle) -> Result<()> {
        let functions = self.functions;
        let mut nodes = 0;
        // SAFETY: a graph; a place for a size (no nodes are asked for).
        let code = unsafe { (functions.graph_nodes)(graph, std::ptr::null_mut(), &mut nodes) };
        self.check_lost("cuGraphGetNodes", code)?;
        if nodes == 0 {
            return Ok(());
        }
        let known = step.executables.iter().position(|executable| executable.nodes == nodes);
        // SAFETY: both are graphs; a place for the answer. What is running already keeps its arguments.
        let updated = known.is_some_and(|at| unsafe {
            let mut result = UpdateResult::NONE;
            (functions.graph_update)(step.executables[at].handle, graph, &mut result) == 0
        });
        let at = match known {
            Some(at) if updated => at,
            _ => {
                let mut handle = std::ptr::null_mut();
                // SAFETY: a place for a handle, a graph.
                let code = unsafe { (functions.graph_instantiate)(&mut handle, graph, 0) };
                self.check_lost("cuGraphInstantiate", code)?;
                step.instantiated += 1;
                let full = step.executables.len() == MOST_EXECUTABLES;
                if let Some(at) = known.or(full.then_some(0)) {
                    self.destroy(step.executables.remove(at));
                }
                step.executables.push(Executable { handle, nodes });
                step.executables.len() - 1
            }
        };
        step.launched += 1;
        // SAFETY: a graph of this context, the stream.
        let code =
            unsafe { (functions.graph_launch)(step.executables[at].handle, self.stream.handle) };
        self.check_lost("cuGraphLaunch", code)
    }

    /// A graph that runs still is freed when it is done.
    pub(super) fn destroy(&self, executable: Executable) {
        if self.bind().is_ok() {
            // SAFETY: nobody else has it.
            let _ = unsafe { (self.functions.executable_destroy)(executable.handle) };
        }
    }
}
