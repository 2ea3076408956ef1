//! A process killed, or a file system that fails, at every call of a save and at random times: nothing is lost.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ferrotape::nn::save::{Checkpoint, Checkpoints};
use ferrotape::prelude::*;

use super::{Folder, names, run};
use crate::child;

/// A file on its way to its place.
pub(super) fn temporary(name: &String) -> bool {
    name.starts_with('.') && name.ends_with(".ferrotape.tmp")
}

/// Builds the library that injects faults (Rust on this system links with `cc` too).
pub(super) fn injector(folder: &Folder) -> PathBuf {
    let source = crate::root().join("tests/data/faults/faults.c");
    let library = folder.0.join("faults.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).arg("-ldl");
    assert!(cc.status().unwrap().success());
    library
}

/// Starts a test of this file in a process of its own.
fn start(test: &str, settings: &[(&str, &str)]) -> Child {
    start_test(&format!("save::faults::{test}"), settings)
}

/// Starts a test in a process of its own.
pub(super) fn start_test(test: &str, settings: &[(&str, &str)]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(child::ROLE, "1").envs(settings.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// What a process said, and whether it was killed.
pub(super) fn finish(mut started: Child) -> (Vec<String>, bool) {
    let mut out = String::new();
    started.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    let status = started.wait().unwrap();
    let killed = status.signal() == Some(9);
    assert!(killed || status.success(), "{status}:\n{out}");
    (child::said(&out), killed)
}

fn var(name: &str) -> String {
    std::env::var(name).unwrap()
}

/// In the child: the run of the folder, to its end.
fn train_in_child() {
    let (steps, workers) = (var("RUN_STEPS").parse().unwrap(), var("RUN_WORKERS").parse().unwrap());
    let mut folder = Checkpoints::new(var("RUN_FOLDER"), run::KEEP).unwrap();
    let hash = run::train_with(Some(&mut folder), workers, steps, &mut |step, folder, due| {
        if let (Some(folder), Some(checkpoint)) = (folder, due)
            && let Err(error) = folder.save(step, &checkpoint)
        {
            child::say(&format!("step {step}: {error}"));
            let left: Vec<String> = names(Path::new(&var("RUN_FOLDER")));
            child::say(&format!("left: {}", left.join(" ")));
        }
        true
    });
    child::say(&format!("hash {}", hash.unwrap()));
}

fn hash_without_folder(steps: u64) -> String {
    let hash = run::train_with(None, 1, steps, &mut |_, _, _| true);
    format!("hash {}", hash.unwrap())
}

/// Only whole checkpoints are in a folder, and what a killed process had begun.
fn all_whole(folder: &Path) -> Vec<u64> {
    let left = names(folder);
    let whole: Vec<String> = left.iter().filter(|name| !temporary(name)).cloned().collect();
    for name in &whole {
        Checkpoint::read(folder.join(name)).unwrap();
    }
    let steps = Checkpoints::new(folder, 1).unwrap().steps().unwrap();
    assert_eq!(steps.len(), whole.len(), "{left:?}");
    steps
}

const SHORT: u64 = 8;

#[test]
fn killed_at_every_call_of_a_save() {
    if child::is_child() {
        return train_in_child();
    }
    let tools = Folder::new("save-kill-tools");
    let injector = injector(&tools);
    let expected = hash_without_folder(SHORT);
    let (mut kills, mut states) = (0, BTreeSet::new());
    for action in ["before", "half", "after"] {
        for call in 1.. {
            let folder = Folder::new("save-kill");
            let path = folder.0.to_str().unwrap();
            let workers = ["1", "2"][call % 2];
            let settings = [
                ("RUN_FOLDER", path),
                ("RUN_STEPS", &SHORT.to_string()),
                ("RUN_WORKERS", workers),
                ("LD_PRELOAD", injector.to_str().unwrap()),
                ("FAULT_FOLDER", path),
                ("FAULT", &format!("{action}:{call}")),
            ];
            let (said, killed) = finish(start("killed_at_every_call_of_a_save", &settings));
            if !killed {
                assert_eq!(said, std::slice::from_ref(&expected));
                assert!(call > 20, "only {call} calls: is the injector in place?");
                break;
            }
            kills += 1;
            states.insert((all_whole(&folder.0), folder.names().iter().any(temporary)));
            let mut kept = Checkpoints::new(&folder.0, run::KEEP).unwrap();
            let hash =
                run::train_with(Some(&mut kept), 1 + call % 2, SHORT, &mut |step, kept, due| {
                    if let (Some(kept), Some(due)) = (kept, due) {
                        kept.save(step, &due).unwrap();
                    }
                    true
                });
            assert_eq!(format!("hash {}", hash.unwrap()), expected, "{action} call {call}");
            // Killed when the last one was saved, before the oldest was removed: that is still there.
            let steps = all_whole(&folder.0);
            assert!(steps.ends_with(&[SHORT - 2, SHORT]) && steps.len() <= 3, "{steps:?}");
            assert!(!folder.names().iter().any(temporary), "{action} call {call}");
        }
    }
    println!("{kills} kills, {} different states of the folder", states.len());
    // 4 saves: one more file each, then one less.
    assert!(kills > 60 && states.len() >= 10, "{kills} kills, {states:?}");
}

#[test]
fn a_failing_file_system_is_an_error_and_nothing_else() {
    if child::is_child() {
        return train_in_child();
    }
    let tools = Folder::new("save-fail-tools");
    let injector = injector(&tools);
    let expected = hash_without_folder(SHORT);
    let (no_space, broken) = (28, 5);
    let mut errors = BTreeSet::new();
    for errno in [no_space, broken] {
        for call in 1.. {
            let folder = Folder::new("save-fail");
            let path = folder.0.to_str().unwrap();
            let settings = [
                ("RUN_FOLDER", path),
                ("RUN_STEPS", &SHORT.to_string()),
                ("RUN_WORKERS", "1"),
                ("LD_PRELOAD", injector.to_str().unwrap()),
                ("FAULT_FOLDER", path),
                ("FAULT", &format!("{errno}:{call}")),
            ];
            let (said, _) =
                finish(start("a_failing_file_system_is_an_error_and_nothing_else", &settings));
            // The program goes on: its run is the same, and the next save succeeds.
            assert_eq!(said.last(), Some(&expected), "call {call}: {said:?}");
            let left_at_end = all_whole(&folder.0);
            assert_eq!(folder.names().len(), left_at_end.len(), "call {call}");
            let [error, left, _] = &said[..] else {
                assert!(said.len() == 1 && call > 20, "call {call}: {said:?}");
                break;
            };
            assert!(error.contains("checkpoint-0000") || error.contains("save-fail"), "{error}");
            assert!(error.contains(&format!("os error {errno}")), "{error}");
            assert!(!left.contains(".tmp"), "call {call}: {left}");
            let lost = (2..=SHORT).step_by(2).find(|step| {
                error.contains("not saved") && error.starts_with(&format!("step {step}:"))
            });
            let saved = (2..=SHORT).step_by(2).filter(|step| Some(*step) != lost);
            let saved: Vec<u64> = saved.collect();
            assert!(left_at_end.ends_with(&saved[saved.len() - 2..]), "{error}: {left_at_end:?}");
            assert!(left_at_end.len() == 2 || error.starts_with(&format!("step {SHORT}: ")));
            errors.insert(error.split(": ").nth(2).unwrap_or_default().to_string());
        }
    }
    let said: Vec<&str> = errors.iter().map(String::as_str).collect();
    assert_eq!(
        said,
        ["an old one, not removed", "not saved", "saved, but the folder is not flushed"],
        "which calls failed"
    );
}

/// A limit on the size of files, the system's own, in the middle of a save.
#[test]
fn a_file_over_the_limit_is_an_error() {
    if child::is_child() {
        let folder = PathBuf::from(var("RUN_FOLDER"));
        let mut kept = Checkpoints::new(&folder, 2).unwrap();
        let mut checkpoint = Checkpoint::new();
        checkpoint.put_count("small", 1).unwrap();
        kept.save(1, &checkpoint).unwrap();
        let large = Tensor::zeros([1 << 20], DType::F32).unwrap();
        checkpoint.put_tensors("large", [("x".to_string(), large)].into()).unwrap();
        let error = kept.save(2, &checkpoint).unwrap_err().to_string();
        assert!(error.contains("000000000002.safetensors: not saved: "), "{error}");
        assert_eq!(names(&folder), ["checkpoint-000000000001.safetensors"]);
        assert_eq!(kept.latest().unwrap().unwrap().step, 1);
        return child::say("done");
    }
    let folder = Folder::new("save-limit");
    let test = std::env::current_exe().unwrap();
    let mut shell = Command::new("sh");
    // In blocks of 512 bytes: 64 KiB.
    shell.args(["-c", "trap '' XFSZ; ulimit -f 128; exec \"$@\"", "sh"]).arg(test);
    shell.args(["save::faults::a_file_over_the_limit_is_an_error", "--exact", "--nocapture"]);
    shell.env(child::ROLE, "1").env("RUN_FOLDER", &folder.0);
    let (said, killed) = finish(shell.stdout(Stdio::piped()).spawn().unwrap());
    assert_eq!((said, killed), (vec!["done".to_string()], false));
}

const LONG: u64 = 300;

#[test]
fn killed_at_a_hundred_random_times() {
    if child::is_child() {
        return train_in_child();
    }
    let expected = hash_without_folder(LONG);
    let waits = Generator::new(1).uniform([200], 0.0, 1.0, DType::F64).unwrap();
    let mut waits = waits.to_vec::<f64>().unwrap().into_iter().cycle();
    let (mut kills, mut runs, mut longest) = (0, 0, Duration::from_millis(60));
    while kills < 100 {
        let folder = Folder::new("save-random");
        runs += 1;
        for attempt in 0.. {
            let settings = [
                ("RUN_FOLDER", folder.0.to_str().unwrap()),
                ("RUN_STEPS", &LONG.to_string()),
                ("RUN_WORKERS", ["1", "2"][attempt % 2]),
            ];
            let before = all_whole(&folder.0);
            let mut started = start("killed_at_a_hundred_random_times", &settings);
            std::thread::sleep(longest.mul_f64(waits.next().unwrap()));
            started.kill().unwrap();
            let (said, killed) = finish(started);
            kills += usize::from(killed);
            let after = all_whole(&folder.0);
            assert!(after.last() >= before.last(), "{before:?}, then {after:?}");
            if !killed {
                assert_eq!(said, std::slice::from_ref(&expected), "after {attempt} kills");
                break;
            }
            // However slow the machine is: some attempt gets to a checkpoint.
            if after == before {
                longest = longest.mul_f64(1.05);
            }
        }
    }
    println!("{kills} kills in {runs} runs");
}
