//! A machine for the few instructions of pickle that `torch.save` writes. It builds objects in an arena and calls nothing: the
//! functions that a pickle may name are on a short list, each of which only makes another object.

use super::objects::{Global, Id, Object, Objects};
use crate::error::{Error, Result};
use crate::io::file::bad;

/// Each instruction makes at most one object, so this bounds the memory; a tensor of a state dict takes about 35.
const MAX_STEPS: usize = 800_000;

/// Runs a pickle to its end: the objects it built, and which of them it is.
pub(super) fn run(text: &[u8]) -> Result<(Objects<'_>, Id)> {
    let objects = Objects::with_capacity(text, text.len().min(MAX_STEPS))?;
    let mut machine = Machine {
        text,
        at: 0,
        started: 0,
        objects,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
    };
    for _ in 0..MAX_STEPS {
        machine.started = machine.at;
        let op = machine.byte()?;
        if op == b'.' {
            return machine.stop();
        }
        machine.step(op)?;
    }
    Err(machine.wrong(format!("more than {MAX_STEPS} instructions")))
}

struct Machine<'a> {
    text: &'a [u8],
    at: usize,
    /// Where the instruction at hand starts.
    started: usize,
    objects: Objects<'a>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: Vec<Option<Id>>,
}

impl<'a> Machine<'a> {
    fn wrong(&self, what: impl std::fmt::Display) -> Error {
        bad(format!("instruction at byte {}: {what}", self.started))
    }

