//! Groups of parameters under settings of their own, and the state of each parameter by its path.

use std::fmt;
use std::sync::Arc;

use ferrotape_tensor::{DType, Error, ErrorKind, Result, Tensor};

use super::method::Method;
use super::take::{Taken, Target};
use crate::module::Module;
use crate::state::each;
use crate::step::Gradients;

mod express;
mod state;

/// Which paths belong to a group.
type Belongs = Arc<dyn Fn(&str) -> bool + Send + Sync>;

#[derive(Clone)]
struct Group<M> {
    name: String,
    belongs: Belongs,
    settings: M,
}

impl<M: fmt::Debug> fmt::Debug for Group<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.name, self.settings)
    }
}

/// What an optimizer knows of a parameter.
#[derive(Debug, Clone)]
struct Slot {
    path: String,
    /// Place of its group; `None`: the optimizer's own settings.
    group: Option<usize>,
    /// Steps so far.
    count: u64,
    /// See [`Method::PRODUCT`].
    product: f64,
    state: [Option<Tensor>; 3],
}

/// An optimizer: settings, groups, state.
#[derive(Debug, Clone)]
pub(super) struct Groups<M> {
    own: M,
    groups: Vec<Group<M>>,
    slots: Vec<Slot>,
    /// Stands in the model for a value that is out; made once.
    empty: Option<Tensor>,
    /// Whether steps that are not finite are refused.
    check_finite: bool,
}

fn refuse<T>(message: String) -> Result<T> {
    Err(Error::new(ErrorKind::Module(message)))
}

impl<M: Method> Groups<M> {
    pub(super) fn new(own: M) -> Self {
        Groups { own, groups: Vec::new(), slots: Vec::new(), empty: None, check_finite: false }
    }

    pub(super) fn change(&mut self, change: impl FnOnce(M) -> M) {
        self.own = change(self.own);
    }

    pub(super) fn check_finite(&mut self, check: bool) {
        self.check_finite = check;
    }

    pub(super) fn add(&mut self, name: &str, belongs: Belongs, change: impl FnOnce(M) -> M) {
        let settings = change(self.own);
        self.groups.push(Group { name: name.to_string(), belongs, settings });
    }

    pub(super) fn lr(&self) -> f64 {
        let mut own = self.own;
        *own.rate()
    }

    pub(super) fn set_lr(&mut self, lr: f64) {
        *self.own.rate() = lr;
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.groups.iter().map(|group| group.name.clone()).collect()
    }

    fn place(&self, name: &str) -> Result<usize> {
        match self.groups.iter().position(|group| group.name == name) {
            Some(place) => Ok(place),
            None => {
                let known = self.names().join(", ");
                refuse(format!("optimizer: no group is called {name:?}; there are: [{known}]"))
            }
        }
    }

    pub(super) fn group_lr(&self, name: &str) -> Result<f64> {
        let mut settings = self.settings(Some(self.place(name)?));
        Ok(*settings.rate())
    }

    pub(super) fn set_group_lr(&mut self, name: &str, lr: f64) -> Result<()> {
        let place = self.place(name)?;
        if let Some(group) = self.groups.get_mut(place) {
            *group.settings.rate() = lr;
        }
        Ok(())
    }

    pub(super) fn momentum(&self) -> Option<f64> {
        let mut own = self.own;
        own.inertia().copied()
    }

    pub(super) fn set_momentum(&mut self, momentum: f64) -> Result<()> {
        let all = self.groups.iter_mut().map(|group| &mut group.settings);
        for settings in all.chain([&mut self.own]) {
            match settings.inertia() {
                Some(inertia) => *inertia = momentum,
                None => return refuse("optimizer: it has no momentum to set".to_string()),
            }
        }
        Ok(())
    }

    /// The settings of a group.
    fn settings(&self, group: Option<usize>) -> M {
        group.and_then(|place| self.groups.get(place)).map_or(self.own, |group| group.settings)
    }

    pub(super) fn apply(&mut self, model: &mut dyn Module, gradients: &Gradients) -> Result<()> {
        if self.check_finite {
            gradients.check_finite()?;
            gradients.check_updates(model)?;
        }
        let empty = match &self.empty {
            Some(empty) => empty.clone(),
            None => Tensor::zeros([0], DType::F32)?,
        };
        let mut taken = Taken::default();
        let fits = taken.take(model, gradients, &empty);
        self.empty = Some(empty);
        let result = fits.and_then(|()| self.step(&*model, &mut taken.targets));
        taken.put_back(model, gradients, result.is_ok());
        result
    }

