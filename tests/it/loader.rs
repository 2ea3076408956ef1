//! The loader: one order for any number of workers, every sample once, failures as errors, no hang.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use ferrotape::ErrorKind;
use ferrotape::nn::data::{
    BadSample, Collated, Dataset, Sampler, Samples, SubsetRandomSampler, TensorDataset,
    WeightedRandomSampler,
};
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
            let error = error.unwrap();
            assert!(error.contains(&format!("sample {place} is broken")), "{error}");
            let named = format!("loader: sample {place} (batch {} of epoch 0): ", place / 4);
            assert!(error.starts_with(&named), "{error}");
        }
        for workers in [0, 1, 2, 3] {
            let (good, error) =
                until_error(Numbers { panics: Some(place), ..Numbers::new(40) }, workers);
            assert_eq!(good, place / 4, "{workers} workers, sample {place}");
            let error = error.unwrap();
            let named = format!("loader: sample {place} (batch {} of epoch 0) panicked", place / 4);
            assert_eq!(error, named + ": a broken sample, on purpose");
        }
    }
}

#[test]
fn an_epoch_goes_on_after_an_error_or_a_panic() {
    for (workers, panics) in [(0, false), (1, false), (3, false), (0, true), (1, true), (3, true)] {
        let place = |it: bool| it.then_some(9);
        let data = Numbers { errs: place(!panics), panics: place(panics), ..Numbers::new(40) };
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

/// Fails where a batch holds two samples, but neither of them alone; and when memory is short.
struct Together;

impl Dataset for Together {
    type Batch = ();

    fn len(&self) -> usize {
        8
    }

    fn batch(&self, indices: &[usize]) -> Result<()> {
        match indices {
            [0, 1] => Err(ferrotape::Error::new(ErrorKind::Module("lengths differ".into()))),
            [4, 5] => {
                let memory = ErrorKind::OutOfMemory { requested: 1, live: 2, limit: 2 };
                Err(ferrotape::Error::new(memory))
            }
            _ => Ok(()),
        }
    }
}

#[test]
fn the_error_is_a_value_that_names_the_sample() {
    let source = |error: &ferrotape::Error| BadSample::of(error).map(|bad| bad.sample);
    for workers in [0, 2] {
        let data = Numbers { errs: Some(5), panics: Some(8), ..Numbers::new(12) };
        let loader = DataLoader::new(data, 4).unwrap().workers(workers);
        let found: Vec<_> = loader.epoch(7).unwrap().map(|batch| batch.err()).collect();
        let found: Vec<_> = found.iter().map(|error| error.as_ref().and_then(source)).collect();
        assert_eq!(found, [None, Some(Some(5)), Some(Some(8))]);

        let loader = DataLoader::new(Together, 2).unwrap().workers(workers);
        let mut batches = loader.epoch(0).unwrap();
        let error = batches.next().unwrap().unwrap_err();
        assert_eq!(source(&error), Some(None));
        let said = error.to_string();
        assert!(said.contains("batch 0 of epoch 0, each sample alone is good: lengths"), "{said}");
        batches.next().unwrap().unwrap();
        let error = batches.next().unwrap().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::OutOfMemory { .. }), "{error}");
        batches.next().unwrap().unwrap();
    }
}

#[test]
fn workers_wait_when_the_ring_is_full() {
    for (workers, prefetch) in [(1, 0), (1, 3), (2, 1), (3, 2)] {
        let data = Numbers::new(10_000);
        let made = data.made.clone();
        let loader = DataLoader::new(data, 1).unwrap().workers(workers).prefetch(prefetch);
        // What the first epoch makes to hold memory is not of interest.
        drop(loader.epoch(0).unwrap());
        let before = made.load(Ordering::Relaxed);
        let mut epoch = loader.epoch(0).unwrap();
        for taken in 1..50 {
            epoch.next().unwrap().unwrap();
            // In the rings, and one in the hands of each worker.
            let ahead = made.load(Ordering::Relaxed) - before - taken;
            assert!(ahead <= workers * (prefetch + 1), "{ahead} ahead");
        }
    }
}

/// Samples that remember which thread had them.
struct Letters(Mutex<BTreeSet<String>>, Condvar);

