//! int8 networks as files: safetensors with codes, scales and zero points, and in the metadata what the layers are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use ferrotape_tensor::io::{load_safetensors, safetensors_metadata, save_safetensors_with};
use ferrotape_tensor::{
    Conv2dOp, DType, Encoding, Error, ErrorKind, Int8RecurrentWeights, RecurrentCell, Result,
    SequenceOp, Tensor,
};

use super::config::QuantMode;
use super::layer::{Layer, LayerWeight, Taken};
use super::model::{Quantized, empty};
use super::plan::{Join, Plan};
use super::recurrent::RecurrentLayer;
use super::weights::{LayerOp, Seen};
use crate::module::Module;
use crate::state::{load_state_dict, parameters, state_dict};

/// The metadata's entry: the number of this layout, then a line for each fact. One entry, for the order of several is not defined.
const WHAT: &str = "ferrotape.quantized";
const VERSION: &str = "version 1";

/// A field of a line that is not what it should be.
type Field<T> = std::result::Result<T, String>;

impl<M: Module> Quantized<M> {
    /// Writes a safetensors file: of each int8 layer `path` (i8 codes, outputs first), `path.scale`, `path.zero_point` (if any is not 0) and
    /// `name.folded_bias`, all other parameters and buffers as they are. It is there whole or not at all.
    ///
    /// # Errors
    /// The file system's, with the path.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut tensors = state_dict(&self.model);
        tensors.retain(|path, _| !self.hollow.contains(path));
        let mut lines = vec![VERSION.to_string()];
        lines.extend(self.hollow.iter().map(|path| format!("hollow\t{path}")));
        for layer in &self.plan.layers {
            let LayerWeight { shape, scale, zero, packed } = &*layer.weight;
            let path = codes_name(&layer.path, &self.hollow);
            tensors.insert(format!("{path}.scale"), vector(scale)?);
            if zero.iter().any(|zero| *zero != 0) {
                tensors.insert(format!("{path}.zero_point"), vector(zero)?);
            }
            if !layer.bias.is_empty() {
                tensors.insert(format!("{}.folded_bias", layer.name), vector(&layer.bias)?);
            }
            tensors.insert(path, packed.codes(shape)?);
            lines.push(line(layer));
        }
        for layer in &self.plan.recurrent {
            for (i, codes) in layer.int8.codes()?.into_iter().enumerate() {
                let path = codes_name(&layer.paths[i], &self.hollow);
                tensors.insert(format!("{path}.scale"), vector(&layer.scales[i])?);
                if !layer.biases[i].is_empty() {
                    tensors.insert(format!("{path}.bias"), vector(&layer.biases[i])?);
                }
                tensors.insert(path, codes);
            }
            lines.push(recurrent_line(layer));
        }
        for (key, Join { to, relu }) in &self.plan.joins {
            lines.push(["join", key, &encoding_text(Some(*to)), &relu.to_string()].join("\t"));
        }
        let metadata = BTreeMap::from([(WHAT.to_string(), lines.join("\n"))]);
        save_safetensors_with(path, tensors.iter().map(|(name, t)| (name.clone(), t)), &metadata)
    }

    /// Reads a file of [`save`](Self::save) into a model of the same form; its own numbers are replaced.
    ///
    /// # Errors
    /// The file system's; a file that is damaged, none of an int8 network, or a newer version's; names, shapes and types that don't fit the model, by
    /// name.
    pub fn load(path: impl AsRef<Path>, model: M) -> Result<Quantized<M>> {
        let file = path.as_ref();
        let metadata = safetensors_metadata(file)?;
        let tensors = load_safetensors(file)?;
        let wrong = |message: String| Error::new(ErrorKind::File { path: file.into(), message });
        read(&metadata, tensors, model).map_err(wrong)
    }
}

/// Codes stand under the weight's own name, unless its numbers are there too.
fn codes_name(path: &str, hollow: &BTreeSet<String>) -> String {
    match hollow.contains(path) {
        true => path.to_string(),
        false => format!("{path}.codes"),
    }
}

fn vector<T: ferrotape_tensor::Element>(numbers: &[T]) -> Result<Tensor> {
    Tensor::from_slice(numbers, [numbers.len()])
}

fn encoding_text(encoding: Option<Encoding>) -> String {
    match encoding {
        Some(Encoding { scale, zero_point, dtype }) => format!("{dtype} {scale:e} {zero_point}"),
        None => "f32".to_string(),
    }
}

