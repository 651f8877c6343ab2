//! The SQLite file itself: its schema, what is asked of a file that comes from elsewhere, and rows in and out.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row as SqlRow, config::DbConfig, params};
use serde_json::{Map, Value};

use super::rows::{Answers, Row, add, integer, rest, text};
use super::{Entry, EvolveError};

const SCHEMA: &str = include_str!("schema.sql");
/// `ggrf`: says in the file's header whose it is.
const APPLICATION: i32 = 0x6767_7266;
/// Version of the schema.
const FORMAT: i32 = 1;
/// Largest journal that is read: some million candidates.
const MAX_BYTES: u64 = 4 << 30;
/// Most entries that are read.
const MAX_ENTRIES: usize = 4 << 20;
/// Longest text in a row.
const MAX_TEXT: i32 = 256 << 20;
/// How long to wait for somebody who reads or tidies up the file.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open journal file.
pub(super) struct Store {
    path: PathBuf,
    /// Never locked by two: a mutex so that whoever shows journals may share them between threads.
    connection: Mutex<Connection>,
    /// Whether entries may be added.
    prepared: bool,
}

impl Store {
    /// A new store in the empty file at `path`. Until the first entry is appended the file stays an empty database.
    pub fn create(path: &Path) -> Result<Self, EvolveError> {
        let mut store = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        store.prepare_to_write()?;
        Ok(store)
    }

    /// The store in the file at `path`, to be added to once it is prepared; `None` if nothing is in it yet.
    pub fn open(path: &Path) -> Result<Option<Self>, EvolveError> {
        let store = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        if store.is_empty()? {
            return Ok(None);
        }
        store.check()?;
        Ok(Some(store))
    }

