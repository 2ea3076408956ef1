//! Safetensors: what is written comes back, PyTorch's files load, broken ones are errors that name the file, and a failed save
//! leaves nothing behind. State dicts load whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ferrotape::io::{load_safetensors, parse_safetensors, save_safetensors};
use ferrotape::nn::{load_state_dict, state_dict};
use ferrotape::prelude::*;
use ferrotape::{bf16, f16};

/// A folder of this test's own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("ferrotape-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }
    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn same(a: &Tensor, b: &Tensor) -> bool {
    let bits = |x: &Tensor| match x.dtype() {
        DType::F32 => x.to_vec::<f32>().unwrap().iter().map(|x| u64::from(x.to_bits())).collect(),
        DType::F64 => x.to_vec::<f64>().unwrap().iter().map(|x| x.to_bits()).collect(),
        DType::I64 => x.to_vec::<i64>().unwrap().iter().map(|&x| x as u64).collect(),
        DType::F16 => x.to_vec::<f16>().unwrap().iter().map(|x| u64::from(x.to_bits())).collect(),
        DType::BF16 => x.to_vec::<bf16>().unwrap().iter().map(|x| u64::from(x.to_bits())).collect(),
        DType::I32 => x.to_vec::<i32>().unwrap().iter().map(|&x| x as u64).collect(),
        DType::I8 => x.to_vec::<i8>().unwrap().iter().map(|&x| x as u64).collect(),
        DType::U8 => x.to_vec::<u8>().unwrap().iter().map(|&x| u64::from(x)).collect(),
        _ => x.to_vec::<bool>().unwrap().iter().map(|&x| u64::from(x)).collect::<Vec<u64>>(),
    };
    a.meta() == b.meta() && bits(a) == bits(b)
}

/// The tensors of `tests/data/safetensors/make.py`, and views that lie askew.
fn tensors() -> BTreeMap<String, Tensor> {
    let m = Tensor::arange(0., 0.5, 6, DType::F32).reshape([2, 3]).unwrap();
    let named = [
        ("bool", Tensor::from([true, false, true])),
        ("u8", Tensor::from([0u8, 255])),
        ("i8", Tensor::from([-128i8, 127])),
        ("i32", Tensor::from([i32::MIN, i32::MAX])),
        ("i64", Tensor::from([i64::MIN, -1, i64::MAX])),
        ("f16", Tensor::from([65504.0, f64::NEG_INFINITY, 2f64.powi(-24)].map(f16::from_f64))),
        ("bf16", Tensor::from([1e38, -0.0, 0.1].map(bf16::from_f64))),
        ("f32", Tensor::from([[1.5f32, f32::NAN], [f32::NEG_INFINITY, -0.0]])),
        ("f64", Tensor::from([1e-300, std::f64::consts::PI])),
        ("scalar", Tensor::from(2.5f32)),
        ("empty", Tensor::zeros([2, 0, 3], DType::F64).unwrap()),
        ("layer.0.weight", m.t().unwrap()),
        ("name with spaces, \u{fc}ml\u{e4}ut", m.flip(1).unwrap()),
        ("expanded", Tensor::from([[1i64], [2]]).expand([2, 3]).unwrap()),
        ("narrow", m.narrow(1, 1, 2).unwrap()),
    ];
    named.map(|(name, tensor)| (name.to_string(), tensor)).into()
}

fn save(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    save_safetensors(path, tensors.iter().map(|(name, tensor)| (name.clone(), tensor)))
}

fn assert_same(found: &BTreeMap<String, Tensor>, expected: &BTreeMap<String, Tensor>) {
    assert!(found.keys().eq(expected.keys()), "{:?}", found.keys());
    for (name, tensor) in expected {
        assert!(same(&found[name], tensor), "{name}: {} for {tensor}", found[name]);
    }
}

#[test]
fn everything_comes_back() {
    let folder = Folder::new("roundtrip");
    let path = folder.file("all.safetensors");
    save(&path, &tensors()).unwrap();
    assert_same(&load_safetensors(&path).unwrap(), &tensors());
    // Over an older file, and with nothing in it.
    save(&path, &BTreeMap::new()).unwrap();
    assert!(load_safetensors(&path).unwrap().is_empty());
    assert_eq!(folder.names(), ["all.safetensors"]);
}

#[test]
fn a_file_of_the_python_package_loads() {
    let bytes = include_bytes!("../data/safetensors/python.safetensors");
    assert_same(&parse_safetensors(bytes).unwrap(), &tensors());
}

