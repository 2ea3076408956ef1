//! A prefetching loader: worker threads make batches ahead; their order is that of the seed, for any number of workers.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use ferrotape_tensor::{Device, Error, ErrorKind, Meta, Observer, Op, Result, Tensor, observe};

use super::dataset::Dataset;
use super::position::{Plan, Position};
use super::sample::make;
use super::sampler::{RandomSampler, Sampler, SequentialSampler};

/// Batches of a data set, epoch by epoch.
///
/// Each worker thread makes batches ahead and hands them over through a ring of [`prefetch`](Self::prefetch) places; when it is full
/// the worker waits. Neither the order nor the batches depend on the number of workers. A sample that fails or panics is an
/// [`BadSample`] in the place of its batch.
///
/// ```
/// use ferrotape_nn::data::{DataLoader, TensorDataset};
/// use ferrotape_tensor::{DType, Tensor};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let data = TensorDataset::new(Tensor::arange(0., 1., 5, DType::F32)?, Tensor::zeros([5], DType::I64)?)?;
/// let loader = DataLoader::new(data, 2)?.shuffle(7);
/// let sizes = loader.epoch(0)?.map(|batch| Ok(batch?.0.len())).collect::<ferrotape_tensor::Result<Vec<_>>>()?;
/// assert_eq!(sizes, [2, 2, 1]);
/// # Ok(()) }
/// ```
///
/// [`BadSample`]: super::BadSample
pub struct DataLoader<D: Dataset> {
    data: Arc<D>,
    batch_size: usize,
    sampler: Box<dyn Sampler>,
    workers: usize,
    prefetch: usize,
    drop_last: bool,
    /// Whether memory for the batches that exist at once has been seen to.
    reserved: AtomicBool,
}

impl<D: Dataset> DataLoader<D> {
    /// Batches of this size in the order of the data, the last one possibly smaller, made by one thread, two batches ahead.
    ///
    /// # Errors
    /// A batch size of 0.
    pub fn new(data: D, batch_size: usize) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::new(ErrorKind::Module("loader: batch size 0".into())));
        }
        let data = Arc::new(data);
        Ok(DataLoader {
            data,
            batch_size,
            sampler: Box::new(SequentialSampler),
            workers: 1,
            prefetch: 2,
            drop_last: false,
            reserved: AtomicBool::new(false),
        })
    }

    /// Every epoch in another random order, a function of the seed and the epoch's number alone.
    pub fn shuffle(self, seed: u64) -> Self {
        self.sampler(RandomSampler::new(seed))
    }

    /// The order of the samples, or which of them there are; the last one given counts.
    pub fn sampler(mut self, sampler: impl Sampler) -> Self {
        self.sampler = Box::new(sampler);
        self
    }

    /// Number of threads that make batches; 0: the caller makes them.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Batches that each worker makes ahead.
    pub fn prefetch(mut self, prefetch: usize) -> Self {
        self.prefetch = prefetch;
        self
    }

    /// Leaves out a last batch that is not full.
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.drop_last = drop_last;
        self
    }

    /// The data set.
    pub fn data(&self) -> &D {
        &self.data
    }

    /// Number of batches in an epoch.
    pub fn len(&self) -> usize {
        let samples = self.sampler.count(self.data.len());
        match self.drop_last {
            true => samples / self.batch_size,
            false => samples.div_ceil(self.batch_size),
        }
    }

    /// True without a batch.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batches of epoch `epoch`.
    ///
    /// # Errors
    /// Memory over the limit; no thread to be had; a sampler that fails or names samples that there are not.
    pub fn epoch(&self, epoch: u64) -> Result<Epoch<D>> {
        self.resume(&Position::new(epoch, 0))
    }

    /// The rest of an epoch, from a [`position`](Epoch::position) in it.
    ///
    /// # Errors
    /// As [`epoch`](Self::epoch); a position that was saved with other data, another batch size or another order, or that lies behind
    /// the last batch.
    pub fn resume(&self, at: &Position) -> Result<Epoch<D>> {
        let order = self.order(at.epoch())?;
        let batches = self.len();
        let own = Plan::new(self.data.len(), self.batch_size, self.drop_last, &order);
        let first = at.check(&own, batches)?;
        let mut plan = Epoch {
            data: self.data.clone(),
            order,
            batch_size: self.batch_size,
            batches,
            first,
            next: first,
            position: Position::planned(at.epoch(), own),
            channels: Vec::new(),
            threads: Vec::new(),
            reserve: Vec::new(),
            temporaries: Vec::new(),
        };
        let workers = self.workers.min(batches - first);
        if workers > 0 && !self.reserved.load(Relaxed) {
            (plan.reserve, plan.temporaries) = self.reserve(&plan, workers);
            self.reserved.store(true, Relaxed);
        }
        Device::cpu().share_cache();
        for worker in 0..workers {
            plan.spawn(worker, workers, self.prefetch)?;
        }
        Ok(plan)
    }

    /// The samples of an epoch in order.
    fn order(&self, epoch: u64) -> Result<Arc<[usize]>> {
        let (samples, count) = (self.data.len(), self.sampler.count(self.data.len()));
        let order = self.sampler.order(samples, epoch)?;
        let wrong = match order.iter().find(|&&sample| sample >= samples) {
            Some(sample) => format!("sample {sample} of {samples}"),
            None if order.len() != count => format!("{} samples, {count} announced", order.len()),
            None => return Ok(order.into()),
        };
        let message = format!("loader: the sampler gives {wrong}");
        Err(Error::new(ErrorKind::Module(message)))
    }

    /// As many batches as workers, queues and the caller ever hold at once, and a last one, with what each worker needs beside to
    /// make one. Kept through the first epoch beside those in use, so that the memory pool has room for them all and no later
    /// epoch, however its threads race, asks the system for more.
    fn reserve(&self, plan: &Epoch<D>, workers: usize) -> (Vec<D::Batch>, Vec<Tensor>) {
        let most = (workers * (self.prefetch + 2) + 1).min(plan.batches);
        let batches = (0..most).map(|_| 0).chain(plan.batches.checked_sub(1));
        let held = Rc::new(Hold::default());
        // A batch that fails or panics here does so again in a worker, which says so in its turn.
        let make = || {
            let made = batches.enumerate().map_while(|(i, batch)| match i <= workers {
                true => observe(held.clone(), || plan.make(batch)).ok(),
                false => plan.make(batch).ok(),
            });
            made.collect()
        };
        let made = catch_unwind(AssertUnwindSafe(make)).unwrap_or_default();
        (made, held.0.take())
    }
}

