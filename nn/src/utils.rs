//! What `torch.nn.utils` has besides clipping: parameters as a vector, sequences of different lengths in one tensor.

use ferrotape_tensor::{Error, ErrorKind, Result, Tensor};

use crate::module::Module;
use crate::state::{each, each_mut};

fn refuse<T>(message: String) -> Result<T> {
    Err(Error::new(ErrorKind::Module(message)))
}

/// All parameters one behind the other, in the order of [`parameters`](crate::parameters): PyTorch's `parameters_to_vector`. They may be on a
/// tape.
///
/// # Errors
/// No parameters; parameters of different types; memory over the limit.
pub fn parameters_to_vector<M: Module + ?Sized>(model: &M) -> Result<Tensor> {
    let mut flat = Vec::new();
    each(model, |_, param| flat.push(param.reshape([param.len()])), |_, _| {});
    let flat = flat.into_iter().collect::<Result<Vec<Tensor>>>()?;
    Tensor::cat(&flat.iter().collect::<Vec<_>>(), 0)
}

/// Gives the parameters the values of a vector, in the order of [`parameters`](crate::parameters): PyTorch's `vector_to_parameters`. Tied ones
/// take their part each, and are tied no longer.
///
/// # Errors
/// A vector of another length or type; memory over the limit. Then nothing has changed.
pub fn vector_to_parameters<M: Module + ?Sized>(vector: &Tensor, model: &mut M) -> Result<()> {
    let (mut count, mut wrong) = (0, None);
    let mut shapes = Vec::new();
    each(
        &*model,
        |path, param| {
            shapes.push(param.shape().to_vec());
            count += param.len();
            if param.dtype() != vector.dtype() {
                wrong = Some(format!("{path} is {}, the vector {}", param.dtype(), vector.dtype()));
            }
        },
        |_, _| {},
    );
    if let Some(wrong) = wrong {
        return refuse(format!("vector_to_parameters: {wrong}"));
    }
    if vector.shape() != [count] {
        let shape = vector.shape();
        return refuse(format!("vector_to_parameters: {shape:?} for {count} elements"));
    }
    let (mut values, mut start) = (Vec::new(), 0);
    for shape in shapes {
        let len = shape.iter().product();
        values.push(vector.narrow(0, start, len)?.reshape(shape)?.detach()?.contiguous()?);
        start += len;
    }
    let mut values = values.into_iter();
    let set = |_: &str, param: &mut crate::module::Param| {
        if let Some(value) = values.next() {
            param.set(value);
        }
    };
    each_mut(model, set, |_, _| {});
    Ok(())
}

/// Sequences `[length, ..]` of different lengths in one tensor `[longest, n, ..]` (`[n, longest, ..]` if `batch_first`), filled up with a number:
/// PyTorch's `rnn.pad_sequence`, for [`LSTM::forward_packed`](crate::LSTM::forward_packed) and its relatives.
///
/// ```
/// use ferrotape_nn::pad_sequence;
/// use ferrotape_tensor::Tensor;
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let (a, b) = (Tensor::from([5i64, 6, 7]), Tensor::from([8i64]));
/// let batch = pad_sequence(&[&a, &b], true, 0.0)?;
/// assert_eq!((batch.shape(), batch.to_vec::<i64>()?), (&[2, 3][..], vec![5, 6, 7, 8, 0, 0]));
/// # Ok(()) }
/// ```
///
/// # Errors
/// No sequences, or some that differ in more than their lengths; memory over the limit.
pub fn pad_sequence(
    sequences: &[&Tensor],
    batch_first: bool,
    padding_value: f64,
) -> Result<Tensor> {
    let lengths = sequences.iter().map(|sequence| sequence.shape().first().copied());
    let Some(lengths) = lengths.collect::<Option<Vec<usize>>>() else {
        return refuse("pad_sequence: a sequence without dims".to_string());
    };
    let Some(&longest) = lengths.iter().max() else {
        return refuse("pad_sequence: no sequences".to_string());
    };
    let filled = sequences.iter().zip(lengths).map(|(&sequence, length)| {
        if length == longest {
            return Ok(sequence.clone());
        }
        let mut rest = sequence.shape().to_vec();
        if let Some(first) = rest.first_mut() {
            *first = longest - length;
        }
        let rest = Tensor::zeros(rest, sequence.dtype())?;
        let rest = if padding_value == 0.0 { rest } else { rest.add(padding_value)? };
        Tensor::cat(&[sequence, &rest.to_dtype(sequence.dtype())?], 0)
    });
    let filled = filled.collect::<Result<Vec<Tensor>>>()?;
    Tensor::stack(&filled.iter().collect::<Vec<_>>(), if batch_first { 0 } else { 1 })
}
