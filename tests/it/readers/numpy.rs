//! NumPy's files: those that numpy wrote read right, ours come back, hostile ones (M20 to M25) are refused.

use std::collections::BTreeMap;

use ferrotape::io::{
    load_npy, load_npz, map_npy, parse_npy, parse_npz, save_npy, save_npz, save_npz_compressed,
};
use ferrotape::prelude::*;

use super::hostile::{Case, read, refused};
use super::{Folder, zipped};

/// An npy file of version 1.
pub(crate) fn npy(header: &str, payload: &[u8]) -> Vec<u8> {
    let header = header.as_bytes();
    [&b"\x93NUMPY\x01\x00"[..], &(header.len() as u16).to_le_bytes(), header, payload].concat()
}

fn plain(descr: &str, shape: &str, payload: usize) -> Vec<u8> {
    let header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n");
    npy(&header, &vec![1; payload])
}

pub(crate) fn good() -> Vec<u8> {
    include_bytes!("../../data/readers/f32.npy").to_vec()
}

pub(crate) fn npy_cases() -> Vec<Case> {
    let good = good();
    let version = |major: u8, minor: u8| {
        let mut bytes = good.clone();
        (bytes[6], bytes[7]) = (major, minor);
        bytes
    };
    let mut v2 = version(2, 0);
    v2.splice(8..10, 0xffff_fff0_u32.to_le_bytes());
    let mut past = good.clone();
    past[8..10].copy_from_slice(&u16::MAX.to_le_bytes());
    let f4 = |shape: &str, payload| plain("'<f4'", shape, payload);
    let header = |text: &str| npy(text, &[0; 4]);
    let keys = "'descr': '<f4', 'fortran_order': False, 'shape': (1,)";
    let many = |n: usize| format!("({})", "1, ".repeat(n));
    let mut cases = vec![
        refused("M20-magic", b"\x93NUMPX\x01\x00\x00\x00".as_slice(), "magic at byte 0"),
        refused("M20-version-0", version(0, 0), "version at byte 6: 0.0"),
        refused("M20-version-9", version(9, 9), "version at byte 6: 9.9"),
        refused("M20-length-v2", v2, "header length at byte 8: 4294967280 bytes"),
        refused("M20-length-past", past, "header length at byte 8: 65535 bytes"),
        refused("M21-no-dict", header("[1, 2]"), "'{' expected"),
        refused("M21-call", header("__import__('os').system('true')"), "'{' expected"),
        refused(
            "M21-call-within",
            header("{'descr': __import__('os'), }"),
            "descr: only arrays of one plain type",
        ),
        refused(
            "M21-sum",
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (1+1,), }"),
            "shape",
        ),
        refused(
            "M21-nested",
            npy(&format!("{{'shape': {}", "(".repeat(60_000)), &[]),
            "shape: a whole number",
        ),
        refused("M21-twice", header(&format!("{{{keys}, 'descr': '<f4'}}")), "descr stands twice"),
        refused(
            "M21-missing",
            header("{'descr': '<f4', 'fortran_order': False, }"),
            "shape is missing",
        ),
        refused(
            "M21-missing-order",
            header("{'descr': '<f4', 'shape': (1,)}"),
            "fortran_order is missing",
        ),
        refused(
            "M21-extra",
            header(&format!("{{{keys}, 'extra': 1}}")),
            "no key of an npy header: \"extra\"",
        ),
        refused("M21-more", header(&format!("{{{keys}}} 1")), "more follows"),
        refused("M21-open", header(&format!("{{{keys}")), "'}' expected"),
        read("M21-no-newline", header(&format!("{{{keys}}}"))),
        refused("M21-not-utf8", npy_bytes(b"{'\xff'"), "not UTF-8"),
        refused("M22-object", plain("'|O'", "(1,)", 8), "elements of \"|O\" are not supported"),
        refused(
            "M22-record",
            plain("[('a', '<f4')]", "(1,)", 4),
            "descr: only arrays of one plain type",
        ),
        refused("M22-complex", plain("'<c8'", "(1,)", 8), "elements of \"<c8\""),
        refused("M22-text", plain("'<U5'", "(1,)", 20), "elements of \"<U5\""),
        refused("M22-i16", plain("'<i2'", "(1,)", 2), "elements of \"<i2\""),
        refused("M22-no-order", plain("'|f4'", "(1,)", 4), "elements of \"|f4\""),
        refused("M22-two-orders", plain("'<>f4'", "(1,)", 4), "elements of \"<>f4\""),
        refused("M22-wide-letter", plain("'\u{ff1c}f4'", "(1,)", 4), "are not supported"),
        refused("M23-negative", f4("(-1,)", 4), "shape: a whole number"),
        refused("M23-float", f4("(1.5,)", 4), "shape"),
        refused("M23-number", f4("(1)", 4), "shape: not a tuple"),
        refused("M23-bare", f4("1", 4), "'(' expected"),
        read("M23-64-dims", f4(&many(64), 4)),
        refused("M23-65-dims", f4(&many(65), 4), "at most 64 dims"),
        refused("M23-1000-dims", f4(&many(1000), 4), "at most 64 dims"),
        refused("M23-overflow", f4("(4294967296, 4294967296)", 0), "larger than memory"),
        refused("M23-overflow-u64", f4("(18446744073709551616,)", 0), "shape: a whole number"),
        refused("M23-overflow-zero", f4("(0, 9223372036854775808, 2)", 0), "larger than memory"),
        refused(
            "M23-huge",
            f4("(1000000000000,)", 4),
            "shape [1000000000000] of f32 takes 4000000000000",
        ),
        read("M23-scalar", f4("()", 4)),
        read("M23-empty", f4("(0,)", 0)),
        read("M23-long", f4("(1L, 1L)", 4)),
        refused("M23-empty-with-data", f4("(0,)", 4), "data at byte"),
        refused("M24-shorter", f4("(2,)", 7), "7 bytes, shape [2] of f32 takes 8"),
        refused("M24-longer", f4("(2,)", 9), "9 bytes, shape [2] of f32 takes 8"),
    ];
    for cut in 0..good.len() {
        cases.push(refused(format!("M24-cut-{cut}"), &good[..cut], ""));
    }
    let unsupported = [
        &include_bytes!("../../data/readers/unsupported_i16.npy")[..],
        include_bytes!("../../data/readers/unsupported_c8.npy"),
        include_bytes!("../../data/readers/unsupported_text.npy"),
        include_bytes!("../../data/readers/unsupported_object.npy"),
        include_bytes!("../../data/readers/unsupported_record.npy"),
    ];
    let numbered = unsupported.iter().enumerate();
    cases.extend(numbered.map(|(i, bytes)| refused(format!("M22-numpy-{i}"), *bytes, "descr: ")));
    cases
}