#[test]
fn broken_files_are_errors_that_name_the_file() {
    let folder = Folder::new("broken");
    let (good, bad) = (folder.file("good.safetensors"), folder.file("bad.safetensors"));
    save(&good, &tensors()).unwrap();
    let bytes = fs::read(&good).unwrap();
    let lying = {
        let header = r#"{"x":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,4]}}"#;
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(&[0; 4]);
        file
    };
    let unknown = include_bytes!("../data/safetensors/unsupported.safetensors");
    let mut broken: Vec<Vec<u8>> =
        [0, 1, 7, 8, 9, 100, bytes.len() - 1].map(|n| bytes[..n].to_vec()).into();
    broken.extend([vec![0xff; 64], vec![0; 64], lying, unknown.to_vec()]);
    for (i, contents) in broken.iter().enumerate() {
        fs::write(&bad, contents).unwrap();
        let message = load_safetensors(&bad).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}: ", bad.display())), "{i}: {message}");
        assert!(message.len() > bad.display().to_string().len() + 5, "{i}: {message}");
    }
    let message = load_safetensors(&bad).unwrap_err().to_string();
    assert!(
        message
            .contains("tensor \"h\": header at byte 27: dtype: elements of U16 are not supported"),
        "{message}"
    );
    let missing = load_safetensors(folder.file("missing")).unwrap_err().to_string();
    assert!(missing.contains("missing: "), "{missing}");
}

#[test]
fn every_single_broken_byte_of_the_header_is_survived() {
    let folder = Folder::new("bytes");
    let path = folder.file("x.safetensors");
    save(&path, &tensors()).unwrap();
    let bytes = fs::read(&path).unwrap();
    let mut refused = 0;
    for place in 0..400 {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[place] ^= flip;
            refused += usize::from(parse_safetensors(&bytes).is_err());
        }
    }
    assert!(refused > 800, "{refused} of 1200");
}

#[test]
fn a_failed_save_leaves_nothing() {
    let folder = Folder::new("failed");
    let missing = folder.file("no-such-folder").join("x.safetensors");
    let message = save(&missing, &tensors()).unwrap_err().to_string();
    assert!(message.starts_with(&missing.display().to_string()), "{message}");
    assert!(folder.names().is_empty());
    // A folder stands where the file should: the rename fails after the data were written.
    let taken = folder.file("taken");
    fs::create_dir_all(taken.join("inside")).unwrap();
    assert!(save(&taken, &tensors()).is_err());
    assert_eq!(folder.names(), ["taken"]);
    assert!(save(Path::new(""), &tensors()).is_err());
}

fn model() -> Sequential {
    let mut rng = Generator::new(1);
    let linear = |inputs, outputs, rng: &mut Generator| Linear::new(inputs, outputs, rng).unwrap();
    Sequential::new().then(linear(2, 3, &mut rng)).then(linear(3, 1, &mut rng))
}

#[test]
fn a_state_dict_loads_whole() {
    let folder = Folder::new("state");
    let path = folder.file("model.safetensors");
    let mut fresh = model();
    let state = state_dict(&fresh);
    let doubled: BTreeMap<String, Tensor> =
        state.iter().map(|(name, x)| (name.clone(), x.mul(2.0).unwrap())).collect();
    save(&path, &doubled).unwrap();
    load_state_dict(&mut fresh, &load_safetensors(&path).unwrap()).unwrap();
    assert_same(&state_dict(&fresh), &doubled);
}

#[test]
fn a_state_dict_that_does_not_fit_is_told_in_full() {
    let mut target = model();
    let before = state_dict(&target);
    let names: Vec<String> = before.keys().cloned().collect();
    assert_eq!(names, ["0.bias", "0.weight", "1.bias", "1.weight"]);
    let mut state = before.clone();
    state.remove("0.bias");
    state.remove("1.bias");
    state.insert("0.weight".into(), Tensor::zeros([3, 3], DType::F32).unwrap());
    state.insert("1.weight".into(), Tensor::zeros([1, 3], DType::F64).unwrap());
    state.insert("head.weight".into(), Tensor::from(0f32));
    state.insert("other".into(), Tensor::from(0f32));
    let message = load_state_dict(&mut target, &state).unwrap_err().to_string();
    let expected = "load_state_dict: missing: 0.bias, 1.bias; unexpected: head.weight, other; \
        mismatched: 0.weight ([3, 3] f32 for [3, 2] f32), 1.weight ([1, 3] f64 for [1, 3] f32)";
    assert!(message.starts_with(expected), "{message}");
    assert_same(&state_dict(&target), &before);
}
