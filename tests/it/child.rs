//! Runs a test again in a process of its own: with other settings, or with the memory accounts to itself.

use std::process::Command;

/// Set in a child.
pub(crate) const ROLE: &str = "FERROTAPE_TEST_CHILD";
const MARK: &str = "\n@child ";

/// True in the process that [`run`] started.
pub(crate) fn is_child() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// Says a line to the parent.
pub(crate) fn say(line: &str) {
    println!("{MARK}{line}");
}

/// Runs the test `name` (`file::function`) alone in a new process, and returns the lines it [said](say).
pub(crate) fn run(name: &str, settings: &[(&str, &str)]) -> Vec<String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, "1").envs(settings.iter().copied());
    let output = command.output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} failed under {settings:?}:\n{out}\n{err}");
    assert!(out.contains("1 passed"), "no test is called {name}:\n{out}");
    said(&out)
}

/// The lines in a child's output that it [said](say).
pub(crate) fn said(out: &str) -> Vec<String> {
    out.lines().filter_map(|line| line.strip_prefix(MARK.trim_start())).map(str::to_owned).collect()
}

/// Runs `body` alone in a process; `name` is the calling test's (`file::function`).
pub(crate) fn alone(name: &str, body: impl FnOnce()) {
    if is_child() {
        return body();
    }
    run(name, &[]);
}
