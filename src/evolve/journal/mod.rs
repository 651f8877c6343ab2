//! The journal: an SQLite file in the out folder, on disk before the search goes on, so that nothing but the candidate in flight can be lost.
//!
//! A search is deterministic given its file, seed and scores; resuming therefore replays it and takes from the journal every score that
//! is already there. Whoever reads along does not disturb the search that writes.

mod rows;
mod store;

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::warm::WarmStart;
use super::{Config, EvolveError, Stages, Trial};
use crate::disk;
use crate::gguf::Parent;
use crate::recipe::ModelRef;
use crate::tasks::Task;
use store::Store;

/// Its name in the out folder.
pub const JOURNAL_FILE: &str = "journal.sqlite";
/// What it was before, in lines of JSON.
const OLD_FILE: &str = "journal.jsonl";

/// What a search writes down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// What is searched; always the first, and again where models or tasks were allowed to change.
    Start(Identity),
    /// A model scored on the search questions, for what it gets right to choose minibatches by.
    Parent {
        /// Its path as written.
        name: String,
        /// What it did.
        trial: Trial,
    },
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

/// What makes two searches the same, and what is worth knowing beside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// ggraft's version.
    pub version: String,
    /// llama.cpp's version.
    pub llama_cpp: String,
    /// Seed in force.
    pub seed: u64,
    /// Candidates wanted in all.
    pub budget: usize,
    /// The evolve file.
    pub file: PathBuf,
    /// The evolve file's text.
    pub evolve: String,
    /// A digest of every task with its questions, by name.
    pub tasks: Vec<(String, String)>,
    /// A digest of every model, by path as written.
    pub models: Vec<(String, String)>,
    /// Blocks of every model.
    pub blocks: Vec<u32>,
    /// What the genes of each stage are called.
    pub genes: Vec<Vec<String>>,
    /// Recipes that are tested beside the best one: names and texts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compared: Vec<(String, String)>,
    /// What another study told of the same genes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_start: Option<WarmStart>,
}

impl Identity {
    /// The identity of the search for `budget` candidates that `config` describes, with `seed` over `models` and `tasks`.
    pub fn new<'a>(
        config: &Config,
        seed: u64,
        budget: usize,
        models: &[Parent],
        tasks: impl IntoIterator<Item = &'a Task>,
    ) -> Self {
        let task = |task: &Task| (task.name.clone(), hex(&Sha256::digest(format!("{task:?}"))));
        let model = |(r, parent): (&ModelRef, &Parent)| (r.written.clone(), hex(&parent.fingerprint()));
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            llama_cpp: crate::model::llama_version(),
            seed,
            budget,
            file: std::path::absolute(&config.file).unwrap_or_else(|_| config.file.clone()),
            evolve: config.text.clone(),
            tasks: tasks.into_iter().map(task).collect(),
            models: config.models.iter().zip(models).map(model).collect(),
            blocks: models.iter().map(Parent::block_count).collect(),
            genes: Vec::new(),
            compared: Vec::new(),
            warm_start: None,
        }
    }

    /// The same over the genes of `stages`.
    pub fn over(mut self, stages: &Stages) -> Self {
        self.genes = stages.gene_names();
        self
    }

    /// What differs from `other`, in words.
    fn difference(&self, other: &Self) -> Option<Change> {
        let first = |ours: &[(String, String)], theirs: &[(String, String)]| {
            let new = ours.iter().find(|one| !theirs.contains(one));
            let gone = || theirs.iter().find(|one| !ours.contains(one));
            new.or_else(gone).map(|(name, _)| Change::Allowable(format!("`{name}`")))
        };
        if self.seed != other.seed {
            return Some(Change::Fatal(format!("the seed, {} before and {} now,", other.seed, self.seed)));
        }
        let from = |identity: &Self| identity.warm_start.as_ref().map(|warm| warm.folder.clone());
        // A search that was begun with a warm start keeps it, whether or not it is asked for again.
        if self.warm_start.is_some() && from(self) != from(other) {
            let named = |folder: Option<String>| folder.map_or("none".to_owned(), |folder| format!("`{folder}`"));
            let (now, then) = (named(from(self)), named(from(other)));
            return Some(Change::Fatal(format!("the warm start, {then} before and {now} now,")));
        }
        if self.evolve != other.evolve {
            return Some(Change::Allowable("the evolve file".to_owned()));
        }
        let lists = [(&self.models, &other.models), (&self.tasks, &other.tasks), (&self.compared, &other.compared)];
        lists.into_iter().find_map(|(ours, theirs)| first(ours, theirs))
    }
}

