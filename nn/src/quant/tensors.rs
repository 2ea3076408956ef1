//! What a run of a network gives.

use std::collections::BTreeMap;

use ferrotape_tensor::{Result, Tensor};

/// What a run of a network may give: a tensor, numbers, nothing, or tuples, lists, maps and options of such. An int8 network makes numbers of
/// the tensors in it, which may be codes until then.
pub trait Tensors: Sized {
    /// The same with each tensor replaced.
    ///
    /// # Errors
    /// The first of `f`'s.
    fn map(self, f: &mut dyn FnMut(Tensor) -> Result<Tensor>) -> Result<Self>;
}

impl Tensors for Tensor {
    fn map(self, f: &mut dyn FnMut(Tensor) -> Result<Tensor>) -> Result<Self> {
        f(self)
    }
}

macro_rules! plain {
    ($($t:ty),*) => {$(
        impl Tensors for $t {
            fn map(self, _: &mut dyn FnMut(Tensor) -> Result<Tensor>) -> Result<Self> {
                Ok(self)
            }
        }
    )*};
}
plain!((), bool, f32, f64, i32, i64, u32, u64, usize, String);

impl<A: Tensors> Tensors for Option<A> {
    fn map(self, f: &mut dyn FnMut(Tensor) -> Result<Tensor>) -> Result<Self> {
        self.map(|a| a.map(f)).transpose()
    }
}

impl<A: Tensors> Tensors for Vec<A> {
    fn map(self, f: &mut dyn FnMut(Tensor) -> Result<Tensor>) -> Result<Self> {
        self.into_iter().map(|a| a.map(f)).collect()
    }
}

impl<K: Ord, A: Tensors> Tensors for BTreeMap<K, A> {
    fn map(self, f: &mut dyn FnMut(Tensor) -> Result<Tensor>) -> Result<Self> {
        self.into_iter().map(|(key, a)| Ok((key, a.map(f)?))).collect()
    }
}

macro_rules! tuple {
    ($($t:ident $n:tt),+) => {
        impl<$($t: Tensors),+> Tensors for ($($t,)+) {
            fn map(self, f: &mut dyn FnMut(Tensor) -> Result<Tensor>) -> Result<Self> {
                Ok(($(self.$n.map(f)?,)+))
            }
        }
    };
}
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
