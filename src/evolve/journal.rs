//! The journal: one JSON object a line, on disk before the search goes on, so that nothing but the candidate in flight can be lost.
//!
//! A search is deterministic given its file, seed and scores; resuming therefore replays it and takes from the journal every score that
//! is already there. A last line that was cut short by a crash is dropped.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Config, EvolveError, Trial};
use crate::gguf::Parent;
use crate::recipe::ModelRef;
use crate::tasks::Task;

/// Its name in the out folder.
const FILE_NAME: &str = "journal.jsonl";
/// Largest journal that is read back: some hundred thousand candidates.
const MAX_BYTES: u64 = 4 << 30;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// What is searched; always the first line.
    Start(Identity),
    /// A candidate of a generation.
    Candidate {
        /// Which of the search's spaces it is from.
        #[serde(default)]
        stage: usize,
        /// Counted from 0 within the stage.
        evaluation: usize,
        /// Its place in the search space.
        genes: Vec<f64>,
        /// What it did.
        trial: Trial,
        /// Whether a race went on without it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        dropped: bool,
    },
    /// What a candidate did in one part of a race, which its candidate's entry sums up.
    Rung {
        /// Which of the search's spaces it is from.
        stage: usize,
        /// The candidate's number.
        evaluation: usize,
        /// Which part, from 0.
        rung: usize,
        /// The candidate's place in the search space.
        genes: Vec<f64>,
        /// What it did in this part.
        trial: Trial,
    },
    /// A candidate, or the last mean, scored on all search questions.
    Finalist {
        /// Which of the search's spaces it is from.
        #[serde(default)]
        stage: usize,
        /// The candidate's number; `None` for the mean.
        evaluation: Option<usize>,
        /// What it did.
        trial: Trial,
    },
    /// A model scored on questions that the search never saw.
    Test {
        /// What it is called in the report.
        name: String,
        /// What it did.
        trial: Trial,
    },
}

/// A candidate in the journal: what [`Entry::Candidate`] says.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Which of the search's spaces it is from.
    pub stage: usize,
    /// Counted from 0 within the stage.
    pub evaluation: usize,
    /// Its place in the space.
    pub genes: &'a [f64],
    /// What it did.
    pub trial: &'a Trial,
    /// Whether a race went on without it.
    pub dropped: bool,
}

/// What makes two searches the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// ggraft's version.
    pub version: String,
    /// Seed in force.
    pub seed: u64,
    /// The evolve file's text.
    pub evolve: String,
    /// A digest of every task with its questions, by name.
    pub tasks: Vec<(String, String)>,
    /// A digest of every model, by path as written.
    pub models: Vec<(String, String)>,
}