/// Keeps every tensor that operations read or make.
#[derive(Default)]
struct Hold(RefCell<Vec<Tensor>>);

impl Observer for Hold {
    fn begin(&self, _: &Op, inputs: &[&Tensor]) -> Result<()> {
        self.0.borrow_mut().extend(inputs.iter().map(|&input| input.clone()));
        Ok(())
    }

    fn end(&self, _: &Op, _: &[Meta], outcome: Result<&[Tensor], &Error>) -> Result<()> {
        self.0.borrow_mut().extend(outcome.into_iter().flatten().cloned());
        Ok(())
    }
}

/// The batches of one epoch, in order. Dropping it early ends its threads.
pub struct Epoch<D: Dataset> {
    data: Arc<D>,
    order: Arc<[usize]>,
    batch_size: usize,
    batches: usize,
    /// The batch that this began with.
    first: usize,
    next: usize,
    position: Position,
    channels: Vec<Receiver<Result<D::Batch>>>,
    threads: Vec<JoinHandle<()>>,
    /// Batches that only hold memory.
    reserve: Vec<D::Batch>,
    temporaries: Vec<Tensor>,
}

impl<D: Dataset> Epoch<D> {
    /// The place after the batches that were taken so far, for [`DataLoader::resume`]. What workers have made ahead is not counted.
    pub fn position(&self) -> Position {
        self.position.at(self.next)
    }

    fn make(&self, batch: usize) -> Result<D::Batch> {
        let indices = slice(&self.order, self.batch_size, batch);
        make(&*self.data, self.position.epoch(), batch, indices)
    }

    /// A thread that makes every `workers`th batch.
    fn spawn(&mut self, worker: usize, workers: usize, prefetch: usize) -> Result<()> {
        let (sender, receiver) = sync_channel(prefetch);
        let (data, order) = (self.data.clone(), self.order.clone());
        let (batch_size, epoch) = (self.batch_size, self.position.epoch());
        let own = (self.first + worker..self.batches).step_by(workers);
        let work = move || {
            for batch in own {
                let indices = slice(&order, batch_size, batch);
                let made = ferrotape_tensor::serial(|| make(&*data, epoch, batch, indices));
                if sender.send(made).is_err() {
                    return; // The caller has dropped the epoch.
                }
            }
        };
        let thread = std::thread::Builder::new().name(format!("loader-{worker}")).spawn(work);
        self.threads.push(thread.map_err(Error::other)?);
        self.channels.push(receiver);
        Ok(())
    }
}

fn slice(order: &[usize], batch_size: usize, batch: usize) -> &[usize] {
    let start = batch * batch_size;
    &order[start..order.len().min(start + batch_size)]
}

impl<D: Dataset> Iterator for Epoch<D> {
    type Item = Result<D::Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.batches {
            return None;
        }
        let batch = self.next;
        self.next += 1;
        if self.channels.is_empty() {
            return Some(self.make(batch));
        }
        // The caller frees what the workers allocate.
        Device::cpu().share_cache();
        let received = self.channels[(batch - self.first) % self.channels.len()].recv();
        Some(received.unwrap_or_else(|_| {
            // Panics of samples come as errors: this one came from dropping something.
            let message = format!("loader: the worker that makes batch {batch} has ended");
            self.next = self.batches;
            Err(Error::new(ErrorKind::Module(message)))
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.batches - self.next, Some(self.batches - self.next))
    }
}

impl<D: Dataset> ExactSizeIterator for Epoch<D> {}

impl<D: Dataset> Drop for Epoch<D> {
    fn drop(&mut self) {
        self.channels.clear();
        self.reserve.clear();
        self.temporaries.clear();
        for thread in self.threads.drain(..) {
            // That it ended too early was said when its batch was asked for.
            let _ = thread.join();
        }
    }
}
