//! Mutants of good and of hostile files: none makes a reader panic or ask for much memory. `FERROTAPE_MUTANTS` says how many of each
//! format (`scripts/soak` a million).

use std::panic::{AssertUnwindSafe, catch_unwind};

use ferrotape::prelude::*;

use super::hostile::{FORMATS, Format};
use super::{numpy, st, torch, zipped};

const SLACK: usize = 64 << 20;

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.below(len + 1);
        start..start + self.below((len - start).min(64) + 1)
    }
}

/// Numbers that overflow, wrap, or just don't fit.
const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    7,
    63,
    64,
    65,
    127,
    128,
    255,
    256,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    0x1fff_ffff_ffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX - 7,
    u64::MAX,
];

/// Pieces of the formats' texts.
const WORDS: &[&str] = &[
    "\"",
    "'",
    ",",
    ":",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    "\n",
    "\r",
    " ",
    "\\",
    "\\u0041",
    "\\ud800",
    "-1",
    "1e9",
    "0.5",
    "nan",
    "\"dtype\":",
    "\"F64\"",
    "\"BOOL\"",
    "\"I64\"",
    "\"shape\":[0]",
    "\"data_offsets\":[0,0]",
    "\"__metadata__\":{}",
    "'descr': ",
    "'>f8'",
    "'|O'",
    "True",
    "(0,)",
    "(2, 2)",
    "PK\x01\x02",
    "PK\x03\x04",
    "PK\x05\x06",
    "PK\x06\x06",
    "PK\x06\x07",
    "(",
    "}",
    "]",
    ")",
    "t",
    "u",
    "s",
    "e",
    "a",
    "q\0",
    "h\0",
    "R",
    "Q",
    "b",
    "N",
    "K\x01",
    "X\x01\0\0\0x",
    "0",
    ".",
];

/// Changes `bytes` in one to four places.
pub(super) fn mutate(random: &mut Random, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..1 + random.below(4) {
        let len = bytes.len();
        match random.below(10) {
            0 if len > 0 => bytes[random.below(len)] ^= 1 << random.below(8),
            1 if len > 0 => {
                bytes[random.below(len)] = *random.of(&[0, 1, 0x7f, 0x80, 0xff, b'0', b'9', b'"'])
            }
            2 => bytes.truncate(random.below(len + 1)),
            3 => drop(bytes.drain(random.range(len))),
            4 => {
                let piece = bytes[random.range(len)].to_vec();
                let at = random.below(len + 1);
                bytes.splice(at..at, piece);
            }
            5 => {
                let other = random.of(others);
                let piece = other[random.range(other.len())].to_vec();
                let at = random.range(len);
                bytes.splice(at, piece);
            }
            6 => {
                let (number, width) = (*random.of(NUMBERS), *random.of(&[2, 4, 8]));
                let number = if random.below(2) == 0 {
                    number
                } else {
                    (len as u64 + random.below(5) as u64).wrapping_sub(2)
                };
                let little = random.below(2) == 0;
                let all = if little { number.to_le_bytes() } else { number.to_be_bytes() };
                let part = if little { &all[..width] } else { &all[8 - width..] };
                if len >= width {
                    let at = random.below(len - width + 1);
                    bytes[at..at + width].copy_from_slice(part);
                }
            }
            7 => {
                // A number in a text becomes another.
                let digits: Vec<usize> = (0..len).filter(|&i| bytes[i].is_ascii_digit()).collect();
                if !digits.is_empty() {
                    let start = *random.of(&digits);
                    let end = (start..len).find(|&i| !bytes[i].is_ascii_digit()).unwrap_or(len);
                    let number = random.of(NUMBERS).to_string();
                    bytes.splice(start..end, number.into_bytes());
                }
            }
            _ => {
                let (at, word) = (random.range(len), random.of(WORDS));
                let at = if random.below(2) == 0 { at.start..at.start } else { at };
                bytes.splice(at, word.bytes());
            }
        }
    }
}

/// What lies within a file's outer shell, and the shell.
type Inner = (Vec<Vec<u8>>, fn(&[u8]) -> Vec<u8>);

fn inner(format: &str) -> Option<Inner> {
    let header = |file: Vec<u8>| file[8..].to_vec();
    Some(match format {
        // A header of the length that it says, and 34 bytes of data.
        "safetensors" => (vec![header(st::good())], |text| {
            let end = text.len().saturating_sub(34);
            st::file(&text[..end], &text[end..])
        }),
        "npz" => (vec![numpy::good()], |bytes| zipped::stored("x.npy", bytes)),
        "torch" => (torch::pickles(), torch::pt),
        _ => return None,
    })
}

fn count() -> usize {
    std::env::var("FERROTAPE_MUTANTS").ok().map_or(3000, |count| count.parse().unwrap())
}

fn run(format: &Format) {
    let small = |bytes: &Vec<u8>| bytes.len() <= 4096;
    let seeds: Vec<Vec<u8>> =
        (format.cases)().into_iter().map(|case| case.bytes).filter(small).collect();
    let inner = inner(format.name);
    let cpu = Device::cpu();
    let mut accepted = 0;
    for number in 0..count() {
        let mut random = Random(number as u64);
        let mut bytes;
        match &inner {
            Some((seeds, wrap)) if number % 2 == 0 => {
                bytes = random.of(seeds).clone();
                mutate(&mut random, &mut bytes, seeds);
                bytes = wrap(&bytes);
            }
            _ => {
                bytes = random.of(&seeds).clone();
                mutate(&mut random, &mut bytes, &seeds);
            }
        }
        cpu.reset_peak();
        let live = cpu.memory_stats().live;
        let result = catch_unwind(AssertUnwindSafe(|| (format.parse)(&bytes)));
        let result = result
            .unwrap_or_else(|_| panic!("{} mutant {number} panics: {bytes:02x?}", format.name));
        let peak = cpu.memory_stats().peak - live;
        assert!(peak <= bytes.len() + SLACK, "{} mutant {number} takes {peak} bytes", format.name);
        if result.is_ok() {
            accepted += 1;
            (format.agree)(&bytes);
        }
    }
    println!("{}: {} mutants, {accepted} accepted", format.name, count());
    assert!(accepted < count() / 2 + 1, "{}: the mutants are too tame", format.name);
}

macro_rules! mutants {
    ($($format:ident)*) => {$(
        #[test]
        fn $format() {
            run(FORMATS.iter().find(|format| format.name == stringify!($format)).unwrap());
        }
    )*};
}
mutants! { safetensors npy npz torch idx csv }

/// Writes the small hostile files as the seeds of the fuzz targets, to the folder that `FERROTAPE_CORPUS` names.
#[test]
fn the_corpus_is_written_where_it_is_asked_for() {
    let Some(folder) = std::env::var_os("FERROTAPE_CORPUS") else {
        assert!(FORMATS.iter().all(|format| (format.cases)().len() > 20));
        return;
    };
    for format in FORMATS {
        let folder = std::path::Path::new(&folder).join(format.name);
        std::fs::create_dir_all(&folder).unwrap();
        let cuts = |name: &str| name.contains("-cut-");
        for case in
            (format.cases)().iter().filter(|case| case.bytes.len() <= 4096 && !cuts(&case.name))
        {
            std::fs::write(folder.join(&case.name), &case.bytes).unwrap();
        }
    }
}
