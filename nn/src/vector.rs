//! Parameters as one vector: PyTorch's `nn.utils.parameters_to_vector`.

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
