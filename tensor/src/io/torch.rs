//! PyTorch's `.pt` and `.pth` files: a zip archive of a pickle and of the bytes of its storages.

mod objects;
mod pickle;

use std::collections::BTreeMap;
use std::path::Path;

use super::file::{bad, in_field, in_file};
use super::source::{Endian, FileSource, Source, fill_tensor, of_tensor};
use super::zip::{self, Member};
use crate::dtype::DType;
use crate::error::Result;
use crate::layout::Layout;
use crate::observe::Tag;
use crate::tensor::Tensor;
use objects::{Leaf, Leaves, Objects, TensorRecord};

/// The largest pickle (the data of the tensors are no part of it).
const MAX_PICKLE: u64 = 16 << 20;
/// The first bytes of what `torch.save` wrote before 1.6.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// Reads the tensors of a file that `torch.save` wrote (PyTorch 1.6 or later): a state dict gives its tensors by name.
///
/// What is nested is joined by dots: of `{"model": {"weight": w}, "epoch": 3, "sizes": [1, 2]}` come `model.weight`, `epoch`,
/// `sizes.0` and `sizes.1`. Numbers become scalars (i64, f64 or bool); texts and `None` are left out. Tensors that shared their
/// storage share it here, strides and all.
///
/// Nothing in the file is run: the pickle may only build dictionaries, lists, tuples, numbers, texts and tensors, PyTorch's
/// `weights_only=True` and less. What it names beyond that is an error.
///
/// # Errors
/// The file system's; PyTorch's format of before 1.6; a whole pickled model, or anything else that is not on the list; element
/// types that this library does not have; a tensor beyond its storage; a damaged archive: with the path and the tensor's name.
///
/// ```no_run
/// # fn main() -> ferrotape_tensor::Result<()> {
/// // torch.save(model.state_dict(), "model.pt")
/// let state = ferrotape_tensor::io::load_torch("model.pt")?;
/// println!("{:?}", state["conv1.weight"].shape());
/// # Ok(()) }
/// ```
pub fn load_torch(path: impl AsRef<Path>) -> Result<BTreeMap<String, Tensor>> {
    let path = path.as_ref();
    in_file(path, FileSource::open(path).and_then(|mut file| read(&mut file)))
}

/// Reads the contents of a file of PyTorch's.
///
/// # Errors
/// As [`load_torch`], without a path.
pub fn parse_torch(mut bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    read(&mut bytes)
}

/// The members of the archive by name, below its one folder.
struct Archive {
    members: BTreeMap<String, Member>,
    endian: Endian,
}

impl Archive {
    fn open(source: &mut dyn Source) -> Result<Archive> {
        let mut start = [0; LEGACY.len()];
        if source.len() >= start.len() as u64
            && source.read_at(0, &mut start).is_ok()
            && start == *LEGACY
        {
            let message = "PyTorch's format of before 1.6; load it with torch and save it again";
            return Err(bad(message));
        }
        let all = zip::members(source)?;
        let roots = all.iter().filter_map(|member| member.name.strip_suffix("data.pkl"));
        let mut roots =
            roots.filter(|root| root.is_empty() || root.find('/') == Some(root.len() - 1));
        let root = match (roots.next(), roots.next()) {
            (Some(root), None) => root.to_string(),
            _ => return Err(bad("data.pkl: not one member of this name in the archive's folder")),
        };
        let below = |member: Member| Some((member.name.strip_prefix(&root)?.to_string(), member));
        let members: BTreeMap<_, _> = all.into_iter().filter_map(below).collect();
        let order =
            members.get("byteorder").map(|member| in_field("byteorder", member.bytes(source, 16)));
        let endian = match order.transpose()?.as_deref() {
            None | Some(b"little") => Endian::Little,
            Some(b"big") => Endian::Big,
            Some(_) => return Err(bad("byteorder: neither little nor big")),
        };
        Ok(Archive { members, endian })
    }

    fn member(&self, name: &str) -> Result<&Member> {
        self.members.get(name).ok_or_else(|| bad(format!("{name}: no such member in the archive")))
    }