impl Identity {
    /// The identity of the search that `config` describes, with `seed` over `models` and `tasks`.
    pub fn new<'a>(config: &Config, seed: u64, models: &[Parent], tasks: impl IntoIterator<Item = &'a Task>) -> Self {
        let task = |task: &Task| (task.name.clone(), hex(&Sha256::digest(format!("{task:?}"))));
        let model = |(r, parent): (&ModelRef, &Parent)| (r.written.clone(), hex(&parent.fingerprint()));
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seed,
            evolve: config.text.clone(),
            tasks: tasks.into_iter().map(task).collect(),
            models: config.models.iter().zip(models).map(model).collect(),
        }
    }

    /// What differs from `other`, in words.
    fn difference(&self, other: &Self) -> Option<String> {
        let first = |ours: &[(String, String)], theirs: &[(String, String)]| {
            ours.iter().find(|one| !theirs.contains(one)).map(|(name, _)| format!("`{name}`"))
        };
        if self.evolve != other.evolve {
            return Some("the evolve file".to_owned());
        }
        if self.seed != other.seed {
            return Some(format!("the seed, {} before and {} now,", other.seed, self.seed));
        }
        first(&self.models, &other.models).or_else(|| first(&self.tasks, &other.tasks))
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An open journal.
pub struct Journal {
    path: PathBuf,
    file: File,
    entries: Vec<Entry>,
    bytes: u64,
}

impl Journal {
    /// Starts a journal in `folder`, which is made if need be; or, with `resume`, opens the one that is there.
    ///
    /// # Errors
    /// A journal where none should be or none where one should; one of another search; a damaged one; a folder that cannot be written.
    pub fn open(folder: &Path, resume: bool, identity: Identity) -> Result<Self, EvolveError> {
        let path = folder.join(FILE_NAME);
        let write = |source| EvolveError::Write { path: path.clone(), source };
        if !resume {
            fs::create_dir_all(folder).map_err(write)?;
        }
        let opened = OpenOptions::new().read(true).write(true).create_new(!resume).open(&path);
        let file = match opened {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(EvolveError::Occupied { path }),
            Err(e) if e.kind() == ErrorKind::NotFound && resume => return Err(EvolveError::NothingToResume { path }),
            other => other.map_err(write)?,
        };
        let mut journal = Self { path: path.clone(), file, entries: Vec::new(), bytes: 0 };
        journal.read_back()?;
        match journal.entries.first() {
            // Empty: new, or killed before its first line was whole.
            None => journal.append(Entry::Start(identity))?,
            Some(Entry::Start(before)) => {
                if let Some(what) = identity.difference(before) {
                    return Err(EvolveError::OtherSearch { path, what });
                }
            }
            Some(_) => {
                let problem = "the first line must be `start`".to_owned();
                return Err(EvolveError::Journal { path, line: 1, problem });
            }
        }
        Ok(journal)
    }

    /// Reads the journal in `folder`, also while a search adds to it. Nothing can be added to what comes back.
    ///
    /// # Errors
    /// [`EvolveError::Read`] where there is none, [`EvolveError::Journal`] for a damaged one.
    pub fn read(folder: &Path) -> Result<Self, EvolveError> {
        let path = folder.join(FILE_NAME);
        let file = File::open(&path).map_err(|source| EvolveError::Read { path: path.clone(), source })?;
        let mut journal = Self { path, file, entries: Vec::new(), bytes: 0 };
        journal.parse()?;
        Ok(journal)
    }

    fn read_back(&mut self) -> Result<(), EvolveError> {
        let whole = self.parse()?;
        // What a crash left of the last line goes, so that the next line starts a line.
        let trimmed = self.file.set_len(whole).and_then(|()| self.file.seek(SeekFrom::End(0)));
        trimmed.map(|_| ()).map_err(|source| EvolveError::Read { path: self.path.clone(), source })
    }

    /// Reads all whole lines; returns how many bytes these are.
    fn parse(&mut self) -> Result<u64, EvolveError> {
        let failed = |source| EvolveError::Read { path: self.path.clone(), source };
        let mut text = Vec::new();
        (&self.file).take(MAX_BYTES).read_to_end(&mut text).map_err(failed)?;
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        for (i, line) in text[..whole].split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            let entry = serde_json::from_slice(line).map_err(|e| EvolveError::Journal {
                path: self.path.clone(),
                line: i + 1,
                problem: e.to_string(),
            })?;
            self.entries.push(entry);
        }
        Ok(whole as u64)
    }

    /// Adds a line and waits until it is on disk.
    ///
    /// # Errors
    /// [`EvolveError::Write`], for example when the disk is full; what was written of the line is taken back.
    pub fn append(&mut self, entry: Entry) -> Result<(), EvolveError> {
        let mut line = serde_json::to_vec(&entry).expect("entries are plain data");
        line.push(b'\n');
        let end = self.file.stream_position().and_then(|end| {
            self.file.write_all(&line).and_then(|()| self.file.sync_data()).inspect_err(|_| {
                // Best effort: a half line is dropped by the next resume as well.
                let _ = self.file.set_len(end);
                let _ = self.file.seek(SeekFrom::Start(end));
            })
        });
        end.map_err(|source| EvolveError::Write { path: self.path.clone(), source })?;
        self.bytes += line.len() as u64;
        self.entries.push(entry);
        Ok(())
    }

    /// All lines so far.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The candidates so far, in the order scored.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Candidate { stage, evaluation, genes, trial, dropped } => {
                Some(Candidate { stage: *stage, evaluation: *evaluation, genes, trial, dropped: *dropped })
            }
            _ => None,
        })
    }

    /// Bytes that this process has added.
    pub fn bytes_written(&self) -> u64 {
        self.bytes
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
