//! What makes an optimizer of settings.

use ferrotape_tensor::{Error, ErrorKind, OptimizeOp, Result, Tensor};

/// What is wrong with a setting.
pub(super) type Wrong = String;

/// A setting that must be finite and not below 0.
pub(super) fn not_negative(name: &str, value: f64) -> Result<(), Wrong> {
    match value.is_finite() && value >= 0.0 {
        true => Ok(()),
        false => Err(format!("{name} is {value}: it must be finite and not negative")),
    }
}

/// A setting that must be within `0..1`.
pub(super) fn below_one(name: &str, value: f64) -> Result<(), Wrong> {
    match (0.0..1.0).contains(&value) {
        true => Ok(()),
        false => Err(format!("{name} is {value}: it must be at least 0 and below 1")),
    }
}

/// What the relatives of Adam ask of their settings.
pub(super) fn check_moments(
    lr: f64,
    [beta1, beta2]: [f64; 2],
    eps: f64,
    weight_decay: f64,
) -> Result<(), Wrong> {
    not_negative("lr", lr)?;
    not_negative("eps", eps)?;
    not_negative("weight_decay", weight_decay)?;
    below_one("the first of betas", beta1)?;
    below_one("the second of betas", beta2)
}

/// A step of a method that is made of expressions.
pub(super) struct Now<'a> {
    /// Its number, from 1.
    pub(super) count: u64,
    /// A number that belongs to the parameter, 1 before the first step; see [`Method::PRODUCT`].
    pub(super) product: &'a mut f64,
    pub(super) weight: &'a Tensor,
    pub(super) gradient: &'a Tensor,
    /// All of [`Method::STATES`].
    pub(super) state: &'a [Tensor],
}

/// The settings of one kind of optimizer, for one group of parameters.
pub(super) trait Method: Copy + std::fmt::Debug {
    /// Names of the state tensors, PyTorch's; three at most.
    const STATES: &'static [&'static str];

    /// Name of the number that each parameter has beside them, if there is one.
    const PRODUCT: Option<&'static str> = None;

    /// True: made of expressions, by [`express`](Self::express); false: one kernel, by [`op`](Self::op).
    const EXPRESSED: bool = false;

    /// Every setting is within its bounds.
    fn check(&self) -> Result<(), Wrong>;

    /// Which of the states there are under these settings.
    fn used(&self) -> [bool; 3];

    /// What new state is filled with.
    fn initial(&self) -> f64 {
        0.0
    }

    /// The step number `count`, from 1; `fresh`: state that was made for it.
    fn op(&self, count: u64, fresh: [bool; 3]) -> Option<OptimizeOp> {
        let _ = (count, fresh);
        None
    }

    /// The new weight and the new states.
    fn express(&self, now: Now<'_>) -> Result<(Tensor, Vec<Tensor>)> {
        let _ = now;
        Err(Error::new(ErrorKind::Module("internal: this optimizer has a kernel".into())))
    }

    /// The learning rate.
    fn rate(&mut self) -> &mut f64;

    /// The momentum or what stands for it, if there is any.
    fn inertia(&mut self) -> Option<&mut f64>;
}

/// An optimizer and its settings, with the same builders on both.
macro_rules! optimizer {
    (
        $(#[$doc:meta])* $name:ident,
        $(#[$config_doc:meta])* $config:ident($settings:ty),
        $(#[$new_doc:meta])* new => $new:expr;
        $($(#[$method_doc:meta])* fn $method:ident($self:ident, $($arg:ident: $ty:ty),+) $body:block)*
    ) => {
        $(#[$config_doc])*
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub struct $config($settings);

        impl $config {
            /// Learning rate.
            pub fn lr(mut self, lr: f64) -> Self {
                *self.rate() = lr;
                self
            }

            $($(#[$method_doc])*
            pub fn $method(mut $self, $($arg: $ty),+) -> Self {
                $body
                $self
            })*
        }

        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name($crate::optim::groups::Groups<$config>);

        impl $name {
            $(#[$new_doc])*
            pub fn new(lr: f64) -> Self {
                $name($crate::optim::groups::Groups::new($config($new).lr(lr)))
            }

            $($(#[$method_doc])*
            pub fn $method(mut $self, $($arg: $ty),+) -> Self {
                $self.0.change(|config| config.$method($($arg),+));
                $self
            })*

            /// True: a step with a gradient or a buffer's update that is not finite is refused with [`NonFinite`], which names it;
            /// weights, buffers and state stay as they are. It reads every gradient once more.
            ///
            /// [`NonFinite`]: crate::NonFinite
            pub fn check_finite(mut self, check: bool) -> Self {
                self.0.check_finite(check);
                self
            }

            /// Other settings for the parameters under `prefix`: the one of this path, or those of the module of this path
            /// (with or without a dot at its end). They start from the optimizer's settings so far.
            ///
            /// A parameter of two groups, or a group without a parameter, is an error of the first step.
            pub fn group(self, prefix: &str, settings: impl FnOnce($config) -> $config) -> Self {
                let module = prefix.to_string();
                self.group_by(prefix, move |path| $crate::state::is_under(path, &module), settings)
            }

            /// Other settings for the parameters whose paths `belongs` picks, under a name; as [`group`](Self::group).
            pub fn group_by(
                mut self,
                name: &str,
                belongs: impl Fn(&str) -> bool + Send + Sync + 'static,
                settings: impl FnOnce($config) -> $config,
            ) -> Self {
                self.0.add(name, std::sync::Arc::new(belongs), settings);
                self
            }
        }

        $crate::optim::method::implement!($name);
    };
}
pub(super) use optimizer;

/// The trait, by the groups.
macro_rules! implement {
    ($name:ident) => {
        impl $crate::optim::Optimizer for $name {
            fn apply(
                &mut self,
                model: &mut dyn $crate::module::Module,
                gradients: &$crate::step::Gradients,
            ) -> ferrotape_tensor::Result<()> {
                self.0.apply(model, gradients)
            }
            fn lr(&self) -> f64 {
                self.0.lr()
            }
            fn set_lr(&mut self, lr: f64) {
                self.0.set_lr(lr);
            }
            fn groups(&self) -> Vec<String> {
                self.0.names()
            }
            fn group_lr(&self, group: &str) -> ferrotape_tensor::Result<f64> {
                self.0.group_lr(group)
            }
            fn set_group_lr(&mut self, group: &str, lr: f64) -> ferrotape_tensor::Result<()> {
                self.0.set_group_lr(group, lr)
            }
            fn current_momentum(&self) -> Option<f64> {
                self.0.momentum()
            }
            fn set_momentum(&mut self, momentum: f64) -> ferrotape_tensor::Result<()> {
                self.0.set_momentum(momentum)
            }
            fn state_dict(
                &self,
            ) -> ferrotape_tensor::Result<
                std::collections::BTreeMap<String, ferrotape_tensor::Tensor>,
            > {
                self.0.state_dict()
            }
            fn load_state_dict(
                &mut self,
                state: &std::collections::BTreeMap<String, ferrotape_tensor::Tensor>,
                parameters: &[(String, &crate::Param)],
            ) -> ferrotape_tensor::Result<()> {
                self.0.load_state_dict(state, parameters)
            }
            fn to_dtype(&mut self, dtype: ferrotape_tensor::DType) -> ferrotape_tensor::Result<()> {
                self.0.cast(dtype)
            }
        }
    };
}
pub(super) use implement;
