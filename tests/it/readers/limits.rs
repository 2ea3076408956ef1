//! No reader asks for more memory than the file has bytes, and 64 MiB: the hostile files again, in a process that gets no more.

use std::process::Command;

use ferrotape::nn::save::Checkpoint;
use ferrotape::prelude::*;

use super::Folder;
use super::hostile::FORMATS;
use crate::child;

const SLACK: usize = 64 << 20;

/// The address space of this process, in bytes.
fn address_space() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmSize:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// Limits this process to `bytes` more than it has (its soft limit, which can be raised again).
fn allow(bytes: usize) {
    let limit = format!("--as={}:", address_space() + bytes);
    let pid = std::process::id().to_string();
    let done = Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap();
    assert!(done.success());
}

/// As the test of this name, in a process of its own with the limit.
#[test]
fn hostile_bytes_take_little_memory() {
    child::alone("readers::limits::hostile_bytes_take_little_memory", || {
        for format in FORMATS {
            // Their bytes are made first, and are part of what the process has.
            let cases = (format.cases)();
            for case in &cases {
                ferrotape::Device::cpu().empty_cache();
                let before = ferrotape::Device::cpu().memory_stats();
                ferrotape::Device::cpu().reset_peak();
                if case.bytes.len() > 1 << 20 {
                    allow(case.bytes.len() + SLACK);
                }
                let _ = (format.parse)(&case.bytes);
                let peak = ferrotape::Device::cpu().memory_stats().peak - before.live;
                assert!(peak <= case.bytes.len() + SLACK, "{} {}: {peak}", format.name, case.name);
            }
            allow(SLACK);
            for case in cases.iter().filter(|case| case.bytes.len() <= 1 << 20) {
                let _ = (format.parse)(&case.bytes);
            }
            allow(1 << 40);
        }
    });
}

/// A checkpoint is read into its tensors' memory and no other: a process reads one that has room for it, but not for it and its file.
#[test]
fn a_checkpoint_takes_the_memory_of_its_tensors() {
    child::alone("readers::limits::a_checkpoint_takes_the_memory_of_its_tensors", || {
        let folder = Folder::new("checkpoint-limit");
        let path = folder.path("large.safetensors");
        let bytes = 128 << 20;
        let mut checkpoint = Checkpoint::new();
        for part in ["a", "b"] {
            let x = Tensor::full([bytes / 8], 1.5, DType::F32).unwrap();
            checkpoint.put_tensors(part, [("x".to_string(), x)].into()).unwrap();
        }
        checkpoint.write(&path).unwrap();
        drop(checkpoint);
        let cpu = ferrotape::Device::cpu();
        cpu.empty_cache();
        cpu.reset_peak();
        let before = cpu.memory_stats().live;
        allow(bytes + (16 << 20));
        let read = Checkpoint::read(&path).unwrap();
        let peak = cpu.memory_stats().peak - before;
        assert!((bytes..bytes + (1 << 20)).contains(&peak), "{peak} bytes");
        allow(1 << 40);
        let x = &read.tensors("b").unwrap()["x"];
        assert_eq!(x.sum(..).unwrap().item::<f32>().unwrap(), 1.5 * (bytes / 8) as f32);
    });
}
