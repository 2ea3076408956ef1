//! The header: JSON of one fixed form, read without recursion and without a tree.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::dtype::DType;
use crate::error::Result;
use crate::io::file::bad;
use crate::io::source::{MAX_RANK, Sizes, byte_size, of_tensor};

pub(super) const METADATA: &str = "__metadata__";
/// What is kept of the header must stay small beside the file: these bound it.
const MAX_TENSORS: usize = 100_000;
const MAX_SIZES: usize = 1_000_000;

#[derive(Debug)]
pub(super) struct Header {
    /// In the order of their data, which they cover without gap or overlap.
    pub(super) entries: Vec<Entry>,
    pub(super) metadata: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) shape: Sizes,
    /// From the start of the data.
    pub(super) start: u64,
    end: u64,
}

impl Header {
    /// `payload`: how many bytes follow the header.
    pub(super) fn parse(text: &[u8], payload: u64) -> Result<Header> {
        let text = std::str::from_utf8(text).map_err(|error| {
            bad(format!("header: not UTF-8 at byte {}", 8 + error.valid_up_to()))
        })?;
        let mut json = Json { text, at: 0, sizes: 0 };
        let (mut entries, mut metadata) = (Vec::new(), None);
        // Not `open`: nothing may stand before the brace.
        json.expect('{', "the header")?;
        let mut more = json.first_of('}')?;
        while more {
            let name = json.key()?;
            if name != METADATA {
                if entries.len() == MAX_TENSORS {
                    return Err(json.wrong(format!("more than {MAX_TENSORS} tensors")));
                }
                let entry = json.entry(name)?;
                entries.push(entry);
            } else if metadata.replace(json.texts()?).is_some() {
                return Err(json.wrong(format!("{METADATA} stands twice")));
            }
            more = json.next_of('}')?;
        }
        json.space();
        if json.at != text.len() {
            return Err(json.wrong("more follows the header's closing brace"));
        }
        check_names(&mut entries)?;
        check_places(&mut entries, payload)?;
        Ok(Header { entries, metadata: metadata.unwrap_or_default() })
    }
}

fn check_names(entries: &mut [Entry]) -> Result<()> {
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    match entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => of_tensor(&pair[0].name, Err(bad("the name stands twice in the header"))),
        None => Ok(()),
    }
}

/// That each tensor has the bytes of its shape, and that one follows the other from the first byte to the last.
fn check_places(entries: &mut [Entry], payload: u64) -> Result<()> {
    entries.sort_unstable_by_key(|entry| (entry.start, entry.end));
    let mut covered = 0;
    for Entry { name, dtype, shape, start, end } in &*entries {
        let check = || {
            let size = byte_size(shape, *dtype)?;
            if end.checked_sub(*start) != Some(size) {
                let message = format!(
                    "data_offsets [{start}, {end}] for {size} bytes of shape {:?} and type {dtype}",
                    &shape[..]
                );
                return Err(bad(message));
            }
            if *start != covered || *end > payload {
                let message = format!(
                    "data_offsets [{start}, {end}], the tensor before ends at {covered} and the data at {payload}"
                );
                return Err(bad(message));
            }
            Ok(())
        };
        of_tensor(name, check())?;
        covered = *end;
    }
    match payload - covered {
        0 => Ok(()),
        rest => Err(bad(format!("data: {rest} bytes follow the last tensor"))),
    }
}

/// What is left to read of the header.
struct Json<'a> {
    text: &'a str,
    at: usize,
    /// Of all shapes.
    sizes: usize,
}