    /// `result`, its error said of the instruction at hand.
    fn here<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| self.wrong(error))
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let bytes = self.at.checked_add(len).and_then(|end| self.text.get(self.at..end));
        let bytes = bytes.ok_or_else(|| self.wrong("the pickle ends too early"))?;
        self.at += len;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.bytes(N)?;
        bytes.try_into().map_err(bad)
    }

    fn u32(&mut self) -> Result<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn line(&mut self) -> Result<&'a [u8]> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let len = rest.iter().take(256).position(|&byte| byte == b'\n');
        let line = self.bytes(len.ok_or_else(|| self.wrong("a name without an end"))?)?;
        self.at += 1;
        Ok(line)
    }

    fn text(&mut self, len: usize) -> Result<Object> {
        let start = self.at;
        let text = self.bytes(len)?;
        match std::str::from_utf8(text) {
            Ok(_) => Ok(Object::Text { start, len }),
            Err(_) => Err(self.wrong("a text that is not UTF-8")),
        }
    }

    fn push(&mut self, object: Object) -> Result<()> {
        let id = self.objects.add(object);
        let id = self.here(id)?;
        self.stack.push(id);
        Ok(())
    }

    /// The stack's height below which an instruction must not reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id> {
        let above = self.stack.len() > self.floor();
        let top = if above { self.stack.pop() } else { None };
        top.ok_or_else(|| self.wrong("nothing on the stack"))
    }

    fn top(&self) -> Result<Id> {
        let above = self.stack.len() > self.floor();
        let top = if above { self.stack.last().copied() } else { None };
        top.ok_or_else(|| self.wrong("nothing on the stack"))
    }

    /// What lies above the last mark.
    fn marked(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| self.wrong("no mark on the stack"))?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn tuple(&mut self, len: usize) -> Result<()> {
        let mut items = Vec::with_capacity(len);
        for _ in 0..len {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Object::Tuple(items))
    }

    fn remember(&mut self, place: usize) -> Result<()> {
        let top = self.top()?;
        if place >= MAX_STEPS {
            return Err(self.wrong(format!("memo place {place} is too large")));
        }
        if place >= self.memo.len() {
            self.memo.resize(place + 1, None);
        }
        if let Some(slot) = self.memo.get_mut(place) {
            *slot = Some(top);
        }
        Ok(())
    }

    fn recall(&mut self, place: usize) -> Result<()> {
        let found = self.memo.get(place).copied().flatten();
        let id = found.ok_or_else(|| self.wrong(format!("memo place {place} is empty")))?;
        self.stack.push(id);
        Ok(())
    }

    fn step(&mut self, op: u8) -> Result<()> {
        match op {
            // PROTO, FRAME
            0x80 => match self.byte()? {
                2..=5 => Ok(()),
                version => Err(self.wrong(format!("protocol {version} is not read"))),
            },
            0x95 => self.bytes(8).map(drop),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'q' => self.byte().and_then(|place| self.remember(place.into())),
            b'r' => self.u32().and_then(|place| self.remember(place)),
            // MEMOIZE
            0x94 => self.remember(self.memo.len()),
            b'h' => self.byte().and_then(|place| self.recall(place.into())),
            b'j' => self.u32().and_then(|place| self.recall(place)),
            b'N' => self.push(Object::None),
            // NEWTRUE, NEWFALSE
            0x88 => self.push(Object::Bool(true)),
            0x89 => self.push(Object::Bool(false)),
            b'K' | b'M' | b'J' | 0x8a => {
                let number = self.integer(op)?;
                self.push(Object::Int(number))
            }
            b'G' => {
                let number = f64::from_be_bytes(self.array()?);
                self.push(Object::Float(number))
            }
            b'X' | 0x8c => {
                let len = if op == b'X' { self.u32()? } else { self.byte()?.into() };
                let text = self.text(len)?;
                self.push(text)
            }
            _ => self.structure(op),
        }
    }

    fn integer(&mut self, op: u8) -> Result<i64> {
        Ok(match op {
            b'K' => self.byte()?.into(),
            b'M' => u16::from_le_bytes(self.array()?).into(),
            b'J' => i32::from_le_bytes(self.array()?).into(),
            _ => {
                let len = usize::from(self.byte()?);
                let digits = self.bytes(len)?;
                if len > 8 {
                    return Err(self.wrong("a whole number beyond 64 bits"));
                }
                let sign = if digits.last().is_some_and(|&byte| byte >= 0x80) { 0xff } else { 0 };
                let mut number = [sign; 8];
                number.iter_mut().zip(digits).for_each(|(to, &from)| *to = from);
                i64::from_le_bytes(number)
            }
        })
    }

    fn structure(&mut self, op: u8) -> Result<()> {
        match op {
            b'}' => self.push(Object::Dict(Vec::new())),
            b']' => self.push(Object::List(Vec::new())),
            b')' => self.push(Object::Tuple(Vec::new())),
            // TUPLE1 to TUPLE3
            0x85..=0x87 => self.tuple(usize::from(op - 0x84)),
            b't' => {
                let items = self.marked()?;
                self.push(Object::Tuple(items))
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])
            }
            b'e' => {
                let items = self.marked()?;
                self.extend(items)
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(vec![key, value])
            }
            b'u' => {
                let items = self.marked()?;
                self.set(items)
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let global = self.here(Global::find(module, name))?;
                self.push(Object::Global(global))
            }
            // STACK_GLOBAL
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let names = self.objects.text(module).zip(self.objects.text(name));
                let (module, name) = names.ok_or_else(|| self.wrong("a name that is no text"))?;
                let global = Global::find(module.as_bytes(), name.as_bytes());
                let global = self.here(global)?;
                self.push(Object::Global(global))
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let made = self.objects.call(function, arguments);
                let made = self.here(made)?;
                self.push(made)
            }
            b'b' => {
                let (_state, object) = (self.pop()?, self.top()?);
                let built = self.objects.build(object);
                self.here(built)
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.objects.storage(id);
                let storage = self.here(storage)?;
                self.push(storage)
            }
            _ => Err(self.wrong(format!("{op:#04x} is not read"))),
        }
    }

    fn extend(&mut self, items: Vec<Id>) -> Result<()> {
        let list = self.top()?;
        let done = self.objects.extend(list, items);
        self.here(done)
    }

    fn set(&mut self, items: Vec<Id>) -> Result<()> {
        let dict = self.top()?;
        let done = self.objects.set(dict, &items);
        self.here(done)
    }

    fn stop(mut self) -> Result<(Objects<'a>, Id)> {
        let root = self.pop()?;
        match self.stack.is_empty() && self.marks.is_empty() && self.at == self.text.len() {
            true => Ok((self.objects, root)),
            false => Err(self.wrong("more follows the end, or is left on the stack")),
        }
    }
}
