//! The header: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, and nothing else that Python could mean.

use std::fmt::Display;
use std::io::Read;

use super::descr;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::io::file::bad;
use crate::io::source::{Endian, MAX_RANK, Sizes, byte_size, zeros};
use crate::tensor::Tensor;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// A header of a plain array has about a hundred bytes; one of 64 dims a thousand.
const MAX_HEADER: u32 = 1 << 16;
/// Data start at a multiple of this, as NumPy writes them.
const ALIGN: usize = 64;

#[derive(Debug)]
pub(super) struct Header {
    pub(super) dtype: DType,
    pub(super) endian: Endian,
    fortran: bool,
    shape: Sizes,
    /// Where the data start.
    pub(super) start: u64,
}

impl Header {
    /// `len`: how many bytes `reader` has in all, header and data.
    pub(super) fn read(reader: &mut dyn Read, len: u64) -> Result<Header> {
        let mut fixed = [0; 8];
        fill(reader, "magic", &mut fixed)?;
        let [magic @ .., major, minor] = fixed;
        if magic != *MAGIC {
            return Err(bad(format!("magic at byte 0: {magic:02x?} is not {MAGIC:02x?}")));
        }
        let (size, start) = match (major, minor) {
            (1, 0) => {
                let mut size = [0; 2];
                fill(reader, "header length", &mut size)?;
                (u32::from(u16::from_le_bytes(size)), 10)
            }
            (2 | 3, 0) => {
                let mut size = [0; 4];
                fill(reader, "header length", &mut size)?;
                (u32::from_le_bytes(size), 12)
            }
            _ => return Err(bad(format!("version at byte 6: {major}.{minor} is not known"))),
        };
        let start = start + u64::from(size);
        if size > MAX_HEADER || start > len {
            let message = format!(
                "header length at byte 8: {size} bytes, the file has {len} in all and at most {MAX_HEADER} are read"
            );
            return Err(bad(message));
        }
        let mut text = zeros("header", u64::from(size))?;
        fill(reader, "header", &mut text)?;
        let text = std::str::from_utf8(&text).map_err(|_| bad("header: not UTF-8"))?;
        let header = Parser { text, at: 0 }.header(start)?;
        let bytes = byte_size(&header.shape, header.dtype)?;
        if start.checked_add(bytes) != Some(len) {
            let (shape, rest) = (&header.shape[..], len - start);
            let message = format!(
                "data at byte {start}: {rest} bytes, shape {shape:?} of {} takes {bytes}",
                header.dtype
            );
            return Err(bad(message));
        }
        Ok(header)
    }

    /// The shape as it lies in the file, row-major.
    pub(super) fn stored_shape(&self) -> Sizes {
        let mut shape = self.shape.clone();
        if self.fortran {
            shape.reverse();
        }
        shape
    }

    /// The array of the tensor that lies in the file.
    pub(super) fn in_order(&self, tensor: Tensor) -> Result<Tensor> {
        if !self.fortran || tensor.rank() < 2 {
            return Ok(tensor);
        }
        let dims: Vec<i64> = (0..tensor.rank() as i64).rev().collect();
        tensor.permute(&dims[..])
    }
}

fn fill(reader: &mut dyn Read, field: &str, out: &mut [u8]) -> Result<()> {
    reader.read_exact(out).map_err(|error| bad(format!("{field}: {error}")))
}