impl Samples for &'static Letters {
    type Sample = char;

    fn len(&self) -> usize {
        26
    }

    fn sample(&self, index: usize) -> Result<char> {
        let name = std::thread::current().name().unwrap_or_default().to_string();
        let mut threads = self.0.lock().unwrap();
        threads.insert(name.clone());
        self.1.notify_all();
        // The workers really work at once: neither goes on before the other has begun.
        while name.starts_with("loader-") && !threads.contains("loader-1") {
            threads = self.1.wait(threads).unwrap();
        }
        char::from_u32('a' as u32 + index as u32)
            .ok_or_else(|| ferrotape::Error::new(ErrorKind::Module("no letter".into())))
    }
}

#[test]
fn samples_are_collated_by_a_function() {
    static LETTERS: Letters = Letters(Mutex::new(BTreeSet::new()), Condvar::new());
    let letters = &LETTERS;
    let words = Collated::new(letters, |samples: Vec<char>| match samples.contains(&'q') {
        true => panic!("no q"),
        false => Ok(samples.into_iter().collect::<String>()),
    });
    let loader = DataLoader::new(words, 5).unwrap().workers(2);
    let words: Vec<_> =
        loader.epoch(0).unwrap().map(|word| word.map_err(|e| e.to_string())).collect();
    let bad = "loader: sample 16 (batch 3 of epoch 0) panicked: no q".to_string();
    let expected = ["abcde", "fghij", "klmno"].map(|word| Ok(word.to_string()));
    assert_eq!(words[..3], expected);
    assert_eq!(words[3], Err(bad));
    assert_eq!(words[4..], ["uvwxy", "z"].map(|word| Ok(word.to_string())));
    assert!(letters.0.lock().unwrap().contains("loader-1"));
}

#[test]
fn samplers_choose_and_order() {
    let subset = vec![3, 1, 41, 59, 26, 5];
    let loader = |workers| {
        let loader = DataLoader::new(Numbers::new(60), 4).unwrap().workers(workers);
        loader.sampler(SubsetRandomSampler::new(subset.clone(), 9))
    };
    let taken = |loader: &DataLoader<Numbers>, epoch| -> Vec<usize> {
        assert_eq!(loader.epoch(epoch).unwrap().len(), loader.len());
        loader.epoch(epoch).unwrap().flat_map(|batch| batch.unwrap()).collect()
    };
    let first = taken(&loader(0), 0);
    assert_eq!((first.len(), loader(1).len()), (6, 2));
    assert_ne!(first, taken(&loader(0), 1));
    for workers in [1, 2] {
        assert_eq!(taken(&loader(workers), 0), first);
    }
    let mut sorted = first;
    sorted.sort();
    assert_eq!(sorted, [1, 3, 5, 26, 41, 59]);

    let weighted = WeightedRandomSampler::new(&[1.0, 0.0, 2.0, 5.0, 0.0], 8000, 1).unwrap();
    let order = weighted.order(5, 3).unwrap();
    let times = |sample| order.iter().filter(|&&other| other == sample).count();
    assert_eq!((times(1), times(4)), (0, 0));
    for (sample, share) in [(0, 1000), (2, 2000), (3, 5000)] {
        assert!(times(sample).abs_diff(share) < 150, "{sample}: {}", times(sample));
    }
    let draws = DataLoader::new(Numbers::new(5), 3).unwrap().sampler(weighted.clone());
    assert_eq!((draws.len(), taken(&draws, 3)), (2667, order));

    let refused = |weights: &[f64], what: &str| {
        let said = WeightedRandomSampler::new(weights, 1, 0).unwrap_err().to_string();
        assert!(said.contains(what), "{said}");
    };
    refused(&[1.0, -1.0], "weight -1 of sample 1");
    refused(&[f64::NAN], "weight NaN of sample 0");
    refused(&[0.0, 0.0], "2 weights sum to 0");
    refused(&[], "0 weights sum to 0");
    refused(&[f64::MAX, f64::MAX], "sum to inf");
    let epoch = |loader: DataLoader<Numbers>| loader.epoch(0).err().unwrap().to_string();
    let loader = || DataLoader::new(Numbers::new(4), 2).unwrap();
    assert!(epoch(loader().sampler(weighted)).contains("5 weights for 4 samples"));
    let outside = SubsetRandomSampler::new(vec![2, 4], 0);
    assert!(epoch(loader().sampler(outside)).contains("the sampler gives sample 4 of 4"));

    /// Says another number than it gives.
    struct Wrong;
    impl Sampler for Wrong {
        fn order(&self, _: usize, _: u64) -> Result<Vec<usize>> {
            Ok(vec![1])
        }
    }
    assert!(epoch(loader().sampler(Wrong)).contains("gives 1 samples, 4 announced"));
}
