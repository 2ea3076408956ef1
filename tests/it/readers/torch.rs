//! PyTorch's files: those that torch wrote read right, hostile ones are refused.

use std::collections::BTreeMap;

use ferrotape::io::{load_torch, parse_torch};
use ferrotape::nn::{Linear, load_state_dict};
use ferrotape::prelude::{DType, Generator, Tensor};

use super::Folder;
use super::hostile::{Case, read, refused};
use super::numpy::said;
use super::zipped::{self, archive, entry};

/// An archive of this pickle and of a storage `0` of four f32.
pub(crate) fn pt(pickle: &[u8]) -> Vec<u8> {
    let floats: Vec<u8> = [1f32, 2., 3., 4.].iter().flat_map(|x| x.to_le_bytes()).collect();
    archive(&[entry("a/data.pkl", pickle), entry("a/data/0", &floats)])
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

fn global(name: &str) -> Vec<u8> {
    let (module, name) = name.rsplit_once('.').unwrap();
    format!("c{module}\n{name}\n").into_bytes()
}

fn storage(kind: &str, key: &str, len: &[u8]) -> Vec<u8> {
    [b"(", &text("storage")[..], &global(kind), &text(key), &text("cpu"), len, b"tQ"].concat()
}

/// A tensor of the storage: offset, shape and strides as pickled.
fn tensor(offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let storage = storage("torch.FloatStorage", "0", b"K\x04");
    tensor_of(&storage, offset, shape, strides)
}

fn tensor_of(storage: &[u8], offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let hooks = [&global("collections.OrderedDict")[..], b")R"].concat();
    let rebuild = global("torch._utils._rebuild_tensor_v2");
    [&rebuild[..], b"(", storage, offset, shape, strides, b"\x89", &hooks, b"tR"].concat()
}

/// `{"x": value}`.
fn dict(value: &[u8]) -> Vec<u8> {
    pt(&[b"\x80\x02}", &text("x")[..], value, b"s."].concat())
}

pub(crate) fn good() -> Vec<u8> {
    include_bytes!("../../data/readers/state.pt").to_vec()
}

/// Lists in lists, each of them twice the one before: 2^64 values.
fn laughs() -> Vec<u8> {
    let mut pickle = b"\x80\x02K\x01q\x00".to_vec();
    for i in 0..63u8 {
        pickle.extend([b'h', i, b'h', i, 0x86, b'q', i + 1]);
    }
    // What was remembered stays on the stack: the last is taken and the rest put in a tuple with it.
    [b"\x80\x02(", &pickle[2..], b"t."].concat()
}

fn machine_cases() -> Vec<Case> {
    let pickle = |ops: &[u8]| pt(&[b"\x80\x02", ops].concat());
    let deep = |depth: usize| [&vec![b']'; depth][..], &vec![b'a'; depth - 1], b"."].concat();
    let circle = b"]q\x00h\x00a.".as_slice();
    let many: Vec<u8> = std::iter::repeat_n(b'N', 900_000).chain(*b".").collect();
    let memo = b"Nr\xff\xff\xff\xff.".as_slice();
    let huge = [b"(".as_slice(), &b"K\x01".repeat(300_000), b"t."].concat();
    vec![
        refused("P01-empty", pt(b""), "data.pkl: instruction at byte 0: the pickle ends too early"),
        refused("P01-no-stop", pickle(b"N"), "the pickle ends too early"),
        refused("P01-nothing", pickle(b"."), "nothing on the stack"),
        refused("P01-left", pickle(b"NN."), "left on the stack"),
        refused("P01-more", pickle(b"N.N"), "more follows the end"),
        refused("P01-mark", pickle(b"N(."), "nothing on the stack"),
        refused("P01-no-mark", pickle(b"t."), "no mark"),
        refused("P01-protocol", pt(b"\x80\x09N."), "protocol 9"),
        refused("P01-unknown", pickle(b"\xf0."), "0xf0 is not read"),
        refused("P01-obj", pickle(b"(cos\nsystem\no."), "\"os.system\" is not read"),
        refused("P01-inst", pickle(b"(ios\nsystem\n."), "0x69 is not read"),
        refused("P02-memo", pickle(memo), "memo place 4294967295 is too large"),
        refused("P02-recall", pickle(b"h\x07."), "memo place 7 is empty"),
        refused("P02-steps", pickle(&many), "more than 800000 instructions"),
        refused("P02-circle", pickle(circle), "deep in lists"),
        refused("P02-laughs", pt(&laughs()), "more than 50000 values"),
        refused("P02-wide", pickle(&huge), "more than 200000 values"),
        refused("P02-deep", pickle(&deep(100_000)), "deep in lists"),
        read("P02-less-deep", pickle(&deep(60))),
        refused("P02-long-text", pickle(b"X\xff\xff\xff\xff."), "ends too early"),
        refused("P02-text", pickle(b"X\x01\x00\x00\x00\xff."), "not UTF-8"),
        refused(
            "P02-long-number",
            pickle(&[&b"\x8a\xff"[..], &[1; 255], b"."].concat()),
            "beyond 64 bits",
        ),
        refused("P02-odd", pickle(b"}(Nu."), "a key without a value"),
        refused("P02-append", pickle(b"}Na."), "no list"),
        refused("P02-set", pickle(b"]NNs."), "no dictionary"),
        refused("P02-key", pickle(b"}NNs."), "a key that is neither"),
        refused(
            "P02-names-twice",
            pickle(&[b"}", &text("x")[..], b"K\x01s", &text("x"), b"K\x02s."].concat()),
            "stands twice",
        ),
        refused(
            "P03-system",
            include_bytes!("../../data/readers/evil.pt").as_slice(),
            ".system\" is not read",
        ),
        refused("P03-eval", pickle(b"cbuiltins\neval\n."), "\"builtins.eval\" is not read"),
        refused(
            "P03-eval-4",
            pt(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93."),
            "\"builtins.eval\" is not read",
        ),
        refused("P03-not-text", pickle(b"NN\x93."), "a name that is no text"),
        refused("P03-load", pickle(b"ctorch\nload\n."), "\"torch.load\" is not read"),
        refused(
            "P03-long-name",
            pickle(&[b"c".as_slice(), &[b'a'; 1000], b"\nb\n."].concat()),
            "a name without an end",
        ),
        refused("P03-global", pickle(b"ctorch\nFloatStorage\n."), "neither a tensor nor a number"),
        refused("P03-call", pickle(b"N)R."), "no function"),
        refused("P03-arguments", pickle(b"ccollections\nOrderedDict\nNR."), "no tuple"),
        refused(
            "P03-ordered",
            pickle(b"ccollections\nOrderedDict\nN\x85R."),
            "OrderedDict with 1 arguments",
        ),
        refused(
            "P03-call-storage",
            pickle(b"ctorch\nFloatStorage\n)R."),
            "Storage(F32) with 0 arguments",
        ),
        refused("P03-build", pickle(b"]Nb."), "a state for what is no dictionary"),
        refused(
            "P04-model",
            include_bytes!("../../data/readers/model.pt").as_slice(),
            "\"torch.nn.modules.linear.Linear\" is not read",
        ),
        refused(
            "P04-legacy",
            include_bytes!("../../data/readers/legacy.pt").as_slice(),
            "PyTorch's format of before 1.6",
        ),
        refused(
            "P04-i16",
            include_bytes!("../../data/readers/unsupported.pt").as_slice(),
            "\"torch.ShortStorage\" is not read",
        ),
        refused("P04-no-pickle", archive(&[entry("a/data.pk", b"N.")]), "data.pkl: not one member"),
        refused(
            "P04-two-pickles",
            archive(&[entry("a/data.pkl", b"N."), entry("b/data.pkl", b"N.")]),
            "data.pkl: not one member",
        ),
        refused(
            "P04-order",
            archive(&[entry("a/data.pkl", b"N."), entry("a/byteorder", b"middle")]),
            "byteorder",
        ),
        refused(
            "P04-order-long",
            archive(&[entry("a/data.pkl", b"N."), entry("a/byteorder", &[b'l'; 17])]),
            "at most 16",
        ),
        refused(
            "P04-large-pickle",
            archive(&[entry("a/data.pkl", &vec![0; 17 << 20])]),
            "at most 16777216",
        ),
    ]
}

fn tensor_cases() -> Vec<Case> {
    let shape = |sizes: &[u8]| {
        [b"(".as_slice(), &sizes.iter().flat_map(|&s| [b'K', s]).collect::<Vec<_>>(), b"t"].concat()
    };
    let of = |offset: &[u8], sizes: &[u8], strides: &[u8]| {
        dict(&tensor(offset, &shape(sizes), &shape(strides)))
    };
    let held = |storage: &[u8]| dict(&tensor_of(storage, b"K\x00", b"K\x01\x85", b"K\x01\x85"));
    let max = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
    let huge = [&b"("[..], max, max, b"t"].concat();
    let two = [&storage("torch.FloatStorage", "0", b"K\x04")[..], b"0"].concat();
    vec![
        read("P05-good", of(b"K\x00", &[2, 2], &[2, 1])),
        read("P05-expanded", of(b"K\x03", &[200, 2], &[0, 0])),
        read("P05-empty", of(b"K\x04", &[0, 2], &[2, 1])),
        refused(
            "P05-beyond",
            of(b"K\x01", &[2, 2], &[2, 1]),
            "tensor \"x\": offset 1, shape [2, 2] and strides [2, 1] go beyond a storage of 4 elements",
        ),
        refused("P05-stride", of(b"K\x00", &[2], &[4]), "go beyond a storage of 4"),
        refused("P05-empty-beyond", of(b"K\x05", &[0], &[1]), "go beyond a storage of 4"),
        refused(
            "P05-negative-offset",
            of(b"J\xff\xff\xff\xff", &[1], &[1]),
            "must be whole numbers",
        ),
        refused(
            "P05-negative-stride",
            dict(&tensor(b"K\x03", b"K\x02\x85", b"J\xff\xff\xff\xff\x85")),
            "must be whole numbers",
        ),
        refused("P05-ranks", of(b"K\x00", &[1, 1], &[1]), "must be whole numbers"),
        refused("P05-rank", of(b"K\x00", &[1; 65], &[1; 65]), "at most 64 dims"),
        refused("P05-overflow", dict(&tensor(b"K\x00", &huge, &huge)), "larger than memory"),
        refused(
            "P05-overflow-strides",
            dict(&tensor(b"K\x00", &shape(&[2, 2]), &huge)),
            "go beyond",
        ),
        refused(
            "P05-overflow-0",
            dict(&tensor(b"K\x00", &[&b"(K\x00"[..], max, max, b"t"].concat(), &shape(&[1, 1, 1]))),
            "larger than memory",
        ),
        refused(
            "P05-float",
            dict(&tensor(b"G\x00\x00\x00\x00\x00\x00\x00\x00", b"K\x01\x85", b"K\x01\x85")),
            "must be whole numbers",
        ),
        refused(
            "P06-length",
            held(&storage("torch.FloatStorage", "0", b"K\x05")),
            "tensor \"x\": data/0: 16 bytes for 5 elements of f32",
        ),
        refused(
            "P06-type",
            held(&storage("torch.DoubleStorage", "0", b"K\x04")),
            "data/0: 16 bytes for 4 elements of f64",
        ),
        refused(
            "P06-missing",
            held(&storage("torch.FloatStorage", "1", b"K\x04")),
            "data/1: no such member",
        ),
        refused(
            "P06-path",
            held(&storage("torch.FloatStorage", "../../x", b"K\x04")),
            "data/../../x: no such member",
        ),
        refused(
            "P06-negative",
            held(&storage("torch.FloatStorage", "0", b"J\xff\xff\xff\xff")),
            "not a storage",
        ),
        refused("P06-huge", held(&storage("torch.FloatStorage", "0", max)), "larger than memory"),
        refused("P06-no-type", held(b"(NNNNNtQ"), "not a storage"),
        refused("P06-no-tuple", held(b"NQ"), "not a storage"),
        refused(
            "P06-twice",
            held(
                &[b"(", &two[..two.len() - 1], &storage("torch.IntStorage", "0", b"K\x04"), b"tQ"]
                    .concat(),
            ),
            "stands twice with another type",
        ),
        refused("P06-no-storage", held(b"N"), "a tensor of what is no storage"),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = machine_cases();
    cases.extend(tensor_cases());
    cases.extend(zipped::cases("x/data.pkl", b"\x80\x02K\x01."));
    let good = good();
    let cuts =
        (0..good.len()).step_by(7).map(|cut| refused(format!("P07-cut-{cut}"), &good[..cut], ""));
    cases.extend(cuts);
    cases
}

fn expect(got: &BTreeMap<String, Tensor>, expected: &[(&str, Tensor)]) {
    let mut names: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert!(got.keys().eq(names), "{:?}", got.keys());
    for (name, x) in expected {
        assert_eq!(said(&got[*name]), said(x), "{name}");
    }
}

#[test]
fn a_state_dict_of_pytorch() {
    let got = parse_torch(&good()).unwrap();
    let base = Tensor::arange(0., 1., 12, DType::F32).unwrap().reshape([3, 4]).unwrap();
    let f16s = [65504.0, f64::NEG_INFINITY, 2f64.powi(-24)].map(ferrotape::f16::from_f64);
    let half = Tensor::arange(0., 0.5, 6, DType::F32).unwrap().reshape([2, 3]).unwrap();
    let expected = [
        ("bool", Tensor::from([true, false, true])),
        ("u8", Tensor::from([0u8, 255])),
        ("i8", Tensor::from([-128i8, 127])),
        ("i32", Tensor::from([i32::MIN, i32::MAX])),
        ("i64", Tensor::from([i64::MIN, -1, i64::MAX])),
        ("f16", Tensor::from(f16s)),
        ("bf16", Tensor::from([1e38, -0.0, 0.1].map(ferrotape::bf16::from_f64))),
        ("f32", half),
        ("f64", Tensor::from([1e-300, std::f64::consts::PI])),
        ("scalar", Tensor::from(2.5f32)),
        ("empty", Tensor::zeros([2, 0, 3], DType::F64).unwrap()),
        ("base", base.clone()),
        ("row", Tensor::from([4f32, 5., 6., 7.])),
        ("turned", base.t().unwrap()),
        ("expanded", Tensor::full([2, 3], 9.0, DType::F32).unwrap()),
        ("parameter", Tensor::from([1f32, 2.])),
    ];
    expect(&got, &expected);
    // Views of one storage still are.
    assert_eq!(got["row"].address(), got["base"].address() + 16);
    assert_eq!(got["turned"].address(), got["base"].address());
    assert_eq!(got["turned"].layout().strides(), [1, 4]);
    assert_eq!(got["expanded"].layout().strides()[1], 0);
}

#[test]
fn what_is_nested_gets_joined_names() {
    let got = parse_torch(include_bytes!("../../data/readers/nested.pt")).unwrap();
    let int = |x: i64| Tensor::from(x);
    let rest = [
        ("epoch", int(3)),
        ("lr", Tensor::from(0.5f64)),
        ("best", Tensor::from(true)),
        ("sizes.0", int(1)),
        ("sizes.1.0", int(2)),
        ("sizes.1.1", int(3)),
        ("size.0", int(4)),
        ("size.1", int(5)),
        ("7", int(8)),
        ("big", int(1 << 40)),
        ("minus", int(-5)),
    ];
    let (model, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        got.into_iter().partition(|(name, _)| name.starts_with("model."));
    expect(&others, &rest);
    let mut linear = Linear::new(2, 1, &mut Generator::new(0)).unwrap();
    let state =
        model.into_iter().map(|(name, x)| (name["model.".len()..].to_string(), x)).collect();
    load_state_dict(&mut linear, &state).unwrap();
    assert_eq!(said(linear.weight.tensor()), said(&state["weight"]));
}

#[test]
fn a_tensor_alone_and_an_optimizer() {
    let got = parse_torch(include_bytes!("../../data/readers/tensor.pt")).unwrap();
    expect(&got, &[("", Tensor::from([1i64, 2]))]);
    let got = parse_torch(include_bytes!("../../data/readers/adam.pt")).unwrap();
    assert_eq!(got["state.0.exp_avg"].shape(), [2, 2]);
    assert_eq!(got["param_groups.0.lr"].item::<f64>().unwrap(), 0.001);
    let folder = Folder::new("torch");
    let path = folder.path("x.pt");
    std::fs::write(&path, good()).unwrap();
    assert_eq!(load_torch(&path).unwrap().len(), 16);
}
