//! Puts a task together: path of a task file in, [`Task`] out.

use std::path::Path;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::data::{Row, read_rows, read_text, row_error};
use super::template::Templates;
use super::{Kind, Question, Task, TaskError, schema};

/// Largest task file.
const MAX_TASK_BYTES: u64 = 1 << 20;

impl Task {
    /// Loads the task file `path` and the data it names, relative to itself. The questions are the first `limit` rows:
    /// of the file as it is, or, if the task has a `seed`, as that seed shuffles it. `limit` overrides the task's own.
    ///
    /// # Errors
    /// A `limit` of zero, files that cannot be read, keys and values that mean nothing or are not supported yet, rows that are malformed,
    /// lack a column or render to something that cannot be asked or judged.
    pub fn load(path: &Path, limit: Option<usize>) -> Result<Self, TaskError> {
        Self::load_on(path, None, limit)
    }

    /// The same on the questions of another data file, of the same columns.
    ///
    /// # Errors
    /// As [`Task::load`].
    pub fn load_on(path: &Path, data: Option<&Path>, limit: Option<usize>) -> Result<Self, TaskError> {
        if limit == Some(0) {
            return Err(TaskError::ZeroLimit);
        }
        let spec = schema::parse(path, &read_text(path, MAX_TASK_BYTES)?)?;
        let invalid = |at: serde_saphyr::Location, message| {
            let (line, column) = (at.line(), at.column());
            TaskError::Invalid { file: path.to_owned(), line, column, message }
        };
        let mut templates = Templates::new();
        templates.add("prompt", &spec.prompt.value).map_err(|message| invalid(spec.prompt.referenced, message))?;
        if let Some(answer) = &spec.answer {
            templates.add("answer", &answer.value).map_err(|message| invalid(answer.referenced, message))?;
        }

        let own = || path.parent().unwrap_or(Path::new("")).join(&spec.data);
        let data = data.map_or_else(own, Path::to_owned);
        let limit = limit.or(spec.limit);
        let mut rows = read_rows(&data, spec.columns.as_deref(), if spec.seed.is_some() { None } else { limit })?;
        if let Some(seed) = spec.seed {
            shuffle(&mut rows, seed);
            rows.truncate(limit.unwrap_or(usize::MAX));
        }

        let question = |row: &Row| {
            let prompt = templates.render("prompt", &data, row)?;
            if prompt.is_empty() {
                return Err(row_error(&data, row.line, "`prompt` renders to nothing".to_owned()));
            }
            let answer = match &spec.kind {
                Kind::Perplexity => String::new(),
                Kind::Generate(generate) => {
                    let rendered = templates.render("answer", &data, row)?;
                    generate.prepare_answer(&rendered).map_err(|message| row_error(&data, row.line, message))?
                }
            };
            Ok(Question { prompt, answer, line: row.line })
        };
        let questions = rows.iter().map(question).collect::<Result<_, _>>()?;
        let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name: spec.name.unwrap_or_else(stem), kind: spec.kind, chat: spec.chat, questions })
    }
}

/// Fisher and Yates' shuffle on ChaCha12, spelled out so that a seed means the same order in every version.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = ChaCha12Rng::from_seed(key);
    for last in (1..items.len()).rev() {
        let below = last as u128 + 1;
        items.swap(last, ((u128::from(rng.next_u64()) * below) >> 64) as usize);
    }
}
