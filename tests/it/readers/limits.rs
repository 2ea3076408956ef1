//! No reader asks for more memory than the file has bytes, and 64 MiB: the hostile files again, in a process that gets no more.

use std::process::Command;

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
#[cfg(target_os = "linux")]
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