    /// Changes the targets. Everything that can be refused and all memory come first: then no weight has changed.
    fn step(&mut self, model: &dyn Module, targets: &mut [Target<'_>]) -> Result<()> {
        self.check_settings()?;
        self.find_slots(model, targets)?;
        if M::EXPRESSED {
            return self.express(targets);
        }
        for target in targets.iter_mut() {
            target.value.make_exclusive()?;
        }
        let mut fresh: Vec<(usize, usize, Tensor)> = Vec::new();
        for (at, target) in targets.iter().enumerate() {
            let Some(slot) = self.slots.get(target.slot) else { continue };
            let settings = self.settings(slot.group);
            for (place, (used, state)) in settings.used().iter().zip(&slot.state).enumerate() {
                match state {
                    Some(state) if state.meta() != target.value.meta() => {
                        return refuse(misfit::<M>(target, place, state));
                    }
                    None if *used => {
                        fresh.push((at, place, filled(&target.value, settings.initial())?));
                    }
                    _ => {}
                }
            }
        }
        for state in self.slots.iter_mut().flat_map(|slot| slot.state.iter_mut().flatten()) {
            state.make_exclusive()?;
        }
        let mut fresh = fresh.into_iter().peekable();
        for (at, target) in targets.iter_mut().enumerate() {
            let Some(group) = self.slots.get(target.slot).map(|slot| slot.group) else { continue };
            let settings = self.settings(group);
            let Some(slot) = self.slots.get_mut(target.slot) else { continue };
            let mut made = [false; 3];
            while let Some((_, place, state)) = fresh.next_if(|(of, _, _)| *of == at) {
                made[place] = true;
                slot.state[place] = Some(state);
            }
            let used = settings.used();
            let state = slot.state.iter_mut().zip(used).filter(|(_, used)| *used);
            let state = state.filter_map(|(state, _)| state.as_mut());
            if let Some(op) = settings.op(slot.count + 1, made) {
                target.value.optimize(op, target.gradient, state)?;
            }
            slot.count += 1;
        }
        Ok(())
    }

    /// Finds the slot of each target by its path, and makes those that are new.
    fn find_slots(&mut self, model: &dyn Module, targets: &mut [Target<'_>]) -> Result<()> {
        // Targets come in the same order step by step: each slot is mostly where the search for it begins.
        let mut next = 0;
        let mut checked = false;
        for target in targets {
            let (before, after) = self.slots.split_at(next.min(self.slots.len()));
            let is_it = |slot: &Slot| slot.path == target.path;
            let found = after.iter().position(is_it).map(|at| before.len() + at);
            let found = found.or_else(|| before.iter().position(is_it));
            target.slot = match found {
                Some(found) => found,
                None => {
                    if !checked {
                        self.check_groups(model)?;
                        checked = true;
                    }
                    let group = self.group_of(target.path)?;
                    let path = target.path.to_string();
                    self.slots.push(Slot {
                        path,
                        group,
                        count: 0,
                        product: 1.0,
                        state: [const { None }; 3],
                    });
                    self.slots.len() - 1
                }
            };
            next = target.slot + 1;
        }
        Ok(())
    }

    /// Every setting is within its bounds.
    fn check_settings(&self) -> Result<()> {
        let groups = self.groups.iter().map(|group| (Some(&group.name), &group.settings));
        for (group, settings) in groups.chain([(None, &self.own)]) {
            if let Err(wrong) = settings.check() {
                let of = group.map_or(String::new(), |group| format!(" of group {group:?}"));
                return refuse(format!("optimizer: {wrong}{of}"));
            }
        }
        Ok(())
    }

    /// Every group has a parameter, and no parameter has two.
    fn check_groups(&self, model: &dyn Module) -> Result<()> {
        if self.groups.is_empty() {
            return Ok(());
        }
        let mut members = vec![false; self.groups.len()];
        let mut wrong = Ok(());
        each(
            model,
            |path, _| match self.group_of(path) {
                Ok(Some(place)) => members[place] = true,
                Ok(None) => {}
                Err(error) => wrong = Err(error),
            },
            |_, _| {},
        );
        wrong?;
        let empty = self.groups.iter().zip(members).find(|(_, has)| !has);
        match empty {
            Some((group, _)) => {
                refuse(format!("optimizer: group {:?} has no parameter in this model", group.name))
            }
            None => Ok(()),
        }
    }

    fn group_of(&self, path: &str) -> Result<Option<usize>> {
        let mut groups = self.groups.iter().enumerate().filter(|(_, g)| (g.belongs)(path));
        match (groups.next(), groups.next()) {
            (Some((_, first)), Some((_, second))) => refuse(format!(
                "optimizer: parameter {path} belongs to two groups, {:?} and {:?}",
                first.name, second.name
            )),
            (first, _) => Ok(first.map(|(place, _)| place)),
        }
    }
}

fn filled(like: &Tensor, value: f64) -> Result<Tensor> {
    match value {
        0.0 => like.zeros_like(),
        _ => Tensor::full(like.shape(), value, like),
    }
}

fn misfit<M: Method>(target: &Target<'_>, place: usize, state: &Tensor) -> String {
    let name = M::STATES.get(place).copied().unwrap_or_default();
    format!(
        "step: the optimizer's {name} of parameter {} is {:?} {}, the parameter is {:?} {} (see Optimizer::to_dtype)",
        target.path,
        state.shape(),
        state.dtype(),
        target.value.shape(),
        target.value.dtype()
    )
}
