//! What a pickle may build, in an arena: objects name each other by number, so that neither a deep nor a circular structure costs
//! recursion.

use std::collections::BTreeMap;

use crate::dtype::DType;
use crate::error::Result;
use crate::io::file::bad;
use crate::io::source::{MAX_RANK, Sizes};

/// The number of an object.
pub(super) type Id = u32;

const MAX_TENSORS: usize = 50_000;
/// How deep lists and dictionaries may lie in one another, and what their names may take together.
const MAX_DEPTH: usize = 64;
const MAX_NAMES: usize = 16 << 20;
const MAX_VISITS: usize = 200_000;

#[derive(Debug)]
pub(super) enum Object {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Where it lies in the pickle.
    Text {
        start: usize,
        len: usize,
    },
    Global(Global),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// Numbers of a [`StorageRecord`] and a [`TensorRecord`].
    Storage(usize),
    Tensor(usize),
}

/// The names that a pickle may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Size,
    Storage(DType),
}

impl Global {
    pub(super) fn find(module: &[u8], name: &[u8]) -> Result<Global> {
        let (module, name) = (String::from_utf8_lossy(module), String::from_utf8_lossy(name));
        Ok(match (&*module, &*name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
            ("torch", "Size") => Global::Size,
            ("torch", storage) => match Objects::storage_type(storage) {
                Some(dtype) => Global::Storage(dtype),
                None => return Err(not_read(&module, storage)),
            },
            (module, name) => return Err(not_read(module, name)),
        })
    }
}

fn not_read(module: &str, name: &str) -> crate::error::Error {
    let name: String = format!("{module}.{name}").chars().take(120).collect();
    bad(format!(
        "{name:?} is not read: only tensors of this library's types, dictionaries, lists, texts and numbers are"
    ))
}

#[derive(Debug)]
pub(super) struct StorageRecord {
    pub(super) key: String,
    pub(super) dtype: DType,
    pub(super) len: usize,
}

#[derive(Debug)]
pub(super) struct TensorRecord {
    pub(super) storage: usize,
    pub(super) offset: usize,
    pub(super) shape: Sizes,
    pub(super) strides: Sizes,
}

/// A value with a name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Leaf {
    Bool(bool),
    Int(i64),
    Float(f64),
    Tensor(usize),
}

/// All values of a pickle by name, and what its tensors are.
pub(super) struct Leaves {
    pub(super) named: BTreeMap<String, Leaf>,
    pub(super) records: Vec<TensorRecord>,
    pub(super) storages: Vec<StorageRecord>,
}

pub(super) struct Objects<'a> {
    pickle: &'a [u8],
    all: Vec<Object>,
    storages: Vec<StorageRecord>,
    by_key: BTreeMap<String, usize>,
    tensors: Vec<TensorRecord>,
}

impl<'a> Objects<'a> {
    pub(super) fn with_capacity(pickle: &'a [u8], count: usize) -> Result<Objects<'a>> {
        let mut all = Vec::new();
        all.try_reserve_exact(count).map_err(bad)?;
        Ok(Objects {
            pickle,
            all,
            storages: Vec::new(),
            by_key: BTreeMap::new(),
            tensors: Vec::new(),
        })
    }

    pub(super) fn add(&mut self, object: Object) -> Result<Id> {
        let id = Id::try_from(self.all.len()).map_err(bad)?;
        self.all.push(object);
        Ok(id)
    }

    fn get(&self, id: Id) -> &Object {
        self.all.get(id as usize).unwrap_or(&Object::None)
    }

    pub(super) fn text(&self, id: Id) -> Option<&'a str> {
        let Object::Text { start, len } = self.get(id) else { return None };
        std::str::from_utf8(self.pickle.get(*start..start + len)?).ok()
    }

    fn tuple(&self, id: Id) -> Option<&[Id]> {
        if let Object::Tuple(items) = self.get(id) { Some(items) } else { None }
    }

    fn size(&self, id: Id) -> Option<usize> {
        if let Object::Int(number) = self.get(id) { usize::try_from(*number).ok() } else { None }
    }

    fn sizes(&self, id: Id) -> Option<Sizes> {
        let items = self.tuple(id).filter(|items| items.len() <= MAX_RANK)?;
        items.iter().map(|&item| self.size(item)).collect()
    }

    pub(super) fn extend(&mut self, list: Id, items: Vec<Id>) -> Result<()> {
        match self.all.get_mut(list as usize) {
            Some(Object::List(list)) => {
                list.extend(items);
                Ok(())
            }
            _ => Err(bad("items for what is no list")),
        }
    }

    pub(super) fn set(&mut self, dict: Id, items: &[Id]) -> Result<()> {
        match self.all.get_mut(dict as usize) {
            Some(Object::Dict(dict)) if items.len() % 2 == 0 => {
                dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
                Ok(())
            }
            _ => Err(bad("keys and values for what is no dictionary, or a key without a value")),
        }
    }

    /// Sets an object's state: PyTorch does so for the versions of modules, on a dictionary.
    pub(super) fn build(&self, object: Id) -> Result<()> {
        match self.get(object) {
            Object::Dict(_) => Ok(()),
            _ => Err(bad("a state for what is no dictionary")),
        }
    }

