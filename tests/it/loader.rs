//! The loader: one order for any number of workers, every sample once, failures as errors, no hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ferrotape::ErrorKind;
use ferrotape::nn::data::{Dataset, TensorDataset};
use ferrotape::prelude::*;

/// Says its sample numbers; fails or panics at some.
struct Numbers {
    len: usize,
    panics: Option<usize>,
    errs: Option<usize>,
    made: Arc<AtomicUsize>,
}

impl Numbers {
    fn new(len: usize) -> Numbers {
        Numbers { len, panics: None, errs: None, made: Arc::default() }
    }
}

impl Dataset for Numbers {
    type Batch = Vec<usize>;

    fn len(&self) -> usize {
        self.len
    }

    fn batch(&self, indices: &[usize]) -> Result<Vec<usize>> {
        self.made.fetch_add(1, Ordering::Relaxed);
        if self.panics.is_some_and(|i| indices.contains(&i)) {
            panic!("a broken sample, on purpose");
        }
        if let Some(i) = self.errs.filter(|i| indices.contains(i)) {
            return Err(ferrotape::Error::new(ErrorKind::Module(format!("sample {i} is broken"))));
        }
        Ok(indices.to_vec())
    }
}

fn order(
    data: usize,
    batch: usize,
    workers: usize,
    seed: Option<u64>,
    epoch: u64,
) -> Vec<Vec<usize>> {
    let mut loader = DataLoader::new(Numbers::new(data), batch).unwrap().workers(workers);
    if let Some(seed) = seed {
        loader = loader.shuffle(seed);
    }
    let epoch = loader.epoch(epoch).unwrap();
    assert_eq!(epoch.len(), loader.len());
    epoch.map(|batch| batch.unwrap()).collect()
}

#[test]
fn the_order_is_the_seeds_for_any_number_of_workers() {
    for (data, batch) in [(103, 10), (7, 3), (5, 5), (2, 9), (0, 4)] {
        let alone = order(data, batch, 0, Some(3), 1);
        for workers in [1, 2, 3, 8] {
            assert_eq!(order(data, batch, workers, Some(3), 1), alone, "{workers} workers");
        }
        let mut all: Vec<usize> = alone.concat();
        all.sort();
        assert_eq!(all, (0..data).collect::<Vec<_>>(), "every sample once");
        let sizes: Vec<usize> = alone.iter().map(Vec::len).collect();
        assert!(sizes.iter().rev().skip(1).all(|&size| size == batch), "{sizes:?}");
        assert_eq!(order(data, batch, 2, None, 1).concat(), (0..data).collect::<Vec<_>>());
    }
    assert_ne!(order(103, 10, 1, Some(3), 1), order(103, 10, 1, Some(3), 2), "another epoch");
    assert_ne!(order(103, 10, 1, Some(3), 1), order(103, 10, 1, Some(4), 1), "another seed");
}

#[test]
fn the_last_batch_may_be_left_out() {
    for workers in [0, 1, 2, 3] {
        let loader = |drop| {
            let loader = DataLoader::new(Numbers::new(23), 5).unwrap().workers(workers);
            loader.shuffle(1).drop_last(drop)
        };
        let sizes = |drop| {
            let epoch = loader(drop).epoch(0).unwrap();
            epoch.map(|batch| batch.unwrap().len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(false), [5, 5, 5, 5, 3]);
        assert_eq!(sizes(true), [5, 5, 5, 5]);
        assert_eq!((loader(false).len(), loader(true).len()), (5, 4));
    }
    assert!(DataLoader::new(Numbers::new(3), 0).is_err());
    assert!(DataLoader::new(Numbers::new(3), 4).unwrap().drop_last(true).is_empty());
}

#[test]
fn tensors_come_with_their_own_targets() {
    let x = Tensor::arange(0., 1., 50, DType::F32).unwrap().reshape([25, 2]).unwrap();
    let y = Tensor::arange(0., 1., 25, DType::I64).unwrap();
    assert!(TensorDataset::new(x.clone(), y.narrow(0, 0, 24).unwrap()).is_err());
    let data = TensorDataset::new(x, y).unwrap();
    for workers in [0, 2] {
        let loader = DataLoader::new(data.clone(), 4).unwrap().shuffle(2).workers(workers);
        let mut seen = Vec::new();
        for batch in loader.epoch(0).unwrap() {
            let (x, y) = batch.unwrap();
            let y = y.to_vec::<i64>().unwrap();
            let expected: Vec<f32> =
                y.iter().flat_map(|&i| [2 * i, 2 * i + 1]).map(|v| v as f32).collect();
            assert_eq!(x.to_vec::<f32>().unwrap(), expected);
            seen.extend(y);
        }
        assert_eq!(seen.len(), 25);
        assert_ne!(seen, (0..25).collect::<Vec<_>>());
    }
}

/// What an epoch gives: its batches as far as they are good, and the first error.
fn until_error(data: Numbers, workers: usize) -> (usize, Option<String>) {
    let loader = DataLoader::new(data, 4).unwrap().workers(workers);
    let mut good = 0;
    let epoch = match loader.epoch(0) {
        Ok(epoch) => epoch,
        Err(error) => return (0, Some(error.to_string())),
    };
    let mut error = None;
    for batch in epoch {
        match batch {
            Ok(_) => good += 1,
            Err(found) => {
                error = Some(found.to_string());
                break;
            }
        }
    }
    (good, error)
}

#[test]
fn a_worker_that_errs_or_panics_gives_an_error() {
    for place in [0, 1, 13, 39] {
        for workers in [0, 1, 2, 3] {
            let (good, error) =
                until_error(Numbers { errs: Some(place), ..Numbers::new(40) }, workers);
            assert_eq!(good, place / 4, "{workers} workers, sample {place}");
            assert!(error.unwrap().contains(&format!("sample {place} is broken")));
        }
        for workers in [1, 2, 3] {
            let (good, error) =
                until_error(Numbers { panics: Some(place), ..Numbers::new(40) }, workers);
            assert_eq!(good, place / 4, "{workers} workers, sample {place}");
            let error = error.unwrap();
            assert!(error.contains("panicked"), "{error}");
        }
    }
}

#[test]
fn an_epoch_goes_on_after_an_error() {
    for workers in [0, 1, 3] {
        let data = Numbers { errs: Some(9), ..Numbers::new(40) };
        let loader = DataLoader::new(data, 4).unwrap().workers(workers);
        let good = loader.epoch(0).unwrap().map(|batch| batch.is_ok()).collect::<Vec<_>>();
        assert_eq!(good.len(), 10);
        assert_eq!(good.iter().position(|ok| !ok), Some(2), "{good:?}");
        assert_eq!(good.iter().filter(|ok| **ok).count(), 9);
    }
}

#[test]
fn an_epoch_dropped_early_ends_its_workers() {
    for workers in [0, 1, 2, 3] {
        for taken in [0, 1, 3] {
            let data = Numbers::new(10_000);
            let made = data.made.clone();
            let loader = DataLoader::new(data, 2).unwrap().workers(workers).prefetch(2);
            let mut epoch = loader.epoch(0).unwrap();
            for batch in epoch.by_ref().take(taken) {
                batch.unwrap();
            }
            drop(epoch);
            // The workers have ended: nothing is made any more, and not much was.
            let count = made.load(Ordering::Relaxed);
            assert!(count < 100, "{count} batches made, {taken} taken");
            std::thread::yield_now();
            assert_eq!(made.load(Ordering::Relaxed), count);
            // The loader itself is good for another epoch.
            assert_eq!(loader.epoch(1).unwrap().count(), 5_000);
        }
    }
}