/// What is not as it was.
enum Change {
    /// The search may go on if it is told to.
    Allowable(String),
    /// It would be another one.
    Fatal(String),
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a folder's journal looked like from outside: another one than before, and there is more to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp([Option<(u64, SystemTime)>; 2]);

/// An open journal.
pub struct Journal {
    path: PathBuf,
    entries: Vec<Entry>,
    /// When each was written, in seconds since 1970.
    times: Vec<f64>,
    /// Where candidates are among the entries, by stage and number.
    index: HashMap<(usize, usize), usize>,
    /// The same for parts of races, by stage, number and part.
    rungs: HashMap<(usize, usize, usize), usize>,
    /// `None` if nothing can be added.
    store: Option<Store>,
    /// Size of the file, and what it was when it was opened.
    bytes: [u64; 2],
    /// What the kernel counted while this process added entries.
    disk: Option<u64>,
    /// Held as long as this process writes.
    _lock: Option<File>,
}

impl Journal {
    /// Starts a journal in `folder`, which is made if need be; or, with `resume`, opens the one that is there.
    ///
    /// # Errors
    /// A journal where none should be or none where one should; one of another search; a damaged one; a folder that cannot be written or
    /// in which another search is at work.
    pub fn open(folder: &Path, resume: bool, identity: Identity) -> Result<Self, EvolveError> {
        if resume { Self::resume(folder, identity, false) } else { Self::create(folder, identity) }
    }

    /// Opens the journal in `folder` to go on although models, tasks or the evolve file may have changed: what `identity` has then is in
    /// force from there on.
    ///
    /// # Errors
    /// As [`Journal::open`]; another seed or warm start stays an error.
    pub fn open_changed(folder: &Path, identity: Identity) -> Result<Self, EvolveError> {
        Self::resume(folder, identity, true)
    }

    fn create(folder: &Path, identity: Identity) -> Result<Self, EvolveError> {
        let path = folder.join(JOURNAL_FILE);
        let write = |source| EvolveError::Write { path: path.clone(), source };
        fs::create_dir_all(folder).map_err(write)?;
        let lock = lock(folder)?;
        let old = folder.join(OLD_FILE);
        if old.exists() {
            return Err(EvolveError::OldJournal { path: old });
        }
        match File::create_new(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(EvolveError::Occupied { path }),
            other => drop(other.map_err(write)?),
        }
        Self::begin(path, lock, identity)
    }

    fn begin(path: PathBuf, lock: Option<File>, identity: Identity) -> Result<Self, EvolveError> {
        let store = Store::create(&path)?;
        let mut journal = Self::of(path, Some(store), lock);
        journal.append(Entry::Start(identity))?;
        Ok(journal)
    }

    fn resume(folder: &Path, identity: Identity, allow_changed: bool) -> Result<Self, EvolveError> {
        let path = folder.join(JOURNAL_FILE);
        if !path.exists() {
            let old = folder.join(OLD_FILE);
            return Err(if old.exists() {
                EvolveError::OldJournal { path: old }
            } else {
                EvolveError::NothingToResume { path }
            });
        }
        let lock = lock(folder)?;
        let Some(store) = Store::open(&path)? else {
            // New, or killed before its first entry was whole.
            return Self::begin(path, lock, identity);
        };
        let mut journal = Self::of(path, Some(store), lock);
        journal.load()?;
        let Some(before) = journal.identity() else {
            return Err(EvolveError::Journal {
                path: journal.path,
                problem: "it does not say what is searched".into(),
            });
        };
        let difference = identity.difference(before);
        let (warm_start, budget) = (before.warm_start.clone(), before.budget);
        match &difference {
            Some(Change::Allowable(_)) if allow_changed => {}
            Some(Change::Allowable(what) | Change::Fatal(what)) => {
                let allowable = matches!(difference, Some(Change::Allowable(_)));
                return Err(EvolveError::OtherSearch { path: journal.path, what: what.clone(), allowable });
            }
            None => {}
        }
        if let Some(store) = &mut journal.store {
            store.prepare_to_write()?;
        }
        if difference.is_some() {
            journal.append(Entry::Start(Identity { warm_start, ..identity }))?;
        } else if budget != identity.budget {
            journal.rebudget(identity.budget)?;
        }
        Ok(journal)
    }

