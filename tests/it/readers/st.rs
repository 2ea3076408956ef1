//! Hostile safetensors files: M01 to M18.

use std::collections::BTreeMap;

use ::safetensors::SafeTensors;
use ferrotape::io::{
    load_safetensors, map_safetensors, parse_safetensors, safetensors_metadata, save_safetensors,
    save_safetensors_with,
};
use ferrotape::prelude::*;

use super::Folder;
use super::hostile::{Case, read, refused};

/// A file of this header and payload.
pub(crate) fn file(header: impl AsRef<[u8]>, payload: &[u8]) -> Vec<u8> {
    let header = header.as_ref();
    [&(header.len() as u64).to_le_bytes()[..], header, payload].concat()
}

fn tensor(name: &str, dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
}

fn with(tensors: &[String], payload: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..payload).map(|i| i as u8).collect();
    file(format!("{{{}}}", tensors.join(",")), &payload)
}

fn one(dtype: &str, shape: &str, offsets: &str, payload: usize) -> Vec<u8> {
    with(&[tensor("x", dtype, shape, offsets)], payload)
}

/// A good file.
pub(crate) fn good() -> Vec<u8> {
    let tensors = [
        tensor("a", "F32", "[2,3]", "[0,24]"),
        tensor("b\\u00e4\\ud83d\\ude00", "I64", "[]", "[24,32]"),
        tensor("c", "BOOL", "[0,7]", "[32,32]"),
        r#""__metadata__":{"format":"pt"}"#.to_string(),
        tensor("d", "BF16", "[1]", "[32,34]"),
    ];
    with(&tensors, 34)
}

