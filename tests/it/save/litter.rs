//! Files on their way to their place: what a killed process left of one is removed, what a living one writes is not.

use std::fs;
use std::io::Write;

use ferrotape::io::{Replacement, load_safetensors, save_npy, save_npz, save_safetensors};
use ferrotape::nn::save::{Checkpoint, Checkpoints};
use ferrotape::prelude::*;

use super::faults::{finish, injector, start_test, temporary};
use super::{Folder, everything};
use crate::child;

/// Writes `path` under the name of `kind`.
fn write(kind: &str, path: &std::path::Path) -> Result<()> {
    let x = Tensor::arange(0., 1., 4000, DType::F32)?;
    let named = || [("x".to_string(), &x)];
    match kind {
        "checkpoint" => everything().write(path),
        "checkpoints" => {
            let mut kept = Checkpoints::new(path.parent().unwrap(), 2)?;
            kept.save(7, &everything()).map(drop)
        }
        "safetensors" => save_safetensors(path, named()),
        "npy" => save_npy(path, &x),
        _ => save_npz(path, named()),
    }
}

const KINDS: [&str; 5] = ["checkpoint", "checkpoints", "safetensors", "npy", "npz"];

#[test]
fn a_killed_write_leaves_nothing_after_the_next() {
    const NAME: &str = "save::litter::a_killed_write_leaves_nothing_after_the_next";
    if child::is_child() {
        let path = std::env::var("PATH_TO_WRITE").unwrap();
        return write(&std::env::var("KIND").unwrap(), path.as_ref()).unwrap();
    }
    let tools = Folder::new("save-litter-tools");
    let injector = injector(&tools);
    for (kind, next) in KINDS.iter().zip(KINDS.iter().cycle().skip(2)) {
        let folder = Folder::new("save-litter");
        let path = folder.0.join("first");
        let settings = [
            ("KIND", *kind),
            ("PATH_TO_WRITE", path.to_str().unwrap()),
            ("LD_PRELOAD", injector.to_str().unwrap()),
            ("FAULT_FOLDER", folder.0.to_str().unwrap()),
            // Its first call makes the file.
            ("FAULT", "after:2"),
        ];
        let (_, killed) = finish(start_test(NAME, &settings));
        assert!(killed, "{kind}");
        let left = folder.names();
        assert!(left.len() == 1 && temporary(&left[0]), "{kind}: {left:?}");
        fs::write(folder.0.join(".mine.tmp"), "mine").unwrap();
        write(next, &folder.0.join("second")).unwrap();
        let left = folder.names();
        assert!(left.len() == 2 && left[0] == ".mine.tmp", "{kind}, {next}: {left:?}");
    }
}

#[test]
fn a_living_one_is_let_be() {
    let folder = Folder::new("save-living");
    let path = folder.0.join("a");
    let first = Replacement::new(&path).unwrap();
    first.file().write_all(b"first").unwrap();
    let second = Replacement::new(&path).unwrap();
    second.file().write_all(b"second").unwrap();
    for kind in KINDS {
        write(kind, &folder.0.join("other")).unwrap();
        assert_eq!(folder.names().iter().filter(|name| temporary(name)).count(), 2, "{kind}");
    }
    assert!(!path.exists());
    second.finish().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"second");
    first.finish().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"first");
    drop(Replacement::new(&path).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert!(!folder.names().iter().any(temporary), "{:?}", folder.names());
}

#[test]
fn many_threads_write_one_file_and_it_is_whole() {
    let folder = Folder::new("save-threads");
    let path = folder.0.join("a");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let path = &path;
            scope.spawn(move || {
                for _ in 0..25 {
                    let x = Tensor::full([1000 + thread], thread as f64, DType::F32).unwrap();
                    save_safetensors(path, [("x".to_string(), &x)]).unwrap();
                    let read = &load_safetensors(path).unwrap()["x"];
                    assert_eq!(read.to_vec::<f32>().unwrap()[0] as usize + 1000, read.len());
                }
            });
        }
    });
    assert_eq!(folder.names(), ["a"]);
    assert!(Checkpoint::read(&path).is_err());
}

#[test]
fn a_path_that_is_no_file_s_is_an_error() {
    let folder = Folder::new("save-no-file");
    for path in [folder.0.join(".."), folder.0.join("missing/a"), "/".into()] {
        for kind in ["checkpoint", "safetensors", "npy", "npz"] {
            let error = write(kind, &path).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{}: not saved: ", path.display())), "{error}");
        }
    }
    // A folder stands where the file should.
    fs::create_dir(folder.0.join("inner")).unwrap();
    let error = write("npy", &folder.0.join("inner")).unwrap_err().to_string();
    assert!(error.contains("not saved: "), "{error}");
    assert_eq!(folder.names(), ["inner"]);
}
