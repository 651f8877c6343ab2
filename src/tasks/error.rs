//! What can be wrong with a task: each message says where, what was found and what to do.

use std::path::PathBuf;

/// A task or its data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The operating system does not give the file.
    #[error("cannot read `{}`: {source}", file.display())]
    Read {
        /// The task or data file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A directory, pipe or device.
    #[error("`{}` is not a regular file", file.display())]
    NotAFile {
        /// The task or data file.
        file: PathBuf,
    },
    /// The file exceeds its cap.
    #[error("`{}` is larger than `{limit}` bytes: split it", file.display())]
    TooLarge {
        /// The task or data file.
        file: PathBuf,
        /// The cap in bytes.
        limit: u64,
    },
    /// The task file does not say something that can be asked.
    #[error("{}:{line}:{column}: {message}", file.display())]
    Invalid {
        /// The task file.
        file: PathBuf,
        /// Line, from 1; 0 if the parser does not know.
        line: u64,
        /// Column, from 1; 0 if the parser does not know.
        column: u64,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The data file's name does not end in a known format.
    #[error("`{}` has no known format: name it `.jsonl`, `.json` (JSON lines), `.tsv` or `.csv`", file.display())]
    Format {
        /// The data file.
        file: PathBuf,
    },
    /// A row cannot be read, or what it renders to cannot be asked or judged.
    #[error("{}:{line}: {message}", file.display())]
    Row {
        /// The data file.
        file: PathBuf,
        /// Line on which the row begins, from 1.
        line: u64,
        /// What is wrong with it.
        message: String,
    },
    /// A template needs a column that a row does not have, or holds null in.
    #[error("{}:{line}: no value for `{column}`, which `{template}` needs; the row has {present}", file.display())]
    MissingColumn {
        /// The data file.
        file: PathBuf,
        /// Line on which the row begins, from 1.
        line: u64,
        /// The task key that holds the template.
        template: String,
        /// What the template needs.
        column: String,
        /// The columns that the row has, ready to print.
        present: String,
    },
    /// The caller's limit leaves nothing to ask.
    #[error("a limit of `0` questions leaves nothing to ask: it must be at least `1`")]
    ZeroLimit,
    /// The data file holds nothing to ask.
    #[error("`{}` has no rows", file.display())]
    NoRows {
        /// The data file.
        file: PathBuf,
    },
}
