//! Numeric columns of CSV files.

mod cells;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use csv_core::Reader;
use ferrotape_tensor::io::open_file;
use ferrotape_tensor::{DType, Error, ErrorKind, Result, Tensor};

use cells::{Cell, Cells};

/// Reads the columns of these names as a tensor `[rows, columns]` of f32, f64 or i64; no names: all columns.
///
/// The file starts with a line of names; cells are separated by commas, and those with commas, quotes or line ends in them stand in
/// double quotes (RFC 4180). Space around a cell, a byte-order mark and blank lines are skipped; lines end with LF, CR LF or CR. Only
/// the cells of the columns asked for must be numbers.
///
/// ```
/// # use ferrotape_nn::data::parse_csv;
/// # use ferrotape_tensor::DType;
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let table = "month,passengers\nJan,112\nFeb,118\n";
/// let x = parse_csv(table.as_bytes(), &["passengers"], DType::F32)?;
/// assert_eq!(x.to_vec::<f32>()?, [112., 118.]);
/// # Ok(()) }
/// ```
///
/// # Errors
/// The file system's; a name that is missing or stands twice; a row of more or fewer cells than the first line; a cell that is
/// empty, no decimal number, or beyond the type (`nan` and `inf` are no numbers: what is missing must be dealt with, not trained
/// on); an open quote, a NUL: with the path, the line and the column.
pub fn read_csv(path: impl AsRef<Path>, columns: &[&str], dtype: DType) -> Result<Tensor> {
    let path = path.as_ref();
    table(|| open_file(path), columns, dtype).map_err(|message| bad(path.to_path_buf(), message))
}

/// As [`read_csv`], of the contents of a file.
///
/// # Errors
/// As [`read_csv`], without a path.
pub fn parse_csv(bytes: &[u8], columns: &[&str], dtype: DType) -> Result<Tensor> {
    table(|| Ok(bytes), columns, dtype).map_err(|message| bad(PathBuf::new(), message))
}

#[track_caller]
fn bad(path: PathBuf, message: String) -> Error {
    Error::new(ErrorKind::File { path, message })
}

/// Reads the table twice: memory is asked for only when all of it was found right.
fn table<R: Read>(
    open: impl Fn() -> io::Result<R>,
    columns: &[&str],
    dtype: DType,
) -> Result<Tensor, String> {
    match dtype {
        DType::F32 => {
            typed(open, columns, |text| text.parse().ok().filter(|x: &f32| x.is_finite()))
        }
        DType::F64 => {
            typed(open, columns, |text| text.parse().ok().filter(|x: &f64| x.is_finite()))
        }
        DType::I64 => typed(open, columns, |text| text.parse::<i64>().ok()),
        _ => Err(format!("numbers of type {dtype} are not read: f32, f64 or i64")),
    }
}