/// The header of a tensor, to write.
pub(super) fn of(tensor: &Tensor) -> Result<Vec<u8>> {
    let Some(descr) = descr(tensor.dtype()) else {
        return Err(bad("NumPy has no bf16; cast to f32"));
    };
    let sizes: Vec<String> = tensor.shape().iter().map(usize::to_string).collect();
    let comma = if sizes.len() == 1 { "," } else { "" };
    let mut text = format!(
        "{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}",
        sizes.join(", ")
    );
    let used = MAGIC.len() + 4 + text.len() + 1;
    text.extend(std::iter::repeat_n(' ', used.next_multiple_of(ALIGN) - used));
    text.push('\n');
    let size = u16::try_from(text.len()).map_err(|_| bad("a header of more than 64 KiB"))?;
    Ok([MAGIC, &[1, 0][..], &size.to_le_bytes(), text.as_bytes()].concat())
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn header(mut self, start: u64) -> Result<Header> {
        let (mut kind, mut fortran, mut shape) = (None, None, None);
        self.expect('{')?;
        while !self.take('}') {
            let key = self.text()?;
            self.expect(':')?;
            let twice = match key {
                "descr" => kind.replace(self.descr()?).is_some(),
                "fortran_order" => fortran.replace(self.truth()?).is_some(),
                "shape" => shape.replace(self.shape()?).is_some(),
                _ => {
                    let key: String = key.chars().take(40).collect();
                    return Err(self.wrong(format!("no key of an npy header: {key:?}")));
                }
            };
            if twice {
                return Err(self.wrong(format!("{key} stands twice")));
            }
            if !self.take(',') {
                self.expect('}')?;
                break;
            }
        }
        if !self.rest().trim_matches([' ', '\n']).is_empty() {
            return Err(self.wrong("more follows the closing brace"));
        }
        let missing = |key| Err(bad(format!("header: {key} is missing")));
        match (kind, fortran, shape) {
            (None, ..) => missing("descr"),
            (_, None, _) => missing("fortran_order"),
            (.., None) => missing("shape"),
            (Some((dtype, endian)), Some(fortran), Some(shape)) => {
                Ok(Header { dtype, endian, fortran, shape, start })
            }
        }
    }

    fn wrong(&self, what: impl Display) -> Error {
        bad(format!("header at its byte {}: {what}", self.at))
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    fn take(&mut self, c: char) -> bool {
        let rest = self.rest();
        self.skip(rest.len() - rest.trim_start_matches([' ', '\n', '\t']).len());
        let found = self.rest().starts_with(c);
        self.skip(usize::from(found) * c.len_utf8());
        found
    }

    fn expect(&mut self, c: char) -> Result<()> {
        if self.take(c) { Ok(()) } else { Err(self.wrong(format!("{c:?} expected"))) }
    }

    fn text(&mut self) -> Result<&'a str> {
        let quote = if self.take('"') { '"' } else { '\'' };
        if quote == '\'' && !self.take('\'') {
            return Err(self.wrong("a text expected"));
        }
        let rest = self.rest();
        let end = rest.find([quote, '\\']).filter(|&end| rest[end..].starts_with(quote));
        let end = end.ok_or_else(|| self.wrong("a text without an end"))?;
        self.skip(end + 1);
        Ok(&rest[..end])
    }

    fn descr(&mut self) -> Result<(DType, Endian)> {
        if !self.rest().trim_start().starts_with(['\'', '"']) {
            return Err(self.wrong("descr: only arrays of one plain type are read"));
        }
        let name = self.text()?;
        let endian = if name.starts_with('>') { Endian::Big } else { Endian::Little };
        let native = if cfg!(target_endian = "big") { ">" } else { "<" };
        let name = name.replacen('=', native, 1);
        let kind = name.trim_start_matches(['<', '>', '|']);
        let known = |dtype: &DType| descr(*dtype).is_some_and(|d| &d[1..] == kind);
        // `|` says that there is no byte order: only for one byte.
        let order = name.len() == kind.len() + 1;
        let dtype = DType::ALL
            .into_iter()
            .find(known)
            .filter(|d| order && (d.size() == 1 || !name.starts_with('|')));
        let dtype = dtype.ok_or_else(|| {
            let name: String = name.chars().take(20).collect();
            self.wrong(format!("descr: elements of {name:?} are not supported"))
        })?;
        Ok((dtype, endian))
    }

    fn truth(&mut self) -> Result<bool> {
        self.take(' ');
        for (word, truth) in [("True", true), ("False", false)] {
            if self.rest().starts_with(word) {
                self.skip(word.len());
                return Ok(truth);
            }
        }
        Err(self.wrong("fortran_order: True or False expected"))
    }

    fn shape(&mut self) -> Result<Sizes> {
        let mut shape = Sizes::new();
        self.expect('(')?;
        let mut comma = true;
        while !self.take(')') {
            if !comma || shape.len() == MAX_RANK {
                return Err(
                    self.wrong(format!("shape: ')' expected, at most {MAX_RANK} dims are read"))
                );
            }
            let rest = self.rest();
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let size = rest[..digits].parse();
            shape.push(
                size.map_err(|_| self.wrong("shape: a whole number from 0 to 2^64 - 1 expected"))?,
            );
            self.skip(digits);
            // Python 2 wrote its long numbers so.
            self.take('L');
            comma = self.take(',');
        }
        // `(3)` is a number in Python, and no shape.
        if shape.len() == 1 && !comma {
            return Err(self.wrong("shape: not a tuple"));
        }
        Ok(shape)
    }
}
