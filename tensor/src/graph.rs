//! Steps whose work on a GPU is recorded and started together.

use std::panic::Location;

use ferrotape_kernels::cuda::Graph;

use crate::device::Device;
use crate::error::{Error, Result};

/// Runs the steps of a loop as CUDA graphs: see [`run`](Self::run). Made by [`Device::graph`].
///
/// On a GPU, a step of many small operations takes the time that the host needs to start them one by one. Here they are recorded and
/// started at once; a later step with the same operations takes over the earlier one's graph and changes its arguments.
///
/// ```
/// # use ferrotape_tensor::{Device, DType, Tensor, Result};
/// # fn main() -> Result<()> {
/// let device = Device::best();
/// let mut x = Tensor::zeros([3], (DType::F32, device))?;
/// let mut graph = device.graph();
/// for i in 1..=10 {
///     x = graph.run(|| x.add(f64::from(i)))?;
/// }
/// assert_eq!(x.to_vec::<f32>()?, [55., 55., 55.]);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct StepGraph {
    /// `None` on the processor.
    graph: Option<Graph>,
}

impl StepGraph {
    pub(crate) fn new(device: Device) -> StepGraph {
        StepGraph { graph: device.opened().map(Graph::new) }
    }

    /// Runs `step`; what it gives the device is recorded, and started when it ends. The results are those of `step()` alone, bit for
    /// bit: each run is recorded anew, with its own learning rate, random numbers and memory, so nothing need be kept in place from one
    /// to the next, and the steps may differ.
    ///
    /// Where the step waits for the device (it reads a value, say `loss.to_f64()`, or it needs more memory), what was recorded until
    /// then is started, and recording goes on afterwards: right, but with less to gain. What other threads give the device meanwhile is
    /// recorded, too. A step inside of another is part of that one. On the processor `step` simply runs.
    ///
    /// # Errors
    /// The step's own: what it had given the device until then is done, as without a graph (likewise if it panics). A fault of the
    /// device; if the driver then refuses the recorded work, that is lost, and every later use of the device fails with the same words.
    #[track_caller]
    pub fn run<T>(&mut self, step: impl FnOnce() -> Result<T>) -> Result<T> {
        let here = Location::caller();
        let Some(graph) = &mut self.graph else { return step() };
        let told = |error| Error::from_kernel("graph", error).at(here);
        let recording = graph.begin().map_err(told)?;
        let value = step();
        let started = recording.end();
        let value = value?;
        started.map_err(told)?;
        Ok(value)
    }

    /// How many graphs were started so far: one a step, and one more for each time that a step waited in its middle; 0 on the processor.
    pub fn launched(&self) -> u64 {
        self.graph.as_ref().map_or(0, Graph::launched)
    }

    /// How many of them were made new, as no earlier one had the same operations.
    pub fn instantiated(&self) -> u64 {
        self.graph.as_ref().map_or(0, Graph::instantiated)
    }
}
