//! Cross entropy of rows of logits, and its gradient. A target that is no class is found on the device, which is waited for (once: the
//! gradient has it from the loss).

use super::{Form, run};
use crate::cpu::softmax::Rows;
use crate::cuda::array::{Array, Type};
use crate::cuda::facts::Fact;
use crate::cuda::launch::{Family, Grid, Name, argument};
use crate::cuda::memory::DeviceBuffer;
use crate::error::{Error, Result, require};

/// `loss[i] = log(sum_j e^(x_ij - m_i)) - (x_i,t - m_i)`; see [`cross_entropy`](crate::cpu::softmax::cross_entropy). logits:
/// `[rows, classes]`; targets: i64, `[rows]`, row-major; loss: `[rows]`, of the logits' type.
///
/// # Errors
/// [`IndexOutOfRange`](Error::IndexOutOfRange) for a target outside `0..classes`; [`Cuda`](Error::Cuda).
pub fn cross_entropy(
    classes: usize,
    logits: Array<'_>,
    targets: Array<'_>,
    loss: &mut DeviceBuffer,
) -> Result<()> {
    let checked = Checked::new(classes, logits, targets)?;
    let bytes = targets.len().checked_mul(logits.kind().size());
    require(bytes == Some(loss.len()), "cross_entropy: length of the loss")?;
    if !logits.is_empty() {
        let form = Form { code: Form::LOSS, targets: targets.start()?, weight: 0, step: 0 };
        run(Rows { outer: targets.len(), size: classes, inner: 1 }, form, logits, loss)?;
    }
    checked.told()
}

/// `out_ij = (softmax(x)_ij - [j == t_i]) * weight_i`; a `weight` of length 1 holds for all rows. It has the logits' type and is
/// row-major.
///
/// # Errors
/// As [`cross_entropy`].
pub fn cross_entropy_grad(
    classes: usize,
    logits: Array<'_>,
    targets: Array<'_>,
    weight: Array<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let checked = Checked::new(classes, logits, targets)?;
    let bytes = logits.len().checked_mul(logits.kind().size());
    require(bytes == Some(out.len()), "cross_entropy_grad: length of the result")?;
    let one = weight.len() == 1;
    require(one || weight.len() == targets.len(), "cross_entropy_grad: length of the weight")?;
    require(weight.kind() == logits.kind(), "cross_entropy_grad: type of the weight")?;
    if !logits.is_empty() {
        let (targets_start, weight) = (targets.start()?, weight.start()?);
        let step = i64::from(!one);
        let form = Form { code: Form::GRADIENT, targets: targets_start, weight, step };
        run(Rows { outer: targets.len(), size: classes, inner: 1 }, form, logits, out)?;
    }
    checked.told()
}

/// The device's look at every target.
struct Checked<'a> {
    bad: Option<DeviceBuffer>,
    targets: Array<'a>,
    classes: usize,
}

impl<'a> Checked<'a> {
    fn new(classes: usize, logits: Array<'_>, targets: Array<'a>) -> Result<Checked<'a>> {
        let rows = targets.len();
        let len = classes.checked_mul(rows);
        require(len == Some(logits.len()), "cross_entropy: length of the logits")?;
        require(targets.kind() == Type::I64, "cross_entropy: type of the targets")?;
        require(!logits.kind().is_integer(), "cross_entropy: of floats only")?;
        let fact = Fact::Below { start: targets.offset(), len: rows, limit: classes };
        if rows == 0 || targets.buffer().facts.holds(fact) {
            return Ok(Checked { bad: None, targets, classes });
        }
        let gpu = targets.buffer().gpu();
        let mut bad = DeviceBuffer::new(gpu, 8)?;
        bad.zero()?;
        let (from, to) = (targets.start()?, bad.address());
        let (n, size) = (rows as i64, classes as i64);
        let arguments = [argument(&from), argument(&to), argument(&n), argument(&size)];
        let name = Name::of(&["softmax_classes"]);
        // SAFETY: the kernel's arguments; a target a row, 8 bytes for what is found.
        unsafe { gpu.launch(Family::Softmax, &name, Grid::over(rows), &arguments)? };
        Ok(Checked { bad: Some(bad), targets, classes })
    }

    /// What it saw, in the CPU's words.
    fn told(self) -> Result<()> {
        let Some(bad) = self.bad else { return Ok(()) };
        let mut bytes = [0; 8];
        bad.download(0, &mut bytes)?;
        let from_end = u64::from_le_bytes(bytes) as usize;
        let Some(position) = self.targets.len().checked_sub(from_end).filter(|_| from_end > 0)
        else {
            let (start, len) = (self.targets.offset(), self.targets.len());
            self.targets.buffer().facts.note(Fact::Below { start, len, limit: self.classes });
            return Ok(());
        };
        self.targets.buffer().download((self.targets.offset() + position) * 8, &mut bytes)?;
        let index = i64::from_le_bytes(bytes);
        Err(Error::IndexOutOfRange { index, position, size: self.classes })
    }
}
