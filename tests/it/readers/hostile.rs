//! Every hostile file of every format through every way of reading it.

use std::fs;
use std::path::Path;

use ferrotape::io;
use ferrotape::nn::data::{parse_csv, parse_idx, read_csv, read_idx};
use ferrotape::prelude::*;

use super::{Folder, numpy, st, table, torch};

/// What a reader must say.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verdict {
    /// An error whose message holds this text.
    Refused(&'static str),
    /// Right values, which another test checks.
    Read,
}

/// One file.
pub(crate) struct Case {
    /// M-number and what it is, as a file name.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) verdict: Verdict,
}

pub(crate) fn refused(
    name: impl Into<String>,
    bytes: impl Into<Vec<u8>>,
    words: &'static str,
) -> Case {
    Case { name: name.into(), bytes: bytes.into(), verdict: Verdict::Refused(words) }
}

pub(crate) fn read(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Case {
    Case { name: name.into(), bytes: bytes.into(), verdict: Verdict::Read }
}

/// A format: its cases and its readers, each of which says only whether it could.
pub(crate) struct Format {
    pub(crate) name: &'static str,
    pub(crate) cases: fn() -> Vec<Case>,
    pub(crate) parse: fn(&[u8]) -> Result<()>,
    /// Another reader has the same from what this one takes, or panics.
    pub(crate) agree: fn(&[u8]),
    pub(crate) files: &'static [fn(&Path) -> Result<()>],
}

pub(crate) const FORMATS: &[Format] = &[
    Format {
        name: "safetensors",
        cases: st::cases,
        parse: |bytes| io::parse_safetensors(bytes).map(drop),
        agree: st::agree,
        files: &[
            |path| io::load_safetensors(path).map(drop),
            |path| io::map_safetensors(path).map(drop),
        ],
    },
    Format {
        name: "npy",
        cases: numpy::npy_cases,
        parse: |bytes| io::parse_npy(bytes).map(drop),
        agree: |_| (),
        files: &[|path| io::load_npy(path).map(drop), |path| io::map_npy(path).map(drop)],
    },
    Format {
        name: "npz",
        cases: numpy::npz_cases,
        parse: |bytes| io::parse_npz(bytes).map(drop),
        agree: |_| (),
        files: &[|path| io::load_npz(path).map(drop)],
    },
    Format {
        name: "torch",
        cases: torch::cases,
        parse: |bytes| io::parse_torch(bytes).map(drop),
        agree: |_| (),
        files: &[|path| io::load_torch(path).map(drop)],
    },
    Format {
        name: "idx",
        cases: table::idx_cases,
        parse: |bytes| parse_idx(bytes).map(drop).map_err(Error::other),
        agree: |_| (),
        files: &[|path| read_idx(path).map(drop).map_err(Error::other)],
    },
    Format {
        name: "csv",
        cases: table::csv_cases,
        parse: |bytes| parse_csv(bytes, table::COLUMNS, DType::F32).map(drop),
        agree: |_| (),
        files: &[|path| read_csv(path, table::COLUMNS, DType::F32).map(drop)],
    },
];

fn check(what: &str, case: &Case, result: Result<()>, path: &str) {
    let Case { name, verdict, .. } = case;
    match (verdict, result) {
        (Verdict::Read, Ok(())) => {}
        (Verdict::Refused(words), Err(error)) => {
            let message = error.to_string();
            let named = message.starts_with(path) && message.contains(words);
            assert!(
                named,
                "{what} {name}: {message:?} has no {words:?} or does not start with {path:?}"
            );
            assert!(
                message.len() < path.len() + 600,
                "{what} {name}: {} bytes of message",
                message.len()
            );
        }
        (_, result) => panic!("{what} {name}: {verdict:?} expected, {result:?}"),
    }
}

#[test]
fn hostile_bytes() {
    for format in FORMATS {
        let cases = (format.cases)();
        for case in &cases {
            check(format.name, case, (format.parse)(&case.bytes), "");
            if matches!(case.verdict, Verdict::Read) {
                (format.agree)(&case.bytes);
            }
        }
        println!("{}: {} cases", format.name, cases.len());
    }
}

#[test]
fn hostile_files() {
    let folder = Folder::new("hostile");
    let path = folder.path("hostile.file");
    let start = format!("{}: ", path.display());
    for format in FORMATS {
        for case in (format.cases)() {
            fs::write(&path, &case.bytes).unwrap();
            for reader in format.files {
                check(format.name, &case, reader(&path), &start);
            }
        }
    }
}