    /// Reads the journal in `folder`, also while a search adds to it. Nothing can be added to what comes back.
    ///
    /// # Errors
    /// [`EvolveError::Read`] where there is none, [`EvolveError::Journal`] for a damaged one.
    pub fn read(folder: &Path) -> Result<Self, EvolveError> {
        let path = folder.join(JOURNAL_FILE);
        if let Err(source) = fs::metadata(&path) {
            let old = folder.join(OLD_FILE);
            return Err(if old.exists() {
                EvolveError::OldJournal { path: old }
            } else {
                EvolveError::Read { path, source }
            });
        }
        let store = Store::read_only(&path)?;
        let mut journal = Self::of(path, Some(store), None);
        journal.load()?;
        journal.store = None;
        Ok(journal)
    }

    fn of(path: PathBuf, store: Option<Store>, lock: Option<File>) -> Self {
        let (entries, times, index, rungs) = Default::default();
        let disk = disk::written_bytes().map(|_| 0);
        Self { path, entries, times, index, rungs, store, bytes: [0; 2], disk, _lock: lock }
    }

    fn load(&mut self) -> Result<(), EvolveError> {
        let Some(store) = &mut self.store else { return Ok(()) };
        let (entries, size) = store.load()?;
        self.bytes = [size; 2];
        for (entry, time) in entries {
            self.push(entry, time);
        }
        Ok(())
    }

    fn push(&mut self, entry: Entry, time: f64) {
        // Of two with one number, which only another program could write, the first counts, and of parts of races the last.
        match &entry {
            Entry::Candidate { stage, evaluation, .. } => {
                self.index.entry((*stage, *evaluation)).or_insert(self.entries.len());
            }
            Entry::Rung { stage, evaluation, rung, .. } => {
                self.rungs.insert((*stage, *evaluation, *rung), self.entries.len());
            }
            _ => {}
        }
        self.entries.push(entry);
        self.times.push(time);
    }

    /// Adds an entry and waits until it is on disk.
    ///
    /// # Errors
    /// [`EvolveError::Write`], for example when the disk is full; nothing of the entry is then in the journal.
    pub fn append(&mut self, entry: Entry) -> Result<(), EvolveError> {
        let id = self.entries.len() + 1;
        let Some(store) = &mut self.store else {
            let source = io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "it was opened for reading");
            return Err(EvolveError::Write { path: self.path.clone(), source });
        };
        let (time, size) = disk::counted(&mut self.disk, || store.append(id, &entry))?;
        self.bytes[1] = size;
        self.push(entry, time);
        Ok(())
    }

    fn rebudget(&mut self, budget: usize) -> Result<(), EvolveError> {
        if let (Some(last), Some(store)) = (self.last_start(), &mut self.store) {
            store.rebudget(last + 1, budget)?;
            if let Entry::Start(identity) = &mut self.entries[last] {
                identity.budget = budget;
            }
        }
        Ok(())
    }

