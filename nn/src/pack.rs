//! Sequences of different lengths in one tensor: PyTorch's `nn.utils.rnn`.

use ferrotape_tensor::{Error, ErrorKind, Result, Tensor};

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
        let rest = Tensor::zeros(rest, sequence)?;
        let rest = if padding_value == 0.0 { rest } else { rest.add(padding_value)? };
        Tensor::cat(&[sequence, &rest.to_dtype(sequence.dtype())?], 0)
    });
    let filled = filled.collect::<Result<Vec<Tensor>>>()?;
    Tensor::stack(&filled.iter().collect::<Vec<_>>(), if batch_first { 0 } else { 1 })
}

fn refuse<T>(message: String) -> Result<T> {
    Err(Error::new(ErrorKind::Module(message)))
}