    /// The store in the file at `path`, to be read.
    pub fn read_only(path: &Path) -> Result<Self, EvolveError> {
        let store = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        store.check()?;
        Ok(store)
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self, EvolveError> {
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|e| failed(path, e, false))?;
        let careful = || {
            connection.busy_timeout(PATIENCE)?;
            connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_TEXT)?;
            // The file may come from anywhere: nothing in its schema is trusted, and no page is taken for sound.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
            connection.pragma_update(None, "cell_size_check", true)?;
            connection.pragma_update(None, "mmap_size", 0)
        };
        careful().map_err(|e| failed(path, e, false))?;
        Ok(Self { path: path.to_owned(), connection: connection.into(), prepared: false })
    }

    /// Sees to it that entries are safe before a call returns, and that reading along never waits.
    pub fn prepare_to_write(&mut self) -> Result<(), EvolveError> {
        let connection = self.connection.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Where memory cannot be shared (network file systems) SQLite stays with its older kind of log, which is as safe.
        let done = connection
            .pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))
            .and_then(|()| connection.pragma_update(None, "synchronous", "full"));
        self.prepared = done.is_ok();
        done.map_err(|e| failed(&self.path, e, true))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, EvolveError> {
        work(&self.connection()).map_err(|e| failed(&self.path, e, false))
    }

    fn damaged<T>(&self, problem: impl Into<String>) -> Result<T, EvolveError> {
        Err(EvolveError::Journal { path: self.path.clone(), problem: problem.into() })
    }

    fn is_empty(&self) -> Result<bool, EvolveError> {
        self.reading(|c| {
            let tables: i64 = c.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            Ok(tables == 0 && pragma(c, "application_id")? == 0)
        })
    }

    /// Whether the file is a journal that this version understands.
    fn check(&self) -> Result<(), EvolveError> {
        let (application, format) = self.reading(|c| Ok((pragma(c, "application_id")?, pragma(c, "user_version")?)))?;
        if application != i64::from(APPLICATION) {
            return self.damaged(match self.is_empty()? {
                true => "nothing is in it yet",
                false => "it is an SQLite file of another program",
            });
        }
        if format > i64::from(FORMAT) {
            return Err(EvolveError::NewerJournal { path: self.path.clone(), found: format, known: FORMAT });
        }
        let size = self.size()?;
        if size > MAX_BYTES {
            return self.damaged(format!("it has {size} bytes; the most are {MAX_BYTES}"));
        }
        // After this no page is met twice, so that reading ends.
        let sound: String = self.reading(|c| c.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)))?;
        if sound != "ok" {
            return self.damaged(format!("it is damaged ({sound})"));
        }
        let found = self.reading(objects)?;
        match EXPECTED.iter().find(|object| !found.contains(object)) {
            Some((kind, name, _)) => return self.damaged(format!("its {kind} `{name}` is missing or another")),
            None if found.iter().any(|(kind, ..)| kind == "trigger") => return self.damaged("it has triggers"),
            None => {}
        }
        Ok(())
    }

    fn size(&self) -> Result<u64, EvolveError> {
        self.reading(|c| {
            let of = |name| pragma(c, name).map(|n| u64::try_from(n).unwrap_or(0));
            Ok(of("page_count")?.saturating_mul(of("page_size")?))
        })
    }

    /// All entries with when they were written, and the size of the file.
    pub fn load(&mut self) -> Result<(Vec<(Entry, f64)>, u64), EvolveError> {
        let size = self.size()?;
        // One transaction, so that a search that writes meanwhile is seen as of one moment.
        let rows = self.reading(|c| {
            let transaction = c.unchecked_transaction()?;
            let rows = load(&transaction);
            transaction.finish()?;
            rows
        })?;
        let mut entries = Vec::with_capacity(rows.len());
        for (id, value, time) in rows {
            if id != entries.len() as i64 + 1 {
                return self.damaged(format!("entry {} is missing", entries.len() + 1));
            }
            match value.and_then(serde_json::from_value) {
                Ok(entry) => entries.push((entry, time)),
                Err(problem) => return self.damaged(format!("entry {id}: {problem}")),
            }
        }
        Ok((entries, size))
    }

    /// Adds `entry` as number `id` and waits until it is on disk; returns when that was and the size of the file now.
    pub fn append(&mut self, id: usize, entry: &Entry) -> Result<(f64, u64), EvolveError> {
        let Value::Object(object) = serde_json::to_value(entry).expect("entries are plain data") else {
            unreachable!("entries have a kind, so they are objects");
        };
        let id = i64::try_from(id).unwrap_or(i64::MAX);
        let connection = self.connection.get_mut().unwrap_or_else(PoisonError::into_inner);
        let add = || {
            let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            if pragma(&transaction, "application_id")? == 0 {
                transaction.execute_batch(SCHEMA)?;
                transaction.pragma_update(None, "application_id", APPLICATION)?;
                transaction.pragma_update(None, "user_version", FORMAT)?;
            }
            let time = match entry {
                Entry::Start(_) => insert_study(&transaction, id, object)?,
                _ => insert_entry(&transaction, id, &Row::of(object))?,
            };
            transaction.commit()?;
            Ok(time)
        };
        let time = add().map_err(|e| failed(&self.path, e, true))?;
        Ok((time, self.size()?))
    }

    /// Changes the budget of study `id`.
    pub fn rebudget(&mut self, id: usize, budget: usize) -> Result<(), EvolveError> {
        let change = "UPDATE study SET budget = ?2 WHERE id = ?1";
        let done = self.connection().execute(change, params![id as i64, budget as i64]);
        done.map(|_| ()).map_err(|e| failed(&self.path, e, true))
    }
}

impl Drop for Store {
    /// What was written is left in one plain file, unless somebody reads it just now. Nothing depends on it.
    fn drop(&mut self) {
        if self.prepared {
            let connection = self.connection();
            let _ = connection.busy_timeout(Duration::ZERO);
            let _ = connection.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()));
        }
    }
}

/// The objects of [`SCHEMA`] as SQLite writes them down.
static EXPECTED: LazyLock<Vec<(String, String, String)>> = LazyLock::new(|| {
    let connection = Connection::open_in_memory().and_then(|c| c.execute_batch(SCHEMA).map(|()| c));
    connection.and_then(|c| objects(&c)).expect("a valid schema")
});