    /// What is searched, as last agreed; `None` in a journal that does not say, which no search of ours leaves.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.entries[self.last_start()?] {
            Entry::Start(identity) => Some(identity),
            _ => None,
        }
    }

    fn last_start(&self) -> Option<usize> {
        self.entries.iter().rposition(|entry| matches!(entry, Entry::Start(_)))
    }

    /// All entries so far.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries about the models and tasks that are now in force.
    pub(super) fn since_start(&self) -> &[Entry] {
        &self.entries[self.last_start().map_or(0, |last| last + 1)..]
    }

    /// Of these, the ones behind the last candidate, of `stage` if given: a search that went on with a larger budget has another mean and
    /// another best recipe now.
    pub(super) fn since_last_candidate(&self, stage: Option<usize>) -> &[Entry] {
        let entries = self.since_start();
        let outdates =
            |entry: &Entry| candidate(entry).is_some_and(|found| stage.is_none_or(|stage| found.stage == stage));
        &entries[entries.iter().rposition(outdates).map_or(0, |last| last + 1)..]
    }

    /// When each entry was written, in seconds since 1970.
    pub fn times(&self) -> &[f64] {
        &self.times
    }

    /// The candidates so far, in the order scored.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        self.entries.iter().filter_map(candidate)
    }

    /// Every trial once: of a race its sum, or its parts where the search was stopped in the middle of it.
    pub fn trials(&self) -> impl Iterator<Item = &Trial> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Start(_) => None,
            Entry::Rung { stage, evaluation, .. } if self.index.contains_key(&(*stage, *evaluation)) => None,
            Entry::Parent { trial, .. }
            | Entry::Candidate { trial, .. }
            | Entry::Rung { trial, .. }
            | Entry::Finalist { trial, .. }
            | Entry::Test { trial, .. } => Some(trial),
        })
    }

    /// Candidate `evaluation` of `stage`, if it has been scored.
    pub fn candidate(&self, stage: usize, evaluation: usize) -> Option<Candidate<'_>> {
        candidate(&self.entries[*self.index.get(&(stage, evaluation))?])
    }

    /// What candidate `evaluation` of `stage` did in one part of a race, with its genes, if that has been scored.
    pub(super) fn rung(&self, stage: usize, evaluation: usize, rung: usize) -> Option<(&[f64], &Trial)> {
        match &self.entries[*self.rungs.get(&(stage, evaluation, rung))?] {
            Entry::Rung { genes, trial, .. } => Some((genes, trial)),
            _ => None,
        }
    }

    /// The same entries, to be read while this one is added to.
    pub fn snapshot(&self) -> Self {
        let mut copy = Self::of(self.path.clone(), None, None);
        copy.bytes = self.bytes;
        for (entry, time) in self.entries.iter().zip(&self.times) {
            copy.push(entry.clone(), *time);
        }
        copy
    }

    /// Whether candidate `evaluation` of `stage` was scored on the models and tasks now in force.
    pub fn is_current(&self, stage: usize, evaluation: usize) -> bool {
        self.index.get(&(stage, evaluation)).is_some_and(|at| Some(*at) > self.last_start())
    }

    /// Bytes that this process has added to the file.
    pub fn bytes_written(&self) -> u64 {
        self.bytes[1].saturating_sub(self.bytes[0])
    }

    /// Size of the file.
    pub fn size(&self) -> u64 {
        self.bytes[1]
    }

    /// Bytes written to disk to keep entries safe, as the kernel counts them: more than was added, since each entry goes first into
    /// SQLite's log and in whole pages. `None` where the kernel does not say.
    pub fn disk_write_bytes(&self) -> Option<u64> {
        self.disk
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the journal in `folder` looks like from outside.
    pub fn stamp(folder: &Path) -> Stamp {
        let path = folder.join(JOURNAL_FILE);
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        let of = |path: &Path| fs::metadata(path).ok().and_then(|meta| Some((meta.len(), meta.modified().ok()?)));
        Stamp([of(&path), of(Path::new(&log))])
    }

    /// Whether a search is at work in `folder`.
    pub fn is_searching(folder: &Path) -> bool {
        File::open(folder).is_ok_and(|folder| matches!(folder.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

fn candidate(entry: &Entry) -> Option<Candidate<'_>> {
    match entry {
        Entry::Candidate { stage, evaluation, genes, trial, dropped } => {
            Some(Candidate { stage: *stage, evaluation: *evaluation, genes, trial, dropped: *dropped })
        }
        _ => None,
    }
}

/// Keeps other searches out of `folder` until this process ends, however it ends. Where folders cannot be locked, nothing does.
fn lock(folder: &Path) -> Result<Option<File>, EvolveError> {
    let Ok(handle) = File::open(folder) else { return Ok(None) };
    match handle.try_lock() {
        Err(TryLockError::WouldBlock) => Err(EvolveError::Busy { folder: folder.to_owned() }),
        Err(TryLockError::Error(_)) => Ok(None),
        Ok(()) => Ok(Some(handle)),
    }
}