impl Json<'_> {
    fn wrong(&self, what: impl Display) -> crate::error::Error {
        bad(format!("header at byte {}: {what}", 8 + self.at))
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn take(&mut self, c: char) -> bool {
        let found = self.rest().starts_with(c);
        self.at += usize::from(found) * c.len_utf8();
        found
    }

    fn expect(&mut self, c: char, what: &str) -> Result<()> {
        if self.take(c) { Ok(()) } else { Err(self.wrong(format!("{what}: {c:?} expected"))) }
    }

    fn open(&mut self, c: char, what: &str) -> Result<()> {
        self.space();
        self.expect(c, what)
    }

    /// True if there is a first element; else the list or object is closed.
    fn first_of(&mut self, close: char) -> Result<bool> {
        self.space();
        Ok(!self.take(close))
    }

    /// True if there is another element.
    fn next_of(&mut self, close: char) -> Result<bool> {
        self.space();
        if self.take(',') {
            return Ok(true);
        }
        self.expect(close, "the end of a list or an object").map(|()| false)
    }

    fn key(&mut self) -> Result<String> {
        let key = self.string()?;
        self.open(':', "a key")?;
        Ok(key)
    }

    fn string(&mut self) -> Result<String> {
        self.open('"', "a text")?;
        let mut text = String::new();
        loop {
            let rest = self.rest();
            let plain = rest.find(|c| c == '"' || c == '\\' || c < ' ').unwrap_or(rest.len());
            text.push_str(rest.get(..plain).unwrap_or_default());
            self.at += plain;
            if self.take('"') {
                return Ok(text);
            }
            if !self.take('\\') {
                return Err(self.wrong("a text without an end, or a control character in it"));
            }
            text.push(self.escaped()?);
        }
    }

    fn escaped(&mut self) -> Result<char> {
        let Some(c) = self.rest().chars().next() else {
            return Err(self.wrong("the text ends in an escape"));
        };
        self.at += c.len_utf8();
        Ok(match c {
            '"' | '\\' | '/' => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.unicode(),
            _ => return Err(self.wrong(format!("no escape: {c:?}"))),
        })
    }

    fn unicode(&mut self) -> Result<char> {
        let first = self.hex()?;
        let mut units = vec![first];
        if (0xd800..0xdc00).contains(&first) && self.rest().starts_with("\\u") {
            self.at += 2;
            units.push(self.hex()?);
        }
        let mut decoded = char::decode_utf16(units);
        match (decoded.next(), decoded.next()) {
            (Some(Ok(c)), None) => Ok(c),
            _ => Err(self.wrong("half a surrogate pair")),
        }
    }

    fn hex(&mut self) -> Result<u16> {
        let digits = self.rest().get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.wrong("four hexadecimal digits expected"))?;
        self.at += 4;
        Ok(unit)
    }

    fn number(&mut self) -> Result<u64> {
        self.space();
        let rest = self.rest();
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let text = &rest[..digits];
        let plain =
            !rest[digits..].starts_with(['.', 'e', 'E']) && (text == "0" || !text.starts_with('0'));
        let number = text.parse().ok().filter(|_| plain);
        let number =
            number.ok_or_else(|| self.wrong("a whole number from 0 to 2^64 - 1 expected"))?;
        self.at += digits;
        Ok(number)
    }

    fn entry(&mut self, name: String) -> Result<Entry> {
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        self.open('{', "a tensor")?;
        let mut more = self.first_of('}')?;
        while more {
            let field = self.key()?;
            let twice = match field.as_str() {
                "dtype" => dtype.replace(of_tensor(&name, self.dtype())?).is_some(),
                "shape" => shape.replace(of_tensor(&name, self.shape())?).is_some(),
                "data_offsets" => offsets.replace(of_tensor(&name, self.offsets())?).is_some(),
                _ => {
                    return of_tensor(
                        &name,
                        Err(self.wrong(format!("no field of a tensor: {field:?}"))),
                    );
                }
            };
            if twice {
                return of_tensor(&name, Err(self.wrong(format!("{field} stands twice"))));
            }
            more = self.next_of('}')?;
        }
        let missing = |field| of_tensor(&name, Err(self.wrong(format!("{field} is missing"))));
        match (dtype, shape, offsets) {
            (None, ..) => missing("dtype"),
            (_, None, _) => missing("shape"),
            (.., None) => missing("data_offsets"),
            (Some(dtype), Some(shape), Some((start, end))) => {
                Ok(Entry { name, dtype, shape, start, end })
            }
        }
    }

    fn dtype(&mut self) -> Result<DType> {
        let name = self.string()?;
        Ok(match name.as_str() {
            "BOOL" => DType::Bool,
            "U8" => DType::U8,
            "I8" => DType::I8,
            "I32" => DType::I32,
            "I64" => DType::I64,
            "F16" => DType::F16,
            "BF16" => DType::BF16,
            "F32" => DType::F32,
            "F64" => DType::F64,
            _ => {
                let name: String = name.chars().take(20).collect();
                return Err(self.wrong(format!("dtype: elements of {name} are not supported")));
            }
        })
    }

    fn shape(&mut self) -> Result<Sizes> {
        let mut shape = Sizes::new();
        self.open('[', "shape")?;
        let mut more = self.first_of(']')?;
        while more {
            self.sizes += 1;
            if shape.len() == MAX_RANK || self.sizes > MAX_SIZES {
                let message = format!("shape: more than {MAX_RANK} dims, or {MAX_SIZES} in all");
                return Err(self.wrong(message));
            }
            let size = self.number()?;
            shape
                .push(usize::try_from(size).map_err(|_| self.wrong("shape: beyond this machine"))?);
            more = self.next_of(']')?;
        }
        Ok(shape)
    }

    fn offsets(&mut self) -> Result<(u64, u64)> {
        self.open('[', "data_offsets")?;
        let start = self.number()?;
        self.open(',', "data_offsets")?;
        let end = self.number()?;
        self.open(']', "data_offsets")?;
        Ok((start, end))
    }

    /// An object of texts.
    fn texts(&mut self) -> Result<BTreeMap<String, String>> {
        let mut texts = BTreeMap::new();
        self.open('{', METADATA)?;
        let mut more = self.first_of('}')?;
        while more {
            let key = self.key()?;
            let value = self.string()?;
            if texts.len() == MAX_TENSORS || texts.insert(key, value).is_some() {
                return Err(self.wrong(format!("{METADATA}: a key stands twice, or too many keys")));
            }
            more = self.next_of('}')?;
        }
        Ok(texts)
    }
}