/// Kind, name and text of everything in a schema.
fn objects(connection: &Connection) -> rusqlite::Result<Vec<(String, String, String)>> {
    let mut all = connection.prepare("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL LIMIT 1000")?;
    all.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

type Loaded = (i64, Result<Value, serde_json::Error>, f64);

/// Everything, in the order written.
fn load(connection: &Connection) -> rusqlite::Result<Vec<Loaded>> {
    let mut all = studies(connection)?;
    let mut answers = connection.prepare(
        "SELECT entry, task, metric, value, stderr, low, high, items, more FROM answers ORDER BY entry, position",
    )?;
    let mut answers = answers.query([])?;
    let mut next = answers.next()?.map(|row| answer(row)).transpose()?;
    let mut entries = connection.prepare(&format!(
        "SELECT id, {SECONDS}, kind, stage, number, name, fitness, swap_seconds, score_seconds, prompt_seconds, genes, more FROM entry ORDER BY id"
    ))?;
    let mut entries = entries.query([])?;
    while let Some(row) = entries.next()? {
        let (id, time) = (row.get(0)?, row.get::<_, Option<f64>>(1)?.unwrap_or(f64::NAN));
        let mut entry = Row {
            kind: row.get(2)?,
            stage: row.get(3)?,
            number: row.get(4)?,
            name: row.get(5)?,
            fitness: row.get(6)?,
            swap_seconds: row.get(7)?,
            score_seconds: row.get(8)?,
            prompt_seconds: row.get(9)?,
            genes: row.get(10)?,
            more: row.get(11)?,
            answers: Vec::new(),
        };
        while let Some((of, _)) = &next
            && *of <= id
        {
            let (of, answers_to) = next.take().expect("just looked at");
            if of == id {
                entry.answers.push(answers_to);
            }
            next = answers.next()?.map(|row| answer(row)).transpose()?;
        }
        all.push((id, entry.entry(), time));
        if all.len() > MAX_ENTRIES {
            return Err(rusqlite::Error::InvalidParameterName(format!("it has more than {MAX_ENTRIES} entries")));
        }
    }
    all.sort_by_key(|(id, ..)| *id);
    Ok(all)
}

/// A moment as written, in seconds since 1970.
const SECONDS: &str = "(julianday(at) - 2440587.5) * 86400.0";
/// The moment now, as written.
const NOW: &str = "strftime('%Y-%m-%dT%H:%M:%fZ')";

fn answer(row: &SqlRow) -> rusqlite::Result<(i64, Answers)> {
    let answers = Answers {
        task: row.get(1)?,
        metric: row.get(2)?,
        value: row.get(3)?,
        stderr: row.get(4)?,
        low: row.get(5)?,
        high: row.get(6)?,
        items: row.get(7)?,
        more: row.get(8)?,
    };
    Ok((row.get(0)?, answers))
}

fn studies(connection: &Connection) -> rusqlite::Result<Vec<Loaded>> {
    let mut studies = connection.prepare(&format!(
        "SELECT id, {SECONDS}, ggraft, llama_cpp, seed, budget, file, evolve, more FROM study ORDER BY id LIMIT {MAX_ENTRIES}"
    ))?;
    let mut rows = studies.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let mut study = Map::new();
        study.insert("kind".to_owned(), "start".into());
        study.insert("version".to_owned(), row.get::<_, String>(2)?.into());
        let texts = [("llama_cpp", 3), ("file", 6), ("evolve", 7)];
        for (key, column) in texts {
            if let Some(text) = row.get::<_, Option<String>>(column)? {
                study.insert(key.to_owned(), text.into());
            }
        }
        for (key, column) in [("seed", 4), ("budget", 5)] {
            if let Some(number) = row.get::<_, Option<i64>>(column)? {
                study.insert(key.to_owned(), number.into());
            }
        }
        for (key, table) in DIGESTS {
            let select = format!("SELECT name, digest FROM {table} WHERE study = ?1 ORDER BY position");
            let mut named = connection.prepare(&select)?;
            let pair = |row: &SqlRow| Ok(Value::from(vec![row.get::<_, String>(0)?, row.get(1)?]));
            let pairs: Vec<Value> = named.query_map([id], pair)?.collect::<Result<_, _>>()?;
            study.insert(key.to_owned(), pairs.into());
        }
        let mut genes: Vec<Vec<String>> = Vec::new();
        let mut named = connection.prepare("SELECT stage, name FROM gene WHERE study = ?1 ORDER BY stage, position")?;
        let mut names = named.query([id])?;
        while let Some(name) = names.next()? {
            let stage: i64 = name.get(0)?;
            // A search has two stages at most; another number could only come from another program.
            let stage = usize::try_from(stage).unwrap_or(usize::MAX).min(genes.len());
            if stage == genes.len() {
                genes.push(Vec::new());
            }
            genes[stage].push(name.get(1)?);
        }
        study.insert("genes".to_owned(), genes.into());
        let value = add(&mut study, row.get::<_, Option<String>>(8)?.as_deref()).map(|()| Value::Object(study));
        all.push((id, value, row.get::<_, Option<f64>>(1)?.unwrap_or(f64::NAN)));
    }
    Ok(all)
}

