//! Files of int8 networks: M36 of each layer, and mutants of what a file says of its layers.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ferrotape::io::{load_safetensors, safetensors_metadata, save_safetensors_with};
use ferrotape::nn::quant::{QuantConfig, Quantized};
use ferrotape::prelude::*;

use super::Folder;
use super::mutants::{Random, mutate};
use crate::quant::{Net, batches, calibrated};

const WHAT: &str = "ferrotape.quantized";

/// A file's tensors and its lines.
struct File {
    tensors: BTreeMap<String, Tensor>,
    text: String,
}

impl File {
    fn write(&self, path: &Path) {
        let tensors = self.tensors.iter().map(|(name, x)| (name.clone(), x));
        let metadata = BTreeMap::from([(WHAT.to_string(), self.text.clone())]);
        save_safetensors_with(path, tensors, &metadata).unwrap();
    }
    fn with(&self, name: &str, x: Option<Tensor>) -> File {
        let mut tensors = self.tensors.clone();
        match x {
            Some(x) => tensors.insert(name.to_string(), x),
            None => tensors.remove(name),
        };
        File { tensors, text: self.text.clone() }
    }
}

/// A static network's file, with zero points.
fn good(path: &Path) -> File {
    let mut rng = Generator::new(3);
    let (net, seen) = (Net::new(&mut rng).unwrap(), batches(1, &mut rng));
    let config = QuantConfig::default();
    calibrated(&net, config, &seen).unwrap().convert(net).unwrap().save(path).unwrap();
    let tensors = load_safetensors(path).unwrap();
    File { tensors, text: safetensors_metadata(path).unwrap().remove(WHAT).unwrap() }
}

fn load(path: &Path) -> Result<Quantized<Net>> {
    Quantized::load(path, Net::new(&mut Generator::new(4))?)
}

#[test]
fn scales_and_zero_points_that_are_none_are_refused_by_name() {
    let folder = Folder::new("int8-m36");
    let path = folder.path("net.safetensors");
    let file = good(&path);
    assert!(load(&path).is_ok());
    let refused = |file: File, words: &[&str]| {
        file.write(&path);
        let said = load(&path).unwrap_err().to_string();
        let named = said.starts_with(&format!("{}: ", path.display()));
        assert!(named && words.iter().all(|words| said.contains(words)), "{said}");
    };
    let scales: Vec<&String> = file.tensors.keys().filter(|name| name.ends_with("scale")).collect();
    assert_eq!(scales.len(), 7);
    for name in scales {
        let layer = name.strip_suffix(".weight.scale").unwrap();
        let list = file.tensors[name].to_vec::<f32>().unwrap();
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-45] {
            let mut list = list.clone();
            *list.last_mut().unwrap() = bad;
            let n = list.len();
            refused(
                file.with(name, Some(Tensor::from_vec(list, [n]).unwrap())),
                &[&format!("layer {layer}: "), "scale"],
            );
        }
        let fewer = file.tensors[name].narrow(0, 0, list.len() - 1).unwrap();
        refused(file.with(name, Some(fewer)), &[&format!("layer {layer}: "), "scales"]);
        let wide = file.tensors[name].to_dtype(DType::F64).unwrap();
        refused(file.with(name, Some(wide)), &[name.as_str(), "f64, f32 expected"]);
        refused(file.with(name, None), &[name.as_str(), "is missing"]);

        let zero = format!("{layer}.weight.zero_point");
        for bad in [128, -129, i32::MAX, i32::MIN] {
            let zeros = Tensor::full([list.len()], f64::from(bad), DType::I32).unwrap();
            let words = [format!("layer {layer}: "), "zero point".to_string()];
            refused(file.with(&zero, Some(zeros)), &words.each_ref().map(String::as_str));
        }
        let zeros = Tensor::zeros([list.len() + 1], DType::I32).unwrap();
        refused(file.with(&zero, Some(zeros)), &[&format!("layer {layer}: "), "zero points"]);
        let codes = name.strip_suffix(".scale").unwrap();
        let other = file.tensors[codes].flatten(0, -1).unwrap();
        refused(file.with(codes, Some(other)), &[&format!("layer {layer}: "), "codes"]);
    }
    // Encodings of what lies between layers stand in the lines.
    let line = file.text.lines().find(|line| line.starts_with("layer")).unwrap().to_string();
    let input = line.split('\t').nth(7).unwrap();
    let words: Vec<&str> = input.split(' ').collect();
    for bad in ["0e0", "-1e0", "NaN", "inf", "1e-45", "1e99", "x", ""] {
        let line = line.replace(input, &[words[0], bad, words[2]].join(" "));
        let lines = [file.text.lines().next().unwrap(), &line].join("\n");
        refused(File { tensors: file.tensors.clone(), text: lines }, &["layer "]);
    }
    for bad in ["-129", "256", "1.5", "99999999999"] {
        let line = line.replace(input, &[words[0], words[1], bad].join(" "));
        let lines = [file.text.lines().next().unwrap(), &line].join("\n");
        refused(File { tensors: file.tensors.clone(), text: lines }, &["layer "]);
    }
    for text in ["", "version 2", "version 1", "version 1\nlayer", "version 1\nother\tx"] {
        refused(File { tensors: file.tensors.clone(), text: text.to_string() }, &[]);
    }
}

#[test]
fn no_mutant_panics() {
    let folder = Folder::new("int8-mutants");
    let path = folder.path("net.safetensors");
    let file = good(&path);
    let x = batches(1, &mut Generator::new(5)).remove(0);
    let names: Vec<&String> = file.tensors.keys().collect();
    let others = vec![file.text.clone().into_bytes(), b"\t0 1 f32\tu8 1e-3 128\ttrue\t".to_vec()];
    let mut accepted = 0;
    for number in 0..600 {
        let mut random = Random(number);
        let mut mutant = File { tensors: file.tensors.clone(), text: file.text.clone() };
        if number % 3 > 0 {
            let mut text = file.text.clone().into_bytes();
            mutate(&mut random, &mut text, &others);
            mutant.text = String::from_utf8_lossy(&text).into_owned();
        } else {
            let name = names[random.below(names.len())];
            let old = &file.tensors[name];
            let new = match random.below(5) {
                0 => None,
                1 => Some(old.flatten(0, -1).unwrap()),
                2 => Some(Tensor::zeros([0], old.dtype()).unwrap()),
                3 => Some(old.to_dtype(DType::F64).unwrap()),
                _ => Some(file.tensors[names[random.below(names.len())]].clone()),
            };
            mutant = mutant.with(name, new);
        }
        mutant.write(&path);
        let result = catch_unwind(AssertUnwindSafe(|| match load(&path) {
            Ok(net) => {
                accepted += 1;
                // Another network than the one that was saved, or an error; no panic.
                let _ = net.forward(&x);
            }
            Err(error) => assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}"),
        }));
        assert!(result.is_ok(), "mutant {number} panics: {}", mutant.text);
    }
    println!("int8 networks: 600 mutants, {accepted} accepted");
    assert!(accepted < 300, "the mutants are too tame");
}
