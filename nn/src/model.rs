//! What every module can do as a whole: count, freeze, move, save, describe itself.

use std::collections::BTreeMap;

use ferrotape_tensor::{DType, Device, Error, ErrorKind, Result, Tensor};

use crate::module::{Module, Param};
use crate::state::{self, each, each_mut, is_under};
use crate::summary::Summary;

/// Where [`ModuleExt::to`] brings a model: a device or a float type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// Onto this device.
    Device(Device),
    /// To this type.
    DType(DType),
}

impl From<Device> for Placement {
    fn from(device: Device) -> Self {
        Placement::Device(device)
    }
}

impl From<DType> for Placement {
    fn from(dtype: DType) -> Self {
        Placement::DType(dtype)
    }
}

/// Methods of every [`Module`], PyTorch's names.
///
/// ```
/// use ferrotape_nn::{Linear, ModuleExt, ReLU, Sequential};
/// use ferrotape_tensor::{DType, Generator};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let mut rng = Generator::new(0);
/// let mut net = Sequential::new().then(Linear::new(4, 8, &mut rng)?).then(ReLU).then(Linear::new(8, 1, &mut rng)?);
/// assert_eq!(net.num_parameters(), 49);
/// assert_eq!(net.freeze("0")?, 2);
/// assert_eq!(net.num_trainable_parameters(), 9);
/// net.to(DType::F64)?;
/// println!("{}", net.summary());
/// # Ok(()) }
/// ```
pub trait ModuleExt: Module {
    /// Number of elements in all parameters; tied ones count once.
    fn num_parameters(&self) -> usize {
        state::parameter_count(self)
    }

    /// Number of elements in all parameters that are not frozen; tied ones count once.
    fn num_trainable_parameters(&self) -> usize {
        let mut by_id = BTreeMap::new();
        let mut add = |param: &Param| {
            if param.trainable {
                by_id.insert(param.id(), param.len());
            }
        };
        each(self, |_, param| add(param), |_, _| {});
        by_id.values().sum()
    }

    /// Freezes the parameter of this path, or all of the module of this path (`""`: of the whole model): they are neither watched
    /// nor updated. Returns how many.
    ///
    /// # Errors
    /// A path that leads to no parameter.
    fn freeze(&mut self, path: &str) -> Result<usize> {
        set_trainable(self, path, false)
    }

    /// Undoes [`freeze`](Self::freeze).
    ///
    /// # Errors
    /// A path that leads to no parameter.
    fn unfreeze(&mut self, path: &str) -> Result<usize> {
        set_trainable(self, path, true)
    }

    /// Brings all parameters and buffers to a device or a float type; integer buffers keep their type, tied parameters stay
    /// tied. Gradients taken before no longer fit; an optimizer that has state follows by its
    /// [`to_dtype`](crate::Optimizer::to_dtype), or says at the next step what does not fit.
    ///
    /// # Errors
    /// No float type; memory over the limit. Then nothing has changed.
    fn to(&mut self, place: impl Into<Placement>) -> Result<()> {
        match place.into() {
            Placement::DType(dtype) => state::to_dtype(self, dtype),
            Placement::Device(device) => state::to_device(self, device),
        }
    }

    /// Parameters and buffers by name; see [`state_dict`](crate::state_dict).
    fn state_dict(&self) -> BTreeMap<String, Tensor> {
        state::state_dict(self)
    }

    /// Takes the values of a state dict; see [`load_state_dict`](crate::load_state_dict).
    ///
    /// # Errors
    /// As there.
    fn load_state_dict(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        state::load_state_dict(self, state)
    }

    /// A table of the modules: path, type, parameters, bytes.
    fn summary(&self) -> Summary {
        Summary::of(self)
    }

    /// As [`summary`](Self::summary), with the shapes that the modules with parameters give in `forward`.
    ///
    /// ```
    /// use ferrotape_nn::{Ctx, Forward, Linear, ModuleExt, ReLU, Sequential};
    /// use ferrotape_tensor::{DType, Generator, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let mut rng = Generator::new(0);
    /// let net = Sequential::new().then(Linear::new(4, 8, &mut rng)?).then(ReLU);
    /// let x = Tensor::zeros([2, 4], DType::F32)?;
    /// let summary = net.summary_with(|net| net.forward(&x, &mut Ctx::eval()))?;
    /// assert_eq!(summary.rows()[0].output.as_deref(), Some(&[2, 8][..]));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What `forward` fails with.
    fn summary_with(&self, forward: impl FnOnce(&Self) -> Result<Tensor>) -> Result<Summary> {
        Summary::watching(self, forward)
    }
}

impl<M: Module + ?Sized> ModuleExt for M {}

fn set_trainable<M: Module + ?Sized>(
    model: &mut M,
    prefix: &str,
    trainable: bool,
) -> Result<usize> {
    let mut count = 0;
    let set = |path: &str, param: &mut Param| {
        if is_under(path, prefix) {
            param.trainable = trainable;
            count += 1;
        }
    };
    each_mut(model, set, |_, _| {});
    if count == 0 {
        let what = if trainable { "unfreeze" } else { "freeze" };
        return refuse(format!("{what}: {prefix:?} leads to no parameter of this model"));
    }
    Ok(count)
}

fn refuse<T>(message: String) -> Result<T> {
    Err(Error::new(ErrorKind::Module(message)))
}