fn typed<R: Read, T: ferrotape_tensor::Element>(
    open: impl Fn() -> io::Result<R>,
    columns: &[&str],
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Tensor, String> {
    let open = || open().map_err(|error| error.to_string());
    // Its table of states takes longer to build than a small file to parse.
    let mut parser = Reader::new();
    let [rows, width] = scan(open()?, &mut parser, columns, |text| parse(text).map(drop))?;
    let mut numbers = Vec::new();
    let count = rows.checked_mul(width).filter(|&n| numbers.try_reserve_exact(n).is_ok());
    count.ok_or_else(|| format!("no memory for {rows} rows of {width} numbers"))?;
    let again = scan(open()?, &mut parser, columns, |text| {
        // The file may have grown since: then there is no room.
        numbers.push_within(parse(text)?)
    })?;
    if again != [rows, width] {
        return Err("the file changed while it was read".to_string());
    }
    Tensor::from_vec(numbers, [rows, width]).map_err(|error| error.to_string())
}

/// `push` that never asks for memory.
trait PushWithin<T> {
    fn push_within(&mut self, item: T) -> Option<()>;
}

impl<T> PushWithin<T> for Vec<T> {
    fn push_within(&mut self, item: T) -> Option<()> {
        (self.len() < self.capacity()).then(|| self.push(item))
    }
}

/// Gives each wanted cell, row after row, to `number`; the number of rows and of wanted columns.
fn scan<R: Read>(
    file: R,
    parser: &mut Reader,
    columns: &[&str],
    mut number: impl FnMut(&str) -> Option<()>,
) -> Result<[usize; 2], String> {
    let mut cells = Cells::new(file, parser);
    let header = Header::read(&mut cells, columns)?;
    let mut rows = 0usize;
    // Of one row, in the order of the file; they are given in the order asked for.
    let mut kept: Vec<String> = vec![String::new(); header.wanted.len()];
    while !cells.at_end()? {
        let line = cells.line();
        let mut count = 0;
        loop {
            let Cell { text, last } = cells.next()?;
            let at = |what: String| format!("line {line}, column {}: {what}", header.name(count));
            let place = header.all.then_some(count).filter(|_| count < header.count);
            if place.is_some() {
                read_number(&text, &mut number).map_err(at)?;
            } else if let Ok(found) = header.wanted.binary_search_by_key(&count, |w| w.0) {
                let text = text.map_err(at)?;
                let slot = header.wanted.get(found).and_then(|w| kept.get_mut(w.1));
                if let Some(slot) = slot {
                    slot.clear();
                    slot.push_str(text);
                }
            }
            count += 1;
            if last {
                break;
            }
        }
        if count != header.count {
            return Err(format!("line {line}: {count} cells, the first line has {}", header.count));
        }
        if !header.all {
            for (text, name) in kept.iter().zip(columns) {
                let at = |what| format!("line {line}, column {name:?}: {what}");
                read_number(&Ok(text), &mut number).map_err(at)?;
            }
        }
        rows += 1;
    }
    let width = if header.all { header.count } else { columns.len() };
    Ok([rows, width])
}

fn read_number(
    text: &Result<&str, String>,
    number: &mut impl FnMut(&str) -> Option<()>,
) -> Result<(), String> {
    let text = text.as_ref().map_err(String::clone)?;
    number(text).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        format!("{shown:?} is no number of this type")
    })
}

/// The first line.
struct Header {
    count: usize,
    /// Every column is asked for.
    all: bool,
    /// Places in the file and in the list of names asked for, sorted.
    wanted: Vec<(usize, usize)>,
    names: Vec<String>,
}

impl Header {
    fn read<R: Read>(cells: &mut Cells<R>, columns: &[&str]) -> Result<Header, String> {
        if cells.at_end()? {
            return Err("line 1: the names of the columns are missing".to_string());
        }
        let (all, mut wanted, mut count) = (columns.is_empty(), Vec::new(), 0);
        loop {
            let Cell { text, last } = cells.next()?;
            let text = text.ok().map(|text| text.trim_start_matches('\u{feff}'));
            for (place, _) in columns.iter().enumerate().filter(|(_, name)| Some(**name) == text) {
                if wanted.iter().any(|&(_, taken)| taken == place) {
                    return Err(format!("line 1: two columns are called {:?}", columns[place]));
                }
                wanted.push((count, place));
            }
            count += 1;
            if last {
                break;
            }
        }
        let missing = (0..columns.len()).find(|&i| wanted.iter().all(|&(_, place)| place != i));
        if let Some(place) = missing {
            return Err(format!("line 1: no column is called {:?}", columns[place]));
        }
        let names = columns.iter().map(|name| name.to_string()).collect();
        Ok(Header { count, all, wanted, names })
    }

    /// A column as messages name it.
    fn name(&self, column: usize) -> String {
        let place = self.wanted.binary_search_by_key(&column, |w| w.0);
        let name = place.ok().and_then(|i| self.wanted.get(i)).and_then(|w| self.names.get(w.1));
        name.map_or((column + 1).to_string(), |name| format!("{name:?}"))
    }
}