fn line(layer: &Layer) -> String {
    let seen = match &layer.seen {
        Seen::Same => "same".to_string(),
        Seen::Transposed => "transposed".to_string(),
        Seen::Reshaped(shape) => format!("reshaped {}", sizes_text(shape)),
    };
    let op = match layer.op {
        LayerOp::Linear => "linear".to_string(),
        LayerOp::Matmul => "matmul".to_string(),
        LayerOp::Conv2d(Conv2dOp { stride, padding, dilation, groups }) => {
            let sizes = [stride[0], stride[1], padding[0], padding[1], dilation[0], dilation[1]];
            format!("conv2d {} {groups}", sizes_text(&sizes))
        }
    };
    let mode = match layer.mode {
        QuantMode::Static => "static",
        QuantMode::Dynamic => "dynamic",
        QuantMode::WeightsOnly => "weights",
    };
    let step = |step: &Taken| match step.number {
        Some(number) => format!("{} {number:e}", step.op),
        None => step.op.clone(),
    };
    let steps: Vec<String> = layer.steps.iter().map(step).collect();
    let (input, output) = (encoding_text(layer.input), encoding_text(layer.output));
    let relu = layer.relu.to_string();
    let fields = ["layer", &layer.name, &layer.path, &seen, &op, mode, &relu, &input];
    let fields = fields.into_iter().chain([output.as_str()]).map(str::to_string);
    fields.chain(steps).collect::<Vec<String>>().join("\t")
}

fn recurrent_line(layer: &RecurrentLayer) -> String {
    let SequenceOp { cell, reverse, bias, lengths, .. } = layer.settings;
    let cell = match cell {
        RecurrentCell::Lstm => "lstm",
        RecurrentCell::Gru => "gru",
        RecurrentCell::RnnTanh => "rnn_tanh",
        _ => "rnn_relu",
    };
    let [of_input, of_state] = &layer.paths;
    let flags = [reverse, bias, lengths].map(|flag| flag.to_string()).join(" ");
    ["recurrent", &layer.name, of_input, of_state, cell, &flags].join("\t")
}

fn sizes_text(sizes: &[usize]) -> String {
    sizes.iter().map(usize::to_string).collect::<Vec<String>>().join(" ")
}

fn numbers<T: std::str::FromStr>(text: &str) -> Field<Vec<T>> {
    let number = |word: &str| word.parse().map_err(|_| format!("{word:?} is no number here"));
    text.split(' ').filter(|word| !word.is_empty()).map(number).collect()
}

fn truth(text: &str) -> Field<bool> {
    text.parse().map_err(|_| format!("{text:?}: true or false expected"))
}

fn encoding(text: &str) -> Field<Option<Encoding>> {
    let words: Vec<&str> = text.split(' ').collect();
    let wrong = || format!("{text:?} is no encoding");
    let dtype = match words.first() {
        Some(&"f32") if words.len() == 1 => return Ok(None),
        Some(&"u8") => DType::U8,
        Some(&"i8") => DType::I8,
        _ => return Err(wrong()),
    };
    let [_, scale, zero] = words[..] else { return Err(wrong()) };
    let scale = scale.parse::<f32>().map_err(|_| wrong())?;
    let zero = zero.parse::<i32>().map_err(|_| wrong())?;
    Encoding::new(scale, zero, dtype).map(Some).map_err(|error| error.to_string())
}

fn seen(text: &str) -> Field<Seen> {
    match text.split_once(' ') {
        None if text == "same" => Ok(Seen::Same),
        None if text == "transposed" => Ok(Seen::Transposed),
        Some(("reshaped", sizes)) => Ok(Seen::Reshaped(numbers(sizes)?)),
        _ => Err(format!("{text:?}: how a weight is seen")),
    }
}

fn layer_op(text: &str) -> Field<LayerOp> {
    match text.split_once(' ') {
        None if text == "linear" => Ok(LayerOp::Linear),
        None if text == "matmul" => Ok(LayerOp::Matmul),
        Some(("conv2d", sizes)) => match numbers::<usize>(sizes)?[..] {
            [a, b, c, d, e, f, groups] => {
                let (stride, padding, dilation) = ([a, b], [c, d], [e, f]);
                Ok(LayerOp::Conv2d(Conv2dOp { stride, padding, dilation, groups }))
            }
            _ => Err(format!("{text:?}: seven sizes expected")),
        },
        _ => Err(format!("{text:?} is no layer")),
    }
}

fn mode(text: &str) -> Field<QuantMode> {
    match text {
        "static" => Ok(QuantMode::Static),
        "dynamic" => Ok(QuantMode::Dynamic),
        "weights" => Ok(QuantMode::WeightsOnly),
        _ => Err(format!("{text:?} is no mode")),
    }
}