/// Pairs of a name and a digest: their key in the identity and their table.
const DIGESTS: [(&str, &str); 2] = [("models", "model"), ("tasks", "task")];

fn insert_study(connection: &Connection, id: i64, mut study: Map<String, Value>) -> rusqlite::Result<f64> {
    study.remove("kind");
    for (key, table) in DIGESTS {
        let insert = format!("INSERT INTO {table} (study, position, name, digest) VALUES (?1, ?2, ?3, ?4)");
        let pairs: Vec<(String, String)> = list(&mut study, key);
        for (position, (name, digest)) in pairs.into_iter().enumerate() {
            connection.execute(&insert, params![id, position as i64, name, digest])?;
        }
    }
    let mut insert = connection.prepare("INSERT INTO gene (study, stage, position, name) VALUES (?1, ?2, ?3, ?4)")?;
    let genes: Vec<Vec<String>> = list(&mut study, "genes");
    for (stage, names) in genes.into_iter().enumerate() {
        for (position, name) in names.into_iter().enumerate() {
            insert.execute(params![id, stage as i64, position as i64, name])?;
        }
    }
    let columns = params![
        id,
        text(&mut study, "version").unwrap_or_default(),
        text(&mut study, "llama_cpp"),
        integer(&mut study, "seed"),
        integer(&mut study, "budget"),
        text(&mut study, "file"),
        text(&mut study, "evolve").unwrap_or_default(),
        rest(study),
    ];
    let insert = format!(
        "INSERT INTO study (id, at, ggraft, llama_cpp, seed, budget, file, evolve, more) \
         VALUES (?1, {NOW}, ?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING {SECONDS}"
    );
    connection.query_row(&insert, columns, |row| row.get(0))
}

/// Takes a list of the form that [`super::Identity`] gives it.
fn list<T: serde::de::DeserializeOwned>(study: &mut Map<String, Value>, key: &str) -> Vec<T> {
    study.remove(key).and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default()
}

fn insert_entry(connection: &Connection, id: i64, row: &Row) -> rusqlite::Result<f64> {
    let insert = format!(
        "INSERT INTO entry (id, at, kind, stage, number, name, fitness, swap_seconds, score_seconds, prompt_seconds, genes, more) \
         VALUES (?1, {NOW}, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) RETURNING {SECONDS}"
    );
    let Row { kind, stage, number, name, fitness, swap_seconds, score_seconds, prompt_seconds, genes, more, answers } =
        row;
    let times = (swap_seconds, score_seconds, prompt_seconds);
    let columns = params![id, kind, stage, number, name, fitness, times.0, times.1, times.2, genes, more];
    let time = connection.query_row(&insert, columns, |row| row.get(0))?;
    let mut insert = connection.prepare(
        "INSERT INTO answers (entry, position, task, metric, value, stderr, low, high, items, more) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for (position, answers) in answers.iter().enumerate() {
        let Answers { task, metric, value, stderr, low, high, items, more } = answers;
        insert.execute(params![id, position as i64, task, metric, value, stderr, low, high, items, more])?;
    }
    Ok(time)
}

/// SQLite's words as ours: what the disk did, or what is wrong with the file.
fn failed(path: &Path, error: rusqlite::Error, writing: bool) -> EvolveError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed,
        ) => {
            let source = io::Error::other(error.to_string());
            if writing { EvolveError::Write { path, source } } else { EvolveError::Read { path, source } }
        }
        Some(ErrorCode::ConstraintViolation) if writing => {
            let source = io::Error::other("another program has added to it meanwhile");
            EvolveError::Write { path, source }
        }
        _ => EvolveError::Journal { path, problem: error.to_string() },
    }
}