fn header_cases() -> Vec<Case> {
    let x = tensor("x", "U8", "[1]", "[0,1]");
    let lying = |length: u64| [&length.to_le_bytes()[..], b"{}      "].concat();
    let mut cases = Vec::new();
    for n in [0, 1, 7, 8] {
        cases.push(refused(format!("M01-{n}-bytes"), &good()[..n], "header length"));
    }
    for length in [u64::MAX, 0xff00_0000_0000_003c, 100_000_001, 17, 9] {
        cases.push(refused(format!("M02-length-{length:x}"), lying(length), "header length"));
    }
    cases.extend([
        refused("M03-length-0", [0; 8], "header at byte 8: the header: '{' expected"),
        refused("M03-polyglot", file("{}", b"PK\x03\x04"), "data: 4 bytes follow"),
        read("M03-nothing", file("{}", b"")),
        read("M03-padded", file("{}      ", b"")),
        refused("M04-not-utf8", file(b"{\"\xff\":1}", b""), "not UTF-8 at byte 10"),
        refused("M04-bom", file("\u{feff}{}", b""), "header at byte 8"),
        refused("M04-nul", file("{\0}", b""), "header at byte 9"),
        refused("M04-nul-after", file("{}\0", b""), "header at byte 10"),
        refused("M05-open", file("{", b""), "header at byte 9"),
        refused("M05-open-text", file("{\"x", b""), "header at byte 11"),
        refused("M05-array", file("[]", b""), "'{' expected"),
        refused("M05-number", file("1", b""), "'{' expected"),
        refused("M05-null", file("null", b""), "'{' expected"),
        refused("M05-deep", file("[".repeat(1_000_000), b""), "'{' expected"),
        refused("M05-deep-objects", file("{\"x\":".repeat(1_000_000), b""), "tensor \"x\""),
        refused("M05-deep-shape", file(format!("{{\"x\":{{\"shape\":{}", "[".repeat(1_000_000)), b""), "whole number"),
        refused("M05-comma", file(format!("{{{x},}}"), &[1]), "'\"' expected"),
        refused("M05-escape", file(r#"{"\q":1}"#, b""), "no escape"),
        refused("M05-surrogate", file(r#"{"\ud800":1}"#, b""), "surrogate"),
        refused("M05-surrogates", file(r#"{"\ud800\u0041":1}"#, b""), "surrogate"),
        refused("M06-space-before", file(" {}", b""), "'{' expected"),
        read("M06-space-within", file(" { \"x\" : { \"dtype\" : \"U8\" , \"shape\" : [ 1 ] , \"data_offsets\" : [ 0 ,\n1 ]\t} }\r\n".trim_start(), &[1])),
        refused("M07-twice", file(format!("{{{x},{x}}}"), &[1]), "tensor \"x\": the name stands twice"),
        refused(
            "M07-twice-other",
            with(&[x.clone(), tensor("x", "U8", "[2]", "[1,3]")], 3),
            "tensor \"x\": the name stands twice",
        ),
        refused("M07-twice-escaped", with(&[x.clone(), tensor("\\u0078", "U8", "[2]", "[1,3]")], 3), "stands twice"),
        refused("M07-field-twice", file(r#"{"x":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, &[1]), "dtype stands twice"),
    ]);
    cases
}

fn place_cases() -> Vec<Case> {
    let (f32x2, u8x1) = (tensor("y", "F32", "[2]", "[0,8]"), tensor("z", "U8", "[1]", "[3,4]"));
    let x = || tensor("x", "F32", "[1]", "[0,4]");
    let mut cases = vec![
        refused("M08-reversed", one("U8", "[1]", "[1,0]", 1), "tensor \"x\": data_offsets [1, 0]"),
        refused("M08-negative", one("U8", "[1]", "[-1,0]", 1), "tensor \"x\": header at byte"),
        refused("M08-float", one("U8", "[1]", "[0,1.0]", 1), "whole number"),
        refused("M08-exponent", one("U8", "[1]", "[0,1e0]", 1), "whole number"),
        refused("M08-text", one("U8", "[1]", "[0,\"1\"]", 1), "whole number"),
        refused("M08-beyond-u64", one("U8", "[1]", "[0,18446744073709551616]", 1), "whole number"),
        refused("M08-leading-zero", one("U8", "[1]", "[0,01]", 1), "whole number"),
        refused("M08-three", one("U8", "[1]", "[0,1,2]", 1), "data_offsets: ']' expected"),
        refused("M08-one", one("U8", "[1]", "[0]", 1), "data_offsets: ',' expected"),
        refused(
            "M09-same",
            with(&[x(), tensor("y", "F32", "[1]", "[0,4]")], 4),
            "tensor \"y\": data_offsets",
        ),
        refused("M09-overlap", with(&[f32x2, u8x1], 8), "data_offsets"),
        refused(
            "M10-hole",
            with(&[x(), tensor("y", "F32", "[1]", "[8,12]")], 12),
            "tensor \"y\": data_offsets [8, 12], the tensor before ends at 4",
        ),
        refused("M10-first", one("U8", "[1]", "[1,2]", 2), "the tensor before ends at 0"),
        refused("M11-short", one("F32", "[1]", "[0,4]", 3), "the data at 3"),
        refused("M11-long", one("F32", "[1]", "[0,4]", 5), "data: 1 bytes follow"),
        refused("M12-less", one("F32", "[2]", "[0,4]", 4), "data_offsets [0, 4] for 8 bytes"),
        refused("M12-more", one("F32", "[]", "[0,8]", 8), "data_offsets [0, 8] for 4 bytes"),
        read("M14-zero", one("F32", "[0,3]", "[0,0]", 0)),
        refused(
            "M14-zero-first",
            one("F32", "[0,9223372036854775808,9223372036854775808]", "[0,0]", 0),
            "larger than memory",
        ),
        refused(
            "M14-zero-last",
            one("F32", "[9223372036854775808,9223372036854775808,0]", "[0,0]", 0),
            "larger than memory",
        ),
    ];
    let shapes = [
        ("M13-minus-two", "[2,18446744073709551614]", 0),
        ("M13-minus-two-4", "[2,18446744073709551614]", 4),
        ("M13-half", "[2,9223372036854775807]", 0),
        ("M13-wraps-to-0", "[4294967296,4294967296]", 0),
        ("M13-wraps-to-5", "[3,7,29,36760123,823996703]", 5),
    ];
    for (name, shape, payload) in shapes {
        cases.push(refused(
            name,
            one("U8", shape, &format!("[0,{payload}]"), payload),
            "larger than memory",
        ));
    }
    // M15: the ends wrap to exactly 2^64 - 1.
    let huge = (1u64 << 61) - 1;
    let mut tensors: Vec<String> = (0..8)
        .map(|i| {
            tensor(
                &format!("t{i}"),
                "U8",
                &format!("[{huge}]"),
                &format!("[{},{}]", i * huge, (i + 1) * huge),
            )
        })
        .collect();
    tensors.push(tensor("last", "U8", "[7]", &format!("[{},{}]", 8 * huge, 8 * huge + 7)));
    cases.push(refused("M15-ends-at-2-64", with(&tensors, 0), "tensor \"t0\": data_offsets"));
    for cut in 0..good().len() {
        cases.push(refused(format!("M11-cut-{cut}"), &good()[..cut], ""));
    }
    cases
}

fn kind_cases() -> Vec<Case> {
    let field = |fields: &str| file(format!("{{\"x\":{{{fields}}}}}"), &[1]);
    let many = |count: usize| {
        let tensors: Vec<String> = (0..count)
            .map(|i| tensor(&i.to_string(), "U8", "[1]", &format!("[{i},{}]", i + 1)))
            .collect();
        with(&tensors, count)
    };
    let ones = |rank: usize| format!("[{}]", vec!["1"; rank].join(","));
    let name = |name: &str| with(&[tensor(name, "U8", "[1]", "[0,1]")], 1);
    let metadata = |value: &str| file(format!("{{\"__metadata__\":{value}}}"), b"");
    vec![
        refused(
            "M16-unknown",
            one("F128", "[1]", "[0,16]", 16),
            "tensor \"x\": header at byte 28: dtype: elements of F128",
        ),
        refused(
            "M16-lower-case",
            one("f32", "[1]", "[0,4]", 4),
            "elements of f32 are not supported",
        ),
        refused("M16-u16", one("U16", "[1]", "[0,2]", 2), "elements of U16 are not supported"),
        refused(
            "M16-f8",
            one("F8_E4M3", "[1]", "[0,1]", 1),
            "elements of F8_E4M3 are not supported",
        ),
        refused("M16-f4-odd", one("F4", "[1]", "[0,1]", 1), "elements of F4 are not supported"),
        refused("M16-no-dtype", field(r#""shape":[1],"data_offsets":[0,1]"#), "dtype is missing"),
        refused("M16-no-shape", field(r#""dtype":"U8","data_offsets":[0,1]"#), "shape is missing"),
        refused("M16-no-offsets", field(r#""dtype":"U8","shape":[1]"#), "data_offsets is missing"),
        refused(
            "M16-extra",
            field(r#""dtype":"U8","shape":[1],"data_offsets":[0,1],"extra":1"#),
            "no field of a tensor: \"extra\"",
        ),
        refused("M16-null", field(r#""dtype":null"#), "a text"),
        read("M17-1e5-tensors", many(100_000)),
        refused("M17-1e6-tensors", many(1_000_000), "more than 100000 tensors"),
        refused("M17-rank-1000", one("U8", &ones(1000), "[0,1]", 1), "more than 64 dims"),
        read("M17-rank-64", one("U8", &ones(64), "[0,1]", 1)),
        read("M17-long-name", name(&"n".repeat(1 << 20))),
        refused(
            "M17-long-name-bad",
            with(&[tensor(&"n".repeat(1 << 20), "U8", "[2]", "[0,1]")], 1),
            "tensor \"nnn",
        ),
        read("M17-no-name", name("")),
        read("M17-path-name", name("../../x")),
        read("M17-nul-name", name("\\u0000")),
        read("M17-metadata", metadata(r#"{"a":"b"}"#)),
        refused("M17-metadata-number", metadata(r#"{"a":1}"#), "a text"),
        refused("M17-metadata-list", metadata("[]"), "__metadata__: '{' expected"),
        refused(
            "M17-metadata-twice",
            file(r#"{"__metadata__":{},"__metadata__":{}}"#, b""),
            "__metadata__ stands twice",
        ),
        refused("M17-metadata-key-twice", metadata(r#"{"a":"b","a":"b"}"#), "a key stands twice"),
        read("M18-misaligned", misaligned()),
    ]
}

/// Its floats start at an odd byte.
fn misaligned() -> Vec<u8> {
    let header = format!(
        "{{{},{}}}",
        tensor("x", "F32", "[2]", "[0,8]"),
        tensor("y", "F64", "[1]", "[8,16]")
    );
    let header = format!("{header}{}", " ".repeat(usize::from(header.len() % 2 == 0)));
    let payload =
        [&1.5f32.to_le_bytes()[..], &(-2f32).to_le_bytes(), &1e300f64.to_le_bytes()].concat();
    file(header, &payload)
}

/// The elements' bytes; of halves none.
fn bytes_of(x: &Tensor) -> Option<Vec<u8>> {
    macro_rules! bytes {
        ($($dtype:ident $t:ty),*) => {
            match x.dtype() {
                $(DType::$dtype => {
                    let list = x.to_vec::<$t>().unwrap();
                    Some(list.iter().flat_map(|x| x.to_le_bytes()).collect())
                })*
                DType::Bool => Some(x.to_vec::<bool>().unwrap().into_iter().map(u8::from).collect()),
                _ => None,
            }
        };
    }
    bytes!(U8 u8, I8 i8, I32 i32, I64 i64, F32 f32, F64 f64)
}

/// What our reader takes the `safetensors` crate takes, too, and finds the same in it.
pub(crate) fn agree(bytes: &[u8]) {
    let ours = parse_safetensors(bytes).unwrap();
    let theirs = SafeTensors::deserialize(bytes).unwrap();
    assert_eq!(ours.len(), theirs.len());
    for (name, view) in theirs.iter() {
        let x = &ours[name];
        assert_eq!(x.shape(), view.shape(), "{name:?}");
        let same = format!("{:?}", view.dtype()).eq_ignore_ascii_case(&format!("{:?}", x.dtype()));
        assert!(same, "{name:?}: {:?}, {:?}", x.dtype(), view.dtype());
        if let Some(bytes) = bytes_of(x) {
            assert_eq!(bytes, view.data(), "{name:?}");
        }
    }
}

pub(crate) fn cases() -> Vec<Case> {
    [header_cases(), place_cases(), kind_cases()].into_iter().flatten().collect()
}

#[test]
fn what_is_read_is_right() {
    let folder = Folder::new("st-right");
    let path = folder.path("x.safetensors");
    std::fs::write(&path, misaligned()).unwrap();
    let readers =
        [parse_safetensors(&misaligned()), load_safetensors(&path), map_safetensors(&path)];
    for read in readers {
        let read = read.unwrap();
        assert_eq!(read["x"].to_vec::<f32>().unwrap(), [1.5, -2.0]);
        assert_eq!(read["y"].to_vec::<f64>().unwrap(), [1e300]);
    }
    let read = parse_safetensors(&good()).unwrap();
    let shapes: Vec<_> =
        read.iter().map(|(name, x)| (name.as_str(), x.shape(), x.dtype())).collect();
    let expected = [
        ("a", &[2, 3][..], DType::F32),
        ("b\u{e4}\u{1f600}", &[], DType::I64),
        ("c", &[0, 7], DType::Bool),
        ("d", &[1], DType::BF16),
    ];
    assert_eq!(shapes, expected);
    assert_eq!(
        read["b\u{e4}\u{1f600}"].item::<i64>().unwrap(),
        i64::from_le_bytes([24, 25, 26, 27, 28, 29, 30, 31])
    );
}

#[test]
fn metadata_comes_back() {
    let folder = Folder::new("st-metadata");
    let path = folder.path("x.safetensors");
    let metadata: BTreeMap<String, String> = [("format", "pt"), ("\u{fc} \"", "\n\u{1f600}\\")]
        .map(|(k, v)| (k.into(), v.into()))
        .into();
    let x = Tensor::from([1f32, 2.]);
    save_safetensors_with(&path, [("x".to_string(), &x)], &metadata).unwrap();
    assert_eq!(safetensors_metadata(&path).unwrap(), metadata);
    assert_eq!(load_safetensors(&path).unwrap()["x"].to_vec::<f32>().unwrap(), [1., 2.]);
    save_safetensors(&path, [("x".to_string(), &x)]).unwrap();
    assert!(safetensors_metadata(&path).unwrap().is_empty());
}

#[test]
fn names_that_can_not_be_written_are_refused() {
    let folder = Folder::new("st-names");
    let path = folder.path("x.safetensors");
    let x = Tensor::from(1f32);
    for names in [["a", "a"], ["a", "__metadata__"]] {
        let tensors = names.map(|name| (name.to_string(), &x));
        let message = save_safetensors(&path, tensors).unwrap_err().to_string();
        assert!(
            message.contains("the name is taken") && message.starts_with(path.to_str().unwrap()),
            "{message}"
        );
        assert!(!path.exists());
    }
}

#[test]
fn a_mapped_file_is_not_copied() {
    let folder = Folder::new("st-map");
    let path = folder.path("x.safetensors");
    let x =
        Tensor::arange(0., 1., 1 << 20, DType::F32).unwrap().reshape([1 << 10, 1 << 10]).unwrap();
    let y = Tensor::from([true, false]);
    save_safetensors(&path, [("x".to_string(), &x), ("y".to_string(), &y)]).unwrap();
    let mapped = map_safetensors(&path).unwrap();
    // The file may go, and another may take its place: the map holds on to the old one.
    save_safetensors(&path, [("z".to_string(), &y)]).unwrap();
    std::fs::remove_file(&path).unwrap();
    let (map, live) = (&mapped["x"], Device::cpu().memory_stats().live);
    assert_eq!(map.to_vec::<f32>().unwrap(), x.to_vec::<f32>().unwrap());
    assert_eq!(mapped["y"].to_vec::<bool>().unwrap(), [true, false]);
    // Views, products and sums of it are ordinary tensors.
    let (a, b) = (map.t().matmul(map).unwrap(), x.t().matmul(&x).unwrap());
    assert_eq!(a.to_vec::<f32>().unwrap(), b.to_vec::<f32>().unwrap());
    assert_eq!(
        map.narrow(0, 3, 1).unwrap().sum(..).unwrap().to_f64().unwrap(),
        x.narrow(0, 3, 1).unwrap().sum(..).unwrap().to_f64().unwrap()
    );
    drop((a, b));
    let mut own = map.clone();
    drop(mapped);
    own = own.add(1.0).unwrap().relu().unwrap();
    assert_eq!(own.i((0, 0)).unwrap().item::<f32>().unwrap(), 1.0);
    drop(own);
    assert!(Device::cpu().memory_stats().live <= live, "the map is no memory of the pool's");
}