fn read<M: Module>(
    metadata: &BTreeMap<String, String>,
    mut tensors: BTreeMap<String, Tensor>,
    mut model: M,
) -> Field<Quantized<M>> {
    let told = |error: Error| error.to_string();
    let Some(text) = metadata.get(WHAT) else {
        return Err("this is no int8 network".to_string());
    };
    let mut lines = text.split('\n');
    match lines.next() {
        Some(VERSION) => {}
        other => {
            let other = other.unwrap_or("nothing");
            return Err(format!("{other:?} of int8 networks; {VERSION:?} is known"));
        }
    }
    let mut hollow = BTreeSet::new();
    let mut facts = Vec::new();
    for (i, line) in lines.enumerate() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            ["hollow", path] => {
                hollow.insert(path.to_string());
            }
            ["join" | "layer" | "recurrent", ..] => facts.push((i + 2, fields)),
            _ => return Err(format!("metadata, line {}: {line:?} is not known", i + 2)),
        }
    }
    let params: BTreeMap<String, Tensor> =
        parameters(&model).into_iter().map(|(path, p)| (path, p.tensor().clone())).collect();
    let (mut layers, mut recurrent, mut joins) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut packed: BTreeMap<String, Arc<LayerWeight>> = BTreeMap::new();
    for (at, fields) in &facts {
        let in_line = |what: String| format!("metadata, line {at}: {what}");
        match fields[..] {
            ["join", key, to, relu] => {
                let Some(to) = encoding(to).map_err(in_line)? else {
                    return Err(in_line("codes expected".to_string()));
                };
                joins.insert(key.to_string(), Join { to, relu: truth(relu).map_err(in_line)? });
            }
            ["layer", name, path, ref fields @ ..] => {
                let in_layer = |what: String| format!("layer {name}: {what}");
                let weight =
                    params.get(path).ok_or_else(|| in_layer(format!("no weight {path}")))?;
                let layer =
                    read_layer(name, path, fields, weight, &hollow, &mut tensors, &mut packed);
                layers.push(layer.map_err(in_layer)?);
            }
            ["recurrent", name, of_input, of_state, cell, flags] => {
                let in_layer = |what: String| format!("layer {name}: {what}");
                let settings = recurrent_settings(cell, flags).map_err(in_line)?;
                let of = |path: &str, tensors: &mut _| {
                    read_recurrent(path, settings.bias, &params, &hollow, tensors).map_err(in_layer)
                };
                let weights = [of(of_input, &mut tensors)?, of(of_state, &mut tensors)?];
                let paths = [of_input.to_string(), of_state.to_string()];
                let layer = RecurrentLayer::new(name.to_string(), paths, settings, weights);
                recurrent.push(layer.map_err(|error| in_layer(told(error)))?);
            }
            _ => return Err(in_line("fields are missing".to_string())),
        }
    }
    if layers.is_empty() && recurrent.is_empty() {
        return Err("no layers".to_string());
    }
    if let Some(path) = hollow.iter().find(|path| !params.contains_key(*path)) {
        return Err(format!("the model has no parameter {path}"));
    }
    // What is codes alone counts as there; all else must fit by name, shape and type.
    for path in &hollow {
        if let Some(own) = params.get(path) {
            tensors.insert(path.clone(), own.clone());
        }
    }
    load_state_dict(&mut model, &tensors).map_err(told)?;
    empty(&mut model, &hollow).map_err(told)?;
    let (plan, hollow) = (Arc::new(Plan { layers, recurrent, joins }), Arc::new(hollow));
    Ok(Quantized { model, plan, hollow })
}

