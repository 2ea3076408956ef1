//! Steps whose launches are recorded and started together.

use super::driver::Gpu;
use super::stream::Executable;
use crate::error::Result;

/// Runs steps as graphs: between [`begin`](Self::begin) and the end of what it returns, the work given to the device (by any thread)
/// is recorded with its own arguments and started together at the end. Whatever needs a result before, such as a download, starts
/// what was recorded until then. A step with the same operations as an earlier one updates that one's graph with its arguments instead
/// of making a new one.
pub struct Graph {
    gpu: &'static Gpu,
    executables: Vec<Executable>,
    launched: u64,
    instantiated: u64,
}

// SAFETY: the driver's handles may be used from any thread.
unsafe impl Send for Graph {}
// SAFETY: as above; shared, it is only looked at.
unsafe impl Sync for Graph {}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Graph({:?}, {} kept)", self.gpu, self.executables.len())
    }
}

/// A step that is being recorded.
#[derive(Debug)]
pub struct Recording<'a> {
    graph: &'a mut Graph,
    /// False inside of another step, or once it has ended.
    open: bool,
}

impl Graph {
    /// Nothing recorded yet.
    pub fn new(gpu: &'static Gpu) -> Graph {
        Graph { gpu, executables: Vec::new(), launched: 0, instantiated: 0 }
    }

    /// Records until the end of the result. Inside of another recording of the device nothing begins: the work belongs to that.
    ///
    /// # Errors
    /// [`Cuda`](crate::Error::Cuda): a fault of earlier work.
    pub fn begin(&mut self) -> Result<Recording<'_>> {
        let open = self.gpu.begin_step(&mut self.executables)?;
        Ok(Recording { graph: self, open })
    }

    /// How many graphs were started: one a step, and one more for each time a step waited for the device.
    pub fn launched(&self) -> u64 {
        self.launched
    }

    /// How many of them were new, and not an earlier one with other arguments.
    pub fn instantiated(&self) -> u64 {
        self.instantiated
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        for executable in self.executables.drain(..) {
            self.gpu.destroy(executable);
        }
    }
}

impl Recording<'_> {
    /// Starts what was recorded. Dropping it does so too, without telling of failure: the next call then does.
    ///
    /// # Errors
    /// [`Cuda`](crate::Error::Cuda): a fault of earlier work, or the driver's refusal. As the recorded work is lost then, the device is
    /// not used any more: every later call fails likewise.
    pub fn end(mut self) -> Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        let (step, started) = self.graph.gpu.end_step();
        self.graph.executables = step.executables;
        self.graph.launched += step.launched;
        self.graph.instantiated += step.instantiated;
        started
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}