    /// `('storage', torch.FloatStorage, '0', 'cpu', 12)`.
    pub(super) fn storage(&mut self, id: Id) -> Result<Object> {
        let parts = self.tuple(id).and_then(|items| <[Id; 5]>::try_from(items).ok());
        let parts = parts.and_then(|[kind, of, key, _place, len]| {
            let Object::Global(Global::Storage(dtype)) = self.get(of) else { return None };
            let key = self.text(key).filter(|key| key.len() <= 64)?;
            (self.text(kind) == Some("storage")).then_some((*dtype, key, self.size(len)?))
        });
        let (dtype, key, len) = parts.ok_or_else(|| bad("not a storage as PyTorch writes it"))?;
        if let Some(&known) = self.by_key.get(key) {
            let record = self.storages.get(known);
            return match record.is_some_and(|record| (record.dtype, record.len) == (dtype, len)) {
                true => Ok(Object::Storage(known)),
                false => {
                    Err(bad(format!("storage {key:?} stands twice with another type or length")))
                }
            };
        }
        let number = self.storages.len();
        if number == MAX_TENSORS {
            return Err(bad(format!("more than {MAX_TENSORS} storages")));
        }
        self.storages.push(StorageRecord { key: key.to_string(), dtype, len });
        self.by_key.insert(key.to_string(), number);
        Ok(Object::Storage(number))
    }

    /// What a function on the list makes of its arguments.
    pub(super) fn call(&mut self, function: Id, arguments: Id) -> Result<Object> {
        let Object::Global(global) = *self.get(function) else {
            return Err(bad("a call of what is no function"));
        };
        let Some(arguments) = self.tuple(arguments) else {
            return Err(bad("a call with what is no tuple"));
        };
        match (global, arguments) {
            (Global::OrderedDict, []) => Ok(Object::Dict(Vec::new())),
            (Global::Size, &[sizes]) => {
                match self.tuple(sizes).filter(|sizes| sizes.len() <= MAX_RANK) {
                    Some(sizes) => Ok(Object::Tuple(sizes.to_vec())),
                    None => Err(bad("torch.Size of what is no tuple of sizes")),
                }
            }
            (Global::RebuildParameter, &[data, _trained, _hooks]) => match self.get(data) {
                Object::Tensor(tensor) => Ok(Object::Tensor(*tensor)),
                _ => Err(bad("a parameter of what is no tensor")),
            },
            (Global::RebuildTensor, &[storage, offset, shape, strides, _trained, _hooks, ..])
                if arguments.len() <= 7 =>
            {
                let Object::Storage(storage) = *self.get(storage) else {
                    return Err(bad("a tensor of what is no storage"));
                };
                let parts = self.size(offset).zip(self.sizes(shape)).zip(self.sizes(strides));
                let Some(((offset, shape), strides)) =
                    parts.filter(|((_, a), b)| a.len() == b.len())
                else {
                    return Err(bad(format!(
                        "a tensor's offset, shape and strides must be whole numbers, of at most {MAX_RANK} dims"
                    )));
                };
                if self.tensors.len() == MAX_TENSORS {
                    return Err(bad(format!("more than {MAX_TENSORS} tensors")));
                }
                self.tensors.push(TensorRecord { storage, offset, shape, strides });
                Ok(Object::Tensor(self.tensors.len() - 1))
            }
            (global, arguments) => {
                Err(bad(format!("{global:?} with {} arguments is not read", arguments.len())))
            }
        }
    }

    /// The values below `root`, by their joined names.
    pub(super) fn leaves(self, root: Id) -> Result<Leaves> {
        let mut named = BTreeMap::new();
        let (mut visits, mut names) = (0, 0);
        let mut open = vec![(String::new(), root, 0)];
        while let Some((name, id, depth)) = open.pop() {
            // Counted before it is kept: one long name above many others would be copied to each.
            let mut below = |key: &str, id| {
                let dot = if name.is_empty() || key.is_empty() { "" } else { "." };
                (visits, names) = (visits + 1, names + name.len() + key.len() + 1);
                if visits > MAX_VISITS || names > MAX_NAMES || depth == MAX_DEPTH {
                    return Err(bad(format!(
                        "more than {MAX_VISITS} values, {MAX_NAMES} bytes of names, or lists {MAX_DEPTH} deep in lists"
                    )));
                }
                open.push((format!("{name}{dot}{key}"), id, depth + 1));
                Ok(())
            };
            let leaf = match self.get(id) {
                Object::Bool(value) => Leaf::Bool(*value),
                Object::Int(value) => Leaf::Int(*value),
                Object::Float(value) => Leaf::Float(*value),
                Object::Tensor(tensor) => Leaf::Tensor(*tensor),
                Object::Tuple(items) | Object::List(items) => {
                    let mut numbered = items.iter().enumerate();
                    numbered.try_for_each(|(i, &item)| below(&i.to_string(), item))?;
                    continue;
                }
                Object::Dict(pairs) => {
                    for &(key, value) in pairs {
                        match (self.get(key), self.text(key)) {
                            (Object::Int(number), _) => below(&number.to_string(), value)?,
                            (_, Some(key)) => below(key, value)?,
                            _ => {
                                return Err(bad("a key that is neither a text nor a whole number"));
                            }
                        }
                    }
                    continue;
                }
                Object::None | Object::Text { .. } => continue,
                Object::Global(_) | Object::Storage(_) => {
                    return Err(bad(format!(
                        "value {:?}: neither a tensor nor a number",
                        shorten(&name)
                    )));
                }
            };
            if named.len() == MAX_TENSORS {
                return Err(bad(format!("more than {MAX_TENSORS} values")));
            }
            if named.contains_key(&name) {
                return Err(bad(format!("the name {:?} stands twice", shorten(&name))));
            }
            named.insert(name, leaf);
        }
        Ok(Leaves { named, records: self.tensors, storages: self.storages })
    }
}

fn shorten(name: &str) -> String {
    name.chars().take(200).collect()
}
