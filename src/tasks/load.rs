//! Puts a task together: path of a task file in, [`Task`] out.

use std::path::Path;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_saphyr::Location;

use super::data::{Row, read_rows, read_text};
use super::forms::Forms;
use super::{Task, TaskError, schema};

/// Largest task file.
const MAX_TASK_BYTES: u64 = 1 << 20;

impl Task {
    /// Loads the task file `path` and the data it names, relative to itself. The questions are the first `limit` rows:
    /// of the file as it is, or, if the task has a `seed`, as that seed shuffles it. `limit` overrides the task's own.
    /// Examples (`shots`) that come from the same file are its first rows, which are then not asked.
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
        let invalid = |at: Location, message| {
            let (line, column) = (at.line(), at.column());
            TaskError::Invalid { file: path.to_owned(), line, column, message }
        };
        let forms = Forms::new(&spec).map_err(|(at, message)| invalid(at, message))?;
        let beside = |name: &str| path.parent().unwrap_or(Path::new("")).join(name);
        let columns = spec.columns.as_deref();
        let data = data.map_or_else(|| beside(&spec.data), Path::to_owned);
        let limit = limit.or(spec.limit);
        let own_shots = spec.shots.as_ref().filter(|shots| shots.data.is_none()).map_or(0, |shots| shots.count);
        let wanted = limit.map(|limit| limit.saturating_add(own_shots)).filter(|_| spec.seed.is_none());
        let mut rows = read_rows(&data, columns, wanted)?;

        let mut examples = String::new();
        if let Some(shots) = &spec.shots {
            let (file, given) = match &shots.data {
                Some(name) => (beside(name), read_rows(&beside(name), columns, Some(shots.count))?),
                None => (data.clone(), rows.drain(..shots.count.min(rows.len())).collect()),
            };
            if given.len() < shots.count || rows.is_empty() {
                let more = if shots.data.is_some() { "" } else { " besides the questions" };
                let message =
                    format!("`shots: {}` needs as many rows{more}: `{}` has too few", shots.count, file.display());
                return Err(invalid(shots.at, message));
            }
            examples = forms.examples(shots, &file, &given)?;
        }
        if let Some(seed) = spec.seed {
            shuffle(&mut rows, seed);
            rows.truncate(limit.unwrap_or(usize::MAX));
        }

        let question = |row: &Row| forms.question(&examples, &data, row);
        let questions = rows.iter().map(question).collect::<Result<_, _>>()?;
        let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = spec.name.clone().unwrap_or_else(stem);
        Ok(Self { name, kind: spec.kind.clone(), chat: spec.chat, questions })
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
