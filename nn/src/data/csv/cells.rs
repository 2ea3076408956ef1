//! Cells one after the other, in memory of a fixed size.

use std::io::Read;

use csv_core::{ReadFieldResult, Reader};

/// The longest cell that is looked at: numbers and names of columns.
const MAX_CELL: usize = 1024;
const CHUNK: usize = 1 << 16;

/// A cell, and whether it is the last of its row.
pub(super) struct Cell<'a> {
    /// Without the space around it; or what is wrong with it, should anyone want it.
    pub(super) text: Result<&'a str, String>,
    pub(super) last: bool,
}

pub(super) struct Cells<'a, R> {
    file: R,
    parser: &'a mut Reader,
    quote: Quote,
    chunk: Vec<u8>,
    /// The part of the chunk that is not parsed yet.
    at: usize,
    end: usize,
    cell: Vec<u8>,
    done: bool,
    /// The first cell of a row, read to see whether there is a row.
    ahead: Option<Ahead>,
    line: u64,
}

#[derive(Clone, Copy)]
struct Ahead {
    len: usize,
    long: bool,
    last: bool,
}

/// Whether a quote is open: the parser takes one that never closes without a word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    Before,
    Plain,
    Open,
    /// After a quote within quotes: closed, unless another follows.
    Closing,
}

impl Quote {
    fn after(self, byte: u8) -> Quote {
        match (self, byte) {
            (Quote::Open, b'"') => Quote::Closing,
            (Quote::Open, _) | (Quote::Before | Quote::Closing, b'"') => Quote::Open,
            (_, b',' | b'\n' | b'\r') => Quote::Before,
            _ => Quote::Plain,
        }
    }
}

impl<'a, R: Read> Cells<'a, R> {
    /// The parser may have read another file.
    pub(super) fn new(file: R, parser: &'a mut Reader) -> Self {
        parser.reset();
        Cells {
            file,
            parser,
            quote: Quote::Before,
            chunk: vec![0; CHUNK],
            at: 0,
            end: 0,
            cell: vec![0; MAX_CELL],
            done: false,
            ahead: None,
            line: 1,
        }
    }

    /// The line where the row starts that [`at_end`](Self::at_end) saw.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// True if no row follows.
    pub(super) fn at_end(&mut self) -> Result<bool, String> {
        if self.ahead.is_none() && !self.done {
            self.ahead = self.read()?;
        }
        Ok(self.ahead.is_none())
    }

    /// The next cell.
    pub(super) fn next(&mut self) -> Result<Cell<'_>, String> {
        let ahead = match self.ahead.take() {
            Some(ahead) => Some(ahead),
            None => self.read()?,
        };
        let Ahead { len, long, last } = ahead.ok_or("the file ends in a row")?;
        let text = std::str::from_utf8(self.cell.get(..len).unwrap_or_default());
        let text = match text {
            _ if long => Err(format!("a cell of more than {MAX_CELL} bytes")),
            Ok(text) => Ok(text.trim_matches([' ', '\t'])),
            Err(_) => Err("a cell that is not UTF-8".to_string()),
        };
        Ok(Cell { text, last })
    }

    fn fill(&mut self) -> Result<(), String> {
        let read = loop {
            match self.file.read(&mut self.chunk) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let line = self.parser.line();
        (self.at, self.end) = (0, read.map_err(|error| format!("line {line}: {error}"))?);
        let new = self.chunk.get(..self.end).unwrap_or_default();
        if new.contains(&0) {
            return Err(format!("line {line} or one of the next: a NUL byte"));
        }
        self.quote = new.iter().fold(self.quote, |quote, &byte| quote.after(byte));
        if self.end == 0 && self.quote == Quote::Open {
            return Err(format!("line {line}: a quote is open at the end of the file"));
        }
        Ok(())
    }

    /// Parses one cell; `None` at the end of the file.
    fn read(&mut self) -> Result<Option<Ahead>, String> {
        let (mut len, mut long, mut ended) = (0, false, false);
        self.line = self.parser.line();
        loop {
            if self.at == self.end && !ended {
                self.fill()?;
                ended = self.end == 0;
            }
            let input = self.chunk.get(self.at..self.end).unwrap_or_default();
            let output = self.cell.get_mut(len..).unwrap_or_default();
            let (result, taken, given) = self.parser.read_field(input, output);
            self.at += taken;
            len += given;
            match result {
                ReadFieldResult::InputEmpty => {}
                ReadFieldResult::OutputFull => (len, long) = (0, true),
                ReadFieldResult::Field { record_end } => {
                    return Ok(Some(Ahead { len, long, last: record_end }));
                }
                ReadFieldResult::End => {
                    self.done = true;
                    return Ok(None);
                }
            }
        }
    }
}
