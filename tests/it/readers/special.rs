//! M19: what has a name but is no file one could read.

use std::fs::{self, File};
use std::process::Command;

use super::Folder;
use super::hostile::FORMATS;

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let folder = Folder::new("special");
    let (pipe, here, around) = (folder.path("pipe"), folder.path("folder"), folder.path("around"));
    fs::create_dir(&here).unwrap();
    std::os::unix::fs::symlink(&around, &around).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (zero, missing) = ("/dev/zero".into(), folder.path("missing"));
    for format in FORMATS {
        for reader in format.files {
            for path in [&pipe, &here, &around, &zero, &missing] {
                let message = reader(path).unwrap_err().to_string();
                assert!(message.starts_with(&format!("{}: ", path.display())), "{message}");
            }
        }
    }
}

#[test]
fn a_sparse_file_of_a_terabyte_is_refused_unread() {
    let folder = Folder::new("sparse");
    let path = folder.path("sparse");
    for start in [&[][..], b"PK\x03\x04", b"\x93NUMPY\x01\x00", &[60, 0, 0, 0, 0, 0, 0, 0, b'{']] {
        fs::write(&path, start).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        if file.set_len(1 << 40).is_err() {
            // A file system that has no such files.
            continue;
        }
        for format in FORMATS {
            for reader in format.files {
                assert!(reader(&path).is_err(), "{}", format.name);
            }
        }
    }
}
