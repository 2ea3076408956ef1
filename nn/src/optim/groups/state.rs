//! State of an optimizer by name: to a file and back, and to another type.

use std::collections::BTreeMap;

use ferrotape_tensor::{DType, Error, ErrorKind, Meta, Result, Tensor};

use super::{Groups, Slot};
use crate::module::Param;
use crate::optim::method::Method;

type Named = BTreeMap<String, Tensor>;

impl<M: Method> Groups<M> {
    pub(in crate::optim) fn state_dict(&self) -> Result<Named> {
        let mut named = Named::new();
        named.insert("lr".to_string(), Tensor::from(self.lr()));
        for group in &self.groups {
            let mut settings = group.settings;
            named.insert(format!("lr.{}", group.name), Tensor::from(*settings.rate()));
        }
        for slot in self.slots.iter().filter(|slot| slot.count > 0) {
            let key = |name: &str| format!("state.{}.{name}", slot.path);
            let count = i64::try_from(slot.count).unwrap_or(i64::MAX);
            named.insert(key("step"), Tensor::from(count));
            if let Some(name) = M::PRODUCT {
                named.insert(key(name), Tensor::from(slot.product));
            }
            for (name, state) in M::STATES.iter().zip(&slot.state) {
                if let Some(state) = state {
                    named.insert(key(name), state.clone());
                }
            }
        }
        Ok(named)
    }

    pub(in crate::optim) fn load_state_dict(
        &mut self,
        named: &Named,
        parameters: &[(String, &Param)],
    ) -> Result<()> {
        let parameters = parameters.iter().map(|(path, param)| (path.as_str(), param.meta()));
        let parameters: BTreeMap<&str, Meta> = parameters.collect();
        let mut loaded = Groups { slots: Vec::new(), ..self.clone() };
        let mut wrong = Vec::new();
        let mut slots: BTreeMap<&str, Slot> = BTreeMap::new();
        for (key, tensor) in named {
            if let Err(message) = loaded.load_one(key, tensor, &mut slots) {
                wrong.push(format!("{key}: {message}"));
            }
        }
        for name in std::iter::once("lr".to_string())
            .chain(self.groups.iter().map(|group| format!("lr.{}", group.name)))
            .filter(|name| !named.contains_key(name))
        {
            wrong.push(format!("{name}: missing"));
        }
        for slot in slots.values_mut() {
            match parameters.get(slot.path.as_str()) {
                Some(parameter) => wrong.extend(loaded.complete(slot, parameter).err()),
                None => wrong.push(format!("state.{0}: the model has no parameter {0}", slot.path)),
            }
        }
        if !wrong.is_empty() {
            let message = format!("load_state_dict of an optimizer: {}", wrong.join("; "));
            return Err(Error::new(ErrorKind::Module(message)));
        }
        for (path, slot) in &mut slots {
            let Some(parameter) = parameters.get(path) else { continue };
            for state in slot.state.iter_mut().flatten() {
                *state = state.to_device(parameter.device)?;
            }
        }
        loaded.slots = slots.into_values().collect();
        *self = loaded;
        Ok(())
    }

    /// Puts one tensor where its name says.
    fn load_one<'n>(
        &mut self,
        key: &'n str,
        tensor: &Tensor,
        slots: &mut BTreeMap<&'n str, Slot>,
    ) -> std::result::Result<(), String> {
        let number = || match tensor.len() {
            1 => tensor.to_f64().map_err(|error| error.to_string()),
            _ => Err(format!("one number expected, found {:?}", tensor.shape())),
        };
        if key == "lr" {
            self.set_lr(number()?);
            return Ok(());
        }
        if let Some(group) = key.strip_prefix("lr.") {
            return self.set_group_lr(group, number()?).map_err(|error| error.to_string());
        }
        let parts = key.strip_prefix("state.").and_then(|rest| rest.rsplit_once('.'));
        let (path, name) = parts.ok_or("unexpected")?;
        let slot = slots.entry(path).or_insert_with(|| Slot {
            path: path.to_string(),
            group: None,
            count: 0,
            product: f64::NAN,
            state: [const { None }; 3],
        });
        if name == "step" {
            // PyTorch keeps it as a float.
            let steps = number()?;
            if !(0.0..9e15).contains(&steps) || steps.fract() != 0.0 {
                return Err(format!("{steps} is no number of steps"));
            }
            slot.count = steps as u64;
            return Ok(());
        }
        if M::PRODUCT == Some(name) {
            slot.product = number()?;
            return Ok(());
        }
        let place = M::STATES.iter().position(|known| *known == name).ok_or("unexpected")?;
        if let Some(state) = slot.state.get_mut(place) {
            *state = Some(tensor.clone());
        }
        Ok(())
    }

    /// Finds the slot's group, and checks that its state is what the settings ask for and fits the parameter.
    fn complete(&self, slot: &mut Slot, parameter: &Meta) -> std::result::Result<(), String> {
        slot.group = self.group_of(&slot.path).map_err(|error| error.to_string())?;
        if slot.count == 0 {
            return Err(format!("state.{}.step: missing or 0", slot.path));
        }
        if let Some(name) = M::PRODUCT
            && !slot.product.is_finite()
        {
            return Err(format!("state.{}.{name}: missing or not finite", slot.path));
        }
        let used = self.settings(slot.group).used();
        for ((name, state), used) in M::STATES.iter().zip(&slot.state).zip(used) {
            let key = format!("state.{}.{name}", slot.path);
            match state {
                None if used => return Err(format!("{key}: missing")),
                Some(_) if !used => return Err(format!("{key}: not used under these settings")),
                Some(state)
                    if state.shape() != &parameter.shape[..]
                        || state.dtype() != parameter.dtype =>
                {
                    let (shape, dtype) = (state.shape(), state.dtype());
                    return Err(format!(
                        "{key}: {shape:?} {dtype}, the parameter is {:?} {}",
                        parameter.shape, parameter.dtype
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(in crate::optim) fn cast(&mut self, dtype: DType) -> Result<()> {
        if !dtype.is_float() {
            let message = format!("to_dtype of an optimizer: {dtype} is no float type");
            return Err(Error::new(ErrorKind::Module(message)));
        }
        let mut slots = self.slots.clone();
        for state in slots.iter_mut().flat_map(|slot| slot.state.iter_mut().flatten()) {
            *state = state.to_dtype(dtype)?;
        }
        self.slots = slots;
        Ok(())
    }
}