fn npy_bytes(header: &[u8]) -> Vec<u8> {
    [&b"\x93NUMPY\x01\x00"[..], &(header.len() as u16).to_le_bytes(), header].concat()
}

pub(crate) fn npz_cases() -> Vec<Case> {
    let member = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }\n", &[1, 2, 3, 4]);
    let mut cases = zipped::cases("x.npy", &member);
    // M25: 40 MB of zeros in 40 kB that are no array, and an array that says it is larger than it is.
    let zeros = vec![0; 40 << 20];
    let lying = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (41943040,), }\n", &[]);
    cases.extend([
        refused("M25-bomb", zipped::deflated("x.npy", &zeros), "magic"),
        refused("M25-short-array", zipped::stored("x.npy", &lying), "takes 41943040"),
        refused("M25-no-npy", zipped::stored("x.txt", &member), "not an npy file by its name"),
        read("M25-path-name", zipped::stored("../x.npy", &member)),
    ]);
    cases
}

/// The arrays of `make.py`.
fn arrays() -> BTreeMap<String, Tensor> {
    let m = Tensor::arange(0., 0.5, 6, DType::F32).unwrap().reshape([2, 3]).unwrap();
    let f16s = [65504.0, f64::NEG_INFINITY, 2f64.powi(-24)].map(ferrotape::f16::from_f64);
    let fortran = Tensor::arange(0., 1., 24, DType::I32).unwrap().reshape([2, 3, 4]).unwrap();
    let named = [
        ("bool", Tensor::from([true, false, true])),
        ("u8", Tensor::from([0u8, 255])),
        ("i8", Tensor::from([-128i8, 127])),
        ("i32", Tensor::from([i32::MIN, i32::MAX])),
        ("i64", Tensor::from([i64::MIN, -1, i64::MAX])),
        ("f16", Tensor::from(f16s)),
        ("f32", m.clone()),
        ("f64", Tensor::from([1e-300, std::f64::consts::PI])),
        ("scalar", Tensor::from(2.5f32)),
        ("empty", Tensor::zeros([2, 0, 3], DType::F64).unwrap()),
        ("fortran", fortran),
        ("big", m.clone()),
        ("big_i64", Tensor::from([1i64, -2])),
        ("big_fortran", m.to_dtype(DType::F64).unwrap()),
    ];
    named.map(|(name, x)| (name.to_string(), x)).into()
}