#[allow(clippy::too_many_arguments)]
fn read_layer(
    name: &str,
    path: &str,
    fields: &[&str],
    weight: &Tensor,
    hollow: &BTreeSet<String>,
    tensors: &mut BTreeMap<String, Tensor>,
    packed: &mut BTreeMap<String, Arc<LayerWeight>>,
) -> Field<Layer> {
    let told = |error: Error| error.to_string();
    let [how, op, of, relu, input, output, steps @ ..] = fields else {
        return Err("eight fields expected".to_string());
    };
    let (how, op, of) = (seen(how)?, layer_op(op)?, mode(of)?);
    let (input, output) = (encoding(input)?, encoding(output)?);
    if input.is_none() && of == QuantMode::Static {
        return Err("a static layer needs codes of its input".to_string());
    }
    let taken = |text: &&str| match text.split_once(' ') {
        Some((op, number)) => match number.parse() {
            Ok(number) => Ok(Taken { op: op.to_string(), number: Some(number) }),
            Err(_) => Err(format!("{number:?} is no number")),
        },
        None => Ok(Taken { op: text.to_string(), number: None }),
    };
    let steps = steps.iter().map(taken).collect::<Field<Vec<Taken>>>()?;
    let weight = match packed.get(path) {
        Some(weight) => weight.clone(),
        None => {
            let at = codes_name(path, hollow);
            let mut take = |name: String, dtype: DType| match tensors.remove(&name) {
                Some(tensor) if tensor.dtype() == dtype => Ok(tensor),
                Some(other) => Err(format!("{name} is {}, {dtype} expected", other.dtype())),
                None => Err(format!("{name} is missing")),
            };
            let codes = take(at.clone(), DType::I8)?;
            let scale = take(format!("{at}.scale"), DType::F32)?.to_vec::<f32>().map_err(told)?;
            let zero = match take(format!("{at}.zero_point"), DType::I32) {
                Ok(zero) => zero.to_vec::<i32>().map_err(told)?,
                Err(missing) if missing.ends_with("is missing") => vec![0; scale.len()],
                Err(wrong) => return Err(wrong),
            };
            let own = how.of(weight).and_then(|seen| op.outputs_first(seen)).map_err(told)?;
            if weight.dtype() != DType::F32 || own.shape() != codes.shape() {
                let (own, dtype, codes) = (own.shape(), weight.dtype(), codes.shape());
                return Err(format!("{path}: codes {codes:?} for a weight {own:?} of {dtype}"));
            }
            if scale.len() != codes.shape()[0] || zero.len() != scale.len() {
                let (scales, zeros) = (scale.len(), zero.len());
                return Err(format!("{path}: {scales} scales and {zeros} zero points"));
            }
            let made = Arc::new(LayerWeight::new(op, &codes, scale, zero).map_err(told)?);
            packed.insert(path.to_string(), made.clone());
            made
        }
    };
    let bias = match tensors.remove(&format!("{name}.folded_bias")) {
        Some(bias) => bias.to_vec::<f32>().map_err(told)?,
        None => Vec::new(),
    };
    if !bias.is_empty() && bias.len() != weight.scale.len() {
        return Err(format!("a bias of {} for {} outputs", bias.len(), weight.scale.len()));
    }
    let (identity, relu) = ((path.to_string(), how, op), truth(relu)?);
    Ok(Layer::new(name.to_string(), identity, of, weight, bias, (steps, relu), [input, output]))
}

fn recurrent_settings(cell: &str, flags: &str) -> Field<SequenceOp> {
    let cell = match cell {
        "lstm" => RecurrentCell::Lstm,
        "gru" => RecurrentCell::Gru,
        "rnn_tanh" => RecurrentCell::RnnTanh,
        "rnn_relu" => RecurrentCell::RnnRelu,
        _ => return Err(format!("{cell:?} is no recurrent cell")),
    };
    let flags = flags.split(' ').map(truth).collect::<Field<Vec<bool>>>()?;
    let &[reverse, bias, lengths] = &flags[..] else {
        return Err("three flags expected".to_string());
    };
    Ok(SequenceOp { cell, reverse, state: false, bias, projection: false, lengths })
}

fn read_recurrent(
    path: &str,
    biased: bool,
    params: &BTreeMap<String, Tensor>,
    hollow: &BTreeSet<String>,
    tensors: &mut BTreeMap<String, Tensor>,
) -> Field<Int8RecurrentWeights> {
    let at = codes_name(path, hollow);
    let mut take = |name: String| tensors.remove(&name).ok_or(format!("{name} is missing"));
    let codes = take(at.clone())?;
    let numbers = |x: Tensor| x.to_vec::<f32>().map_err(|error| error.to_string());
    let scale = numbers(take(format!("{at}.scale"))?)?;
    let bias = if biased { numbers(take(format!("{at}.bias"))?)? } else { Vec::new() };
    match params.get(path) {
        Some(own) if own.shape() == codes.shape() && codes.dtype() == DType::I8 => {}
        Some(own) => {
            let (own, found, dtype) = (own.shape(), codes.shape(), codes.dtype());
            return Err(format!("{path}: codes {found:?} of {dtype} for a weight {own:?}"));
        }
        None => return Err(format!("no weight {path}")),
    }
    let rows = codes.shape().first().copied().unwrap_or(0);
    if scale.len() != rows || !(bias.is_empty() || bias.len() == rows) {
        let (scales, biases) = (scale.len(), bias.len());
        return Err(format!("{path}: {scales} scales and {biases} biases for {rows} rows"));
    }
    Ok(Int8RecurrentWeights { codes, scale, bias })
}
