//! Reads the data file of a task: JSON lines, TSV or CSV in, rows of named values out.
//!
//! Data files are other people's: sizes are capped before anything is kept, every error names file and line.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use super::TaskError;

/// Largest data file.
pub const MAX_DATA_BYTES: u64 = 256 << 20;
/// Longest row.
pub const MAX_ROW_BYTES: usize = 1 << 20;
/// Most rows read from one file.
pub const MAX_ROWS: usize = 1_000_000;

/// One row of a data file.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Line on which it begins, from 1.
    pub line: u64,
    /// Its values by column name, in file order. A null is no value and is left out.
    pub values: Map<String, Value>,
}

/// How rows are laid out, which the file's name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    JsonLines,
    /// Tab-separated, without quoting: a quotation mark is a quotation mark.
    Tsv,
    /// Comma-separated with RFC 4180 quoting.
    Csv,
}

impl Format {
    /// The format of a file by its extension.
    ///
    /// # Errors
    /// An extension other than `jsonl`, `ndjson`, `json` (read as JSON lines), `tsv` and `csv`.
    pub fn of(file: &Path) -> Result<Self, TaskError> {
        match file.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
            Some("jsonl" | "ndjson" | "json") => Ok(Self::JsonLines),
            Some("tsv") => Ok(Self::Tsv),
            Some("csv") => Ok(Self::Csv),
            _ => Err(TaskError::Format { file: file.to_owned() }),
        }
    }
}

/// The rows of `file`: all of them, or the first `limit`. `columns` names the columns of a TSV or CSV file without a
/// header line; without it the first line is the header. Empty lines are skipped.
///
/// # Errors
/// A file that cannot be read or exceeds its caps, bytes that are not UTF-8, a row that is not a JSON object or has not
/// as many fields as there are columns, a header that names a column twice.
pub fn read_rows(file: &Path, columns: Option<&[String]>, limit: Option<usize>) -> Result<Vec<Row>, TaskError> {
    let format = Format::of(file)?;
    let text = read_text(file, MAX_DATA_BYTES)?;
    let limit = limit.unwrap_or(usize::MAX);
    let rows: Vec<Row> = match format {
        Format::JsonLines => json_rows(file, &text).take(limit.min(MAX_ROWS + 1)).collect::<Result<_, _>>()?,
        Format::Tsv | Format::Csv => separated_rows(file, &text, format, columns, limit.min(MAX_ROWS + 1))?,
    };
    match rows.get(MAX_ROWS) {
        Some(row) => {
            Err(row_error(file, row.line, format!("more than `{MAX_ROWS}` rows: set `limit`, or split the file")))
        }
        None if rows.is_empty() => Err(TaskError::NoRows { file: file.to_owned() }),
        None => Ok(rows),
    }
}

/// The whole of a regular UTF-8 file of at most `limit` bytes, without a byte order mark.
pub(super) fn read_text(file: &Path, limit: u64) -> Result<String, TaskError> {
    let failed = |source| TaskError::Read { file: file.to_owned(), source };
    // Asked before opening: to open a pipe would wait for a writer.
    if !std::fs::metadata(file).map_err(failed)?.is_file() {
        return Err(TaskError::NotAFile { file: file.to_owned() });
    }
    let mut bytes = Vec::new();
    File::open(file).map_err(failed)?.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(TaskError::TooLarge { file: file.to_owned(), limit });
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let (before, bad) = e.as_bytes().split_at(e.utf8_error().valid_up_to());
        let line = 1 + before.iter().filter(|b| **b == b'\n').count() as u64;
        let byte = bad.first().copied().unwrap_or_default();
        row_error(file, line, format!("byte `0x{byte:02x}` is not UTF-8: convert the file"))
    })?;
    Ok(text.strip_prefix('\u{FEFF}').map(str::to_owned).unwrap_or(text))
}

pub(super) fn row_error(file: &Path, line: u64, message: String) -> TaskError {
    TaskError::Row { file: file.to_owned(), line, message }
}

fn check_length(file: &Path, line: u64, bytes: usize) -> Result<(), TaskError> {
    if bytes > MAX_ROW_BYTES {
        return Err(row_error(file, line, format!("row of `{bytes}` bytes, the limit is `{MAX_ROW_BYTES}`")));
    }
    Ok(())
}

fn json_rows<'a>(file: &'a Path, text: &'a str) -> impl Iterator<Item = Result<Row, TaskError>> + 'a {
    (1..).zip(text.lines()).filter(|(_, json)| !json.trim().is_empty()).map(move |(line, json)| {
        check_length(file, line, json.len())?;
        let mut values: Map<String, Value> = serde_json::from_str(json).map_err(|e| {
            // serde_json counts lines within the row; its own "at line 1 column 7" would mislead.
            let reason = e.to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default();
            row_error(file, line, format!("column {}: not a JSON object: {reason}", e.column()))
        })?;
        values.retain(|_, value| !value.is_null());
        Ok(Row { line, values })
    })
}

fn separated_rows(
    file: &Path,
    text: &str,
    format: Format,
    columns: Option<&[String]>,
    limit: usize,
) -> Result<Vec<Row>, TaskError> {
    let (delimiter, quoting) = if format == Format::Tsv { (b'\t', false) } else { (b',', true) };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .quoting(quoting)
        .has_headers(columns.is_none())
        .flexible(true)
        .from_reader(text.as_bytes());
    let unreadable = |e: csv::Error| row_error(file, e.position().map_or(0, csv::Position::line), e.to_string());
    let names: Vec<String> = match columns {
        Some(columns) => columns.to_vec(),
        None => reader.headers().map_err(unreadable)?.iter().map(str::to_owned).collect(),
    };
    let mut seen = HashSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(row_error(file, 1, format!("column `{twice}` is named twice")));
    }
    let mut rows = Vec::new();
    for record in reader.records().take(limit) {
        let record = record.map_err(unreadable)?;
        let line = record.position().map_or(0, |at| at.line() + blank_lines(text, at.byte()));
        check_length(file, line, record.as_slice().len())?;
        if record.len() != names.len() {
            let (got, expected) = (record.len(), names.len());
            let hint = if columns.is_none() { ": if the first line is no header, set `columns`" } else { "" };
            return Err(row_error(file, line, format!("`{got}` fields for `{expected}` columns{hint}")));
        }
        let values = names.iter().zip(&record).map(|(name, value)| (name.clone(), Value::from(value))).collect();
        rows.push(Row { line, values });
    }
    Ok(rows)
}

/// Line ends at `byte`, which the csv crate leaves out of a row's line number: empty lines, the rest of a CR LF.
fn blank_lines(text: &str, byte: u64) -> u64 {
    let rest = text.bytes().skip(usize::try_from(byte).unwrap_or(usize::MAX));
    rest.take_while(|b| matches!(b, b'\r' | b'\n')).filter(|b| *b == b'\n').count() as u64
}