/// Type, shape and elements.
pub(crate) fn said(x: &Tensor) -> String {
    let bits = |x: &Tensor| x.to_dtype(DType::F64).unwrap().to_vec::<f64>().unwrap();
    let exact = if x.dtype() == DType::I64 { x.to_vec::<i64>().unwrap() } else { Vec::new() };
    format!("{} {:?} {:?} {exact:?}", x.dtype(), x.shape(), bits(x))
}

fn assert_same(got: &BTreeMap<String, Tensor>, expected: &BTreeMap<String, Tensor>) {
    assert!(got.keys().eq(expected.keys()), "{:?}", got.keys());
    for (name, x) in expected {
        assert_eq!(said(&got[name]), said(x), "{name}");
    }
}

#[test]
fn numpys_files_are_read() {
    let stored = include_bytes!("../../data/readers/numpy.npz");
    assert_same(&parse_npz(stored).unwrap(), &arrays());
    let deflated = include_bytes!("../../data/readers/numpy_compressed.npz");
    assert_same(&parse_npz(deflated).unwrap(), &arrays());
    let turned = parse_npy(include_bytes!("../../data/readers/fortran.npy")).unwrap();
    assert_eq!(said(&turned), said(&arrays()["fortran"]));
    assert_eq!(turned.layout().strides(), [1, 2, 6]);
    for bytes in [
        &include_bytes!("../../data/readers/f32.npy")[..],
        include_bytes!("../../data/readers/version2.npy"),
        include_bytes!("../../data/readers/version3.npy"),
    ] {
        assert_eq!(said(&parse_npy(bytes).unwrap()), said(&arrays()["f32"]));
    }
}

#[test]
fn ours_come_back() {
    let folder = Folder::new("numpy");
    let (npy, npz) = (folder.path("x.npy"), folder.path("x.npz"));
    let mut arrays = arrays();
    let m = arrays["f32"].clone();
    arrays.insert("turned".into(), m.t().unwrap());
    arrays.insert("expanded".into(), m.narrow(0, 1, 1).unwrap().expand([4, 3]).unwrap());
    arrays.insert("\u{fc}/ \u{1f600}".into(), m.flip(1).unwrap());
    for (name, x) in &arrays {
        save_npy(&npy, x).unwrap();
        assert_eq!(said(&load_npy(&npy).unwrap()), said(x), "{name}");
        assert_eq!(said(&map_npy(&npy).unwrap()), said(x), "{name}");
    }
    let named = || arrays.iter().map(|(name, x)| (name.clone(), x));
    save_npz(&npz, named()).unwrap();
    assert_same(&load_npz(&npz).unwrap(), &arrays);
    let plain = std::fs::metadata(&npz).unwrap().len();
    let zeros = Tensor::zeros([100, 100], DType::F32).unwrap();
    save_npz_compressed(&npz, named().chain([("zeros".to_string(), &zeros)])).unwrap();
    let mut read = load_npz(&npz).unwrap();
    assert_eq!(said(&read.remove("zeros").unwrap()), said(&zeros));
    assert_same(&read, &arrays);
    assert!(std::fs::metadata(&npz).unwrap().len() < plain);
    save_npz(&npz, []).unwrap();
    assert!(load_npz(&npz).unwrap().is_empty());
}

#[test]
fn what_numpy_does_not_have_is_refused() {
    let folder = Folder::new("numpy-bf16");
    let path = folder.path("x.npy");
    let x = Tensor::zeros([2], DType::BF16).unwrap();
    let message = save_npy(&path, &x).unwrap_err().to_string();
    assert_eq!(message, format!("{}: NumPy has no bf16; cast to f32", path.display()));
    let y = Tensor::from(1f32);
    let names = ["a", "a"].map(|name| (name.to_string(), &y));
    let message = save_npz(&path, names).unwrap_err().to_string();
    assert!(message.contains("tensor \"a\": the name is taken"), "{message}");
    assert!(!path.exists());
}

#[test]
fn contents_much_larger_than_the_archive_are_read() {
    let x = Tensor::zeros([50 << 20], DType::U8).unwrap();
    let folder = Folder::new("numpy-large");
    let path = folder.path("x.npz");
    save_npz_compressed(&path, [("x".to_string(), &x)]).unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() < 1 << 20);
    assert_eq!(load_npz(&path).unwrap()["x"].shape(), [50 << 20]);
}
