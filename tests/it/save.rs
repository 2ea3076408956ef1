//! Training checkpoints: what is put in comes back, a resumed run is the uninterrupted one, damage is seen, misfits are named.

mod damage;
mod faults;
mod litter;
mod misfits;
mod run;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ferrotape::io::{load_safetensors, save_safetensors};
use ferrotape::nn::data::{Position, SubsetRandomSampler, TensorDataset};
use ferrotape::nn::save::{Checkpoint, Checkpoints};
use ferrotape::nn::{ReduceLROnPlateau, Scheduler, StepLR, state_dict};
use ferrotape::prelude::*;
use ferrotape::{bf16, f16};

use crate::cnn::bits;

/// A folder of this test's own, gone at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("ferrotape-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }
    pub(crate) fn names(&self) -> Vec<String> {
        names(&self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn wrong<T>(result: Result<T>) -> String {
    result.err().expect("an error").to_string()
}

/// One of every kind.
fn everything() -> Checkpoint {
    let mut rng = Generator::new(3);
    let net = run::Net::new(&mut rng);
    let mut optimizer = Adam::new(0.1);
    let scheduler = Scheduler::new(StepLR::new(2, 0.5), &mut optimizer).unwrap();
    let mut checkpoint = Checkpoint::new();
    checkpoint.put_model("net", &net).unwrap();
    checkpoint.put_optimizer("optimizer", &optimizer).unwrap();
    checkpoint.put_scheduler("scheduler", &scheduler).unwrap();
    checkpoint.put_plateau("plateau", &ReduceLROnPlateau::new()).unwrap();
    checkpoint.put_generator("rng", &rng).unwrap();
    checkpoint.put_position("loader", &Position::new(3, 4)).unwrap();
    checkpoint.put_count("best epoch", u64::MAX).unwrap();
    checkpoint.put_number("best loss", f64::NAN).unwrap();
    checkpoint.put_text("note", "\u{fc} \"quoted\" \n\0").unwrap();
    let strided = Tensor::arange(0., 0.5, 6, DType::F32).reshape([2, 3]).t().unwrap();
    let tensors: [(&str, Tensor); 11] = [
        ("bool", Tensor::from([true, false, true])),
        ("u8", Tensor::from([0u8, 255, 1])),
        ("i8", Tensor::from([-128i8, 127])),
        ("i32", Tensor::from([i32::MIN, i32::MAX])),
        ("i64", Tensor::from([i64::MIN, -1, i64::MAX])),
        ("f16", Tensor::from([65504.0, f64::NEG_INFINITY].map(f16::from_f64))),
        ("bf16", Tensor::from([1e38, -0.0, 0.1].map(bf16::from_f64))),
        ("a \"name\" \\ \u{1}/with/\u{e4}", Tensor::from([[1.5f32, f32::NAN]])),
        ("f64", Tensor::from(1e-300f64)),
        ("empty", Tensor::zeros([2, 0, 3], DType::F64).unwrap()),
        ("strided", strided),
    ];
    let tensors = tensors.map(|(name, tensor)| (name.to_string(), tensor));
    checkpoint.put_tensors("tensors", tensors.into()).unwrap();
    checkpoint
}

fn same(a: &Checkpoint, b: &Checkpoint) {
    assert!(a.parts().eq(b.parts()));
    for part in a.parts() {
        let (a, b) = (a.tensors(part).unwrap(), b.tensors(part).unwrap());
        assert!(a.keys().eq(b.keys()), "{part}");
        for (name, x) in a {
            assert_eq!(x.meta(), b[name].meta(), "{part}/{name}");
            assert_eq!(bits(x), bits(&b[name]), "{part}/{name}");
        }
    }
}

#[test]
fn what_is_put_in_comes_back() {
    let folder = Folder::new("save-back");
    let path = folder.0.join("a.safetensors");
    let written = everything();
    written.write(&path).unwrap();
    let read = Checkpoint::read(&path).unwrap();
    same(&read, &written);
    assert_eq!(folder.names(), ["a.safetensors"], "no litter");
    assert_eq!(read.count("best epoch").unwrap(), u64::MAX);
    assert!(read.number("best loss").unwrap().is_nan());
    assert_eq!(read.text("note").unwrap(), "\u{fc} \"quoted\" \n\0");
    assert_eq!(read.position("loader").unwrap(), Position::new(3, 4));
    let mut rng = Generator::new(3);
    run::Net::new(&mut rng);
    assert_eq!(read.generator("rng").unwrap(), rng);
    // Any reader of safetensors opens it.
    let plain = load_safetensors(&path).unwrap();
    assert_eq!(plain["checkpoint/version"].item::<i64>().unwrap(), 1);
    assert!(plain.contains_key("net/first.weight"));
    // The same state gives the same bytes.
    let again = folder.0.join("b.safetensors");
    read.write(&again).unwrap();
    assert!(fs::read(path).unwrap() == fs::read(again).unwrap());
    let empty = folder.0.join("empty");
    Checkpoint::new().write(&empty).unwrap();
    assert_eq!(Checkpoint::read(empty).unwrap().parts().count(), 0);
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one() {
    let whole = run::train(None, 1, &mut |_| true).unwrap();
    for workers in [0, 1, 2] {
        assert_eq!(run::train(None, workers, &mut |_| true), Some(whole), "{workers} workers");
        let folder = Folder::new(&format!("save-resume-{workers}"));
        for stop in 1..run::STEPS {
            // The run so far, from wherever it was saved last: it ends after this step.
            let stopped = run::train(Some(&folder.0), workers, &mut |step| step < stop);
            assert_eq!(stopped, None, "stop at {stop}");
        }
        assert_eq!(run::train(Some(&folder.0), 3 - workers, &mut |_| true), Some(whole));
        // Once more from the last checkpoint.
        assert_eq!(run::train(Some(&folder.0), workers, &mut |_| true), Some(whole));
        assert_eq!(folder.names().len(), run::KEEP, "{:?}", folder.names());
    }
}

#[test]
fn the_last_few_are_kept() {
    let folder = Folder::new("save-keep");
    assert!(wrong(Checkpoints::new(&folder.0, 0)).contains("0 of them to keep"));
    let deep = folder.0.join("made/for/it");
    let mut kept = Checkpoints::new(&deep, 3).unwrap();
    assert!(kept.latest().unwrap().is_none());
    let numbered = |step| {
        let mut checkpoint = Checkpoint::new();
        checkpoint.put_count("step", step).unwrap();
        checkpoint
    };
    fs::write(deep.join("notes.txt"), "mine").unwrap();
    fs::write(deep.join("checkpoint-7.safetensors"), "not one of ours").unwrap();
    for step in [5, 1_000_000_000_000_000, 10, 20, 15, 30] {
        let path = kept.save(step, &numbered(step)).unwrap();
        assert_eq!(path, kept.path(step));
        assert_eq!(Checkpoint::read(path).unwrap().count("step").unwrap(), step);
    }
    assert_eq!(kept.steps().unwrap(), [20, 30, 1_000_000_000_000_000]);
    assert_eq!(kept.latest().unwrap().unwrap().step, 1_000_000_000_000_000);
    let other = ["checkpoint-7.safetensors", "notes.txt"];
    assert_eq!(names(&deep).iter().filter(|name| other.contains(&name.as_str())).count(), 2);
    assert_eq!(names(&deep).len(), 5);

    // One at a time saves; others read.
    let mut second = Checkpoints::new(&deep, 3).unwrap();
    assert_eq!(second.latest().unwrap().unwrap().step, 1_000_000_000_000_000);
    let refused = wrong(second.save(40, &numbered(40)));
    assert!(refused.contains("saves checkpoints here") && refused.contains("for"), "{refused}");
    drop(kept);
    second.save(40, &numbered(40)).unwrap();
}

#[test]
fn a_damaged_one_is_skipped_and_said() {
    let folder = Folder::new("save-skip");
    let mut kept = Checkpoints::new(&folder.0, 2).unwrap();
    for step in [1, 2, 3] {
        kept.save(step, &everything()).unwrap();
    }
    let break_it = |path: PathBuf| {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    break_it(kept.path(3));
    let found = kept.latest().unwrap().unwrap();
    assert_eq!((found.step, found.skipped.len()), (2, 1));
    let said = found.skipped[0].to_string();
    assert!(said.contains("checkpoint-000000000003.safetensors: damaged"), "{said}");
    same(&found.checkpoint, &everything());
    // The damaged one does not count among the two.
    kept.save(4, &everything()).unwrap();
    assert_eq!(kept.steps().unwrap(), [2, 3, 4]);
    kept.save(3, &everything()).unwrap();
    assert_eq!(kept.steps().unwrap(), [3, 4]);
    assert!(kept.latest().unwrap().unwrap().skipped.is_empty());

    fs::write(kept.path(4), b"").unwrap();
    fs::remove_file(kept.path(3)).unwrap();
    fs::create_dir(kept.path(3)).unwrap();
    let said = wrong(kept.latest());
    assert!(said.contains("checkpoint-000000000003"), "{said}");
    fs::remove_dir(kept.path(3)).unwrap();
    let said = wrong(kept.latest());
    assert!(said.contains("no checkpoint is whole") && said.contains("0004"), "{said}");
}

#[test]
fn misfits_are_named() {
    let folder = Folder::new("save-misfit");
    let path = folder.0.join("a.safetensors");
    let mut rng = Generator::new(0);
    let mut net = run::Net::new(&mut rng);
    let mut other = Linear::new(4, 3, &mut rng).unwrap();
    let mut optimizer = Adam::new(0.1);
    let mut scheduler = Scheduler::new(StepLR::new(2, 0.5), &mut optimizer).unwrap();
    let x = rng.normal([5, 4], 0., 1., DType::F32).unwrap();
    let step = value_and_grad(&other, &mut rng, |m, ctx| m.forward(&x, ctx).square().mean(..));
    optimizer.step(&mut other, &step.unwrap()).unwrap();

    let mut checkpoint = Checkpoint::new();
    checkpoint.put_model("net", &net).unwrap();
    checkpoint.put_optimizer("optimizer", &optimizer).unwrap();
    checkpoint.put_count("count", 3).unwrap();
    let tensor = |value| BTreeMap::from([("schedule.step".to_string(), Tensor::from(value))]);
    let mut minus = scheduler.state_dict();
    minus.extend(tensor(-1i64));
    checkpoint.put_tensors("minus", minus).unwrap();
    let short = BTreeMap::from([("state".to_string(), Tensor::from([1i64, 2]))]);
    checkpoint.put_tensors("short", short).unwrap();
    for (name, what) in
        [("", "empty"), ("a/b", "slash"), ("checkpoint", "the file's own"), ("net", "taken")]
    {
        let said = wrong(checkpoint.put_count(name, 1));
        assert!(said.contains(what), "{said}");
    }
    checkpoint.write(&path).unwrap();
    let read = Checkpoint::read(&path).unwrap();

    let expect = |result: Result<()>, parts: &[&str]| {
        let said = wrong(result);
        for part in [&["a.safetensors: checkpoint: "], parts].concat() {
            assert!(said.contains(part), "{said:?} lacks {part:?}");
        }
    };
    let before = state_dict(&other);
    expect(read.load_model("model", &mut net), &["model: not there", "count, minus, net"]);
    expect(read.load_model("net", &mut other), &["missing: bias, weight", "unexpected: first."]);
    assert!(state_dict(&other).iter().all(|(name, x)| x.id() == before[name].id()));
    let mut wide = Linear::new(4, 5, &mut rng).unwrap();
    let mut fresh = Adam::new(0.2);
    expect(
        read.load_optimizer("optimizer", &mut fresh, &net),
        &["state.bias: the model has no parameter bias"],
    );
    expect(
        read.load_optimizer("optimizer", &mut fresh, &wide),
        &["state.weight.exp_avg: [3, 4] f32, the parameter is [5, 4] f32"],
    );
    wide.to(DType::F64).unwrap();
    expect(read.load_optimizer("count", &mut fresh, &wide), &["count: ", "lr: missing"]);
    expect(
        read.load_optimizer("optimizer", &mut SGD::new(0.1), &other),
        &["state.weight.exp_avg: unexpected"],
    );
    assert_eq!(fresh.lr(), 0.2);
    read.load_optimizer("optimizer", &mut fresh, &other).unwrap();
    assert_eq!(fresh.lr(), 0.1);
    expect(
        read.load_scheduler("minus", &mut scheduler, &mut fresh),
        &["minus: ", "schedule.step", "-1"],
    );
    expect(read.generator("short").map(drop), &["short: state: 2 numbers, 3 expected"]);
    expect(read.generator("count").map(drop), &["state (i64) expected, found count (i64)"]);
    expect(read.position("short").map(drop), &["short: position (i64) expected"]);
    expect(read.text("count").map(drop), &["count: text (u8) expected"]);

    // A whole file of a newer version is not passed over: it is an error.
    let mut kept = Checkpoints::new(&folder.0, 2).unwrap();
    kept.save(1, &everything()).unwrap();
    kept.save(2, &everything()).unwrap();
    damage::say_version(&kept.path(2), 2);
    let said = wrong(kept.latest());
    assert!(said.contains("checkpoint/version: 2; this library reads version 1"), "{said}");
    // Nor is a file that is no checkpoint at all read as one.
    let plain = folder.0.join("plain.safetensors");
    save_safetensors(&plain, [("x".to_string(), &Tensor::from(1f32))]).unwrap();
    assert!(wrong(Checkpoint::read(&plain)).contains("no checkpoint"));
    for hostile in ["/dev/zero", "/dev/null", "/"] {
        assert!(wrong(Checkpoint::read(hostile)).contains("no file"), "{hostile}");
    }
    assert!(wrong(Checkpoint::read(folder.0.join("nothing"))).contains("nothing: "));
    let nowhere = folder.0.join("plain.safetensors/x");
    assert!(wrong(everything().write(&nowhere)).contains("not saved"));
}

#[test]
fn a_position_fits_its_loader_only() {
    let x = Tensor::arange(0., 1., 20, DType::F32).unwrap();
    let data = |n| {
        let x = x.narrow(0, 0, n).unwrap();
        TensorDataset::new(x.clone(), x).unwrap()
    };
    let loader = |n, batch| DataLoader::new(data(n), batch).unwrap();
    let own = loader(20, 3).shuffle(1);
    let mut epoch = own.epoch(2).unwrap();
    assert_eq!(epoch.position().batch(), 0);
    epoch.next().unwrap().unwrap();
    epoch.next().unwrap().unwrap();
    let at = epoch.position();
    assert_eq!((at.epoch(), at.batch(), at.next_epoch()), (2, 2, Position::new(3, 0)));
    assert_eq!(Position::from_state(at.state()).unwrap(), at);
    let rest: Vec<Vec<f32>> = epoch.map(|batch| batch.unwrap().0.to_vec().unwrap()).collect();
    for workers in [0, 1, 2, 3, 9] {
        let resumed = loader(20, 3).shuffle(1).workers(workers);
        let resumed = resumed.resume(&at).unwrap();
        assert_eq!(resumed.len(), 5);
        let found: Vec<Vec<f32>> =
            resumed.map(|batch| batch.unwrap().0.to_vec().unwrap()).collect();
        assert_eq!(found, rest, "{workers} workers");
    }
    let refused = |loader: DataLoader<TensorDataset>, what: &str| {
        let said = wrong(loader.resume(&at));
        assert!(said.contains(what), "{said}");
    };
    refused(loader(19, 3).shuffle(1), "of 20 samples, here are 19");
    refused(loader(20, 4).shuffle(1), "of 3 samples a batch, here are 4");
    refused(loader(20, 3).shuffle(1).drop_last(true), "drop_last false, this is true");
    refused(loader(20, 3).shuffle(2), "in another order");
    refused(loader(20, 3), "in another order");
    let subset = SubsetRandomSampler::new((0..20).collect(), 5);
    refused(loader(20, 3).sampler(subset), "in another order");
    assert_eq!(own.resume(&Position::new(2, 7)).unwrap().count(), 0);
    assert!(wrong(own.resume(&Position::new(2, 8))).contains("position 8 of 7 batches"));
    for state in [[-1, 0, 0, 0, 0, 0, 0], [0, i64::MIN, 0, 0, 0, 0, 0], [0, 0, 2, 0, 0, 0, 0]] {
        assert!(wrong(Position::from_state(state)).contains("is no position"));
    }
}