    /// A storage of `len` elements.
    fn storage(
        &self,
        source: &mut dyn Source,
        key: &str,
        dtype: DType,
        len: usize,
    ) -> Result<Tensor> {
        let name = format!("data/{key}");
        let member = self.member(&name)?;
        let mut read = || {
            let bytes = super::source::byte_size(&[len], dtype)?;
            if bytes != member.size {
                let message = format!("{} bytes for {len} elements of {dtype}", member.size);
                return Err(bad(message));
            }
            member.read(source, |reader| {
                fill_tensor(&[len], dtype, self.endian, |out| reader.read_exact(out).map_err(bad))
            })
        };
        in_field(&name, read())
    }
}

fn read(source: &mut dyn Source) -> Result<BTreeMap<String, Tensor>> {
    let archive = Archive::open(source)?;
    let bytes = in_field("data.pkl", archive.member("data.pkl")?.bytes(source, MAX_PICKLE))?;
    let leaves =
        in_field("data.pkl", pickle::run(&bytes).and_then(|(objects, root)| objects.leaves(root)))?;
    let Leaves { named, records, storages } = leaves;
    drop(bytes);
    let mut loaded: Vec<Option<Tensor>> = vec![None; storages.len()];
    let mut state = BTreeMap::new();
    for (name, leaf) in named {
        let tensor = match leaf {
            Leaf::Bool(value) => Tensor::from_slice(&[value], []),
            Leaf::Int(value) => Tensor::from_slice(&[value], []),
            Leaf::Float(value) => Tensor::from_slice(&[value], []),
            Leaf::Tensor(place) => {
                let record = records.get(place).ok_or_else(|| bad("data.pkl: internal"))?;
                let storage = storages.get(record.storage).zip(loaded.get_mut(record.storage));
                let (of, slot) = storage.ok_or_else(|| bad("data.pkl: internal"))?;
                let mut place = || {
                    let layout = layout(record, of.len)?;
                    if slot.is_none() {
                        *slot = Some(archive.storage(source, &of.key, of.dtype, of.len)?);
                    }
                    let storage = slot.as_ref().ok_or_else(|| bad("internal"))?;
                    Ok(storage.seen_as(layout, of.dtype, Tag::NONE))
                };
                place()
            }
        };
        let tensor = of_tensor(&name, tensor)?;
        state.insert(name, tensor);
    }
    Ok(state)
}

/// The layout of a tensor, if all of it lies in a storage of `len` elements.
fn layout(record: &TensorRecord, len: usize) -> Result<Layout> {
    let TensorRecord { offset, shape, strides, .. } = record;
    super::source::byte_size(shape, DType::F64)?;
    let mut end = Some(*offset);
    for (&size, &stride) in shape.iter().zip(strides) {
        let reach = size.saturating_sub(1).checked_mul(stride);
        end = end.zip(reach).and_then(|(end, reach)| end.checked_add(reach));
    }
    let inside = match shape.contains(&0) {
        true => *offset <= len,
        false => end.is_some_and(|end| end < len),
    };
    let strides: Option<_> = strides.iter().map(|&stride| isize::try_from(stride).ok()).collect();
    match strides.filter(|_| inside && strides_fit(record)) {
        Some(strides) => Ok(Layout { shape: shape.clone(), strides, offset: *offset }),
        None => Err(bad(format!(
            "offset {offset}, shape {:?} and strides {:?} go beyond a storage of {len} elements",
            &shape[..],
            &record.strides[..]
        ))),
    }
}

fn strides_fit(record: &TensorRecord) -> bool {
    record.shape.len() == record.strides.len()
}

impl Objects<'_> {
    /// The name of the type of a storage.
    fn storage_type(name: &str) -> Option<DType> {
        Some(match name {
            "BoolStorage" => DType::Bool,
            "ByteStorage" => DType::U8,
            "CharStorage" => DType::I8,
            "IntStorage" => DType::I32,
            "LongStorage" => DType::I64,
            "HalfStorage" => DType::F16,
            "BFloat16Storage" => DType::BF16,
            "FloatStorage" => DType::F32,
            "DoubleStorage" => DType::F64,
            _ => return None,
        })
    }
}
