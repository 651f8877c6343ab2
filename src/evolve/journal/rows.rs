//! Entries in, rows out, and back: what has a column goes there, everything else into JSON beside it, so that new kinds of entries need no
//! new schema.

use serde_json::{Map, Value};

/// A row of `entry` with those of `answers` that belong to it.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub kind: String,
    pub stage: Option<i64>,
    pub number: Option<i64>,
    pub name: Option<String>,
    pub fitness: Option<f64>,
    pub swap_seconds: Option<f64>,
    pub score_seconds: Option<f64>,
    pub prompt_seconds: Option<f64>,
    pub genes: Option<String>,
    pub more: Option<String>,
    pub answers: Vec<Answers>,
}

/// A row of `answers`.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub task: String,
    pub metric: String,
    pub value: Option<f64>,
    pub stderr: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub items: String,
    pub more: Option<String>,
}

type Object = Map<String, Value>;

impl Row {
    /// The row of an entry, which is a JSON object with its `kind`.
    pub fn of(mut entry: Object) -> Self {
        let mut row = Self {
            kind: text(&mut entry, "kind").unwrap_or_default(),
            stage: integer(&mut entry, "stage"),
            number: integer(&mut entry, "evaluation"),
            name: text(&mut entry, "name"),
            genes: numbers(&mut entry, "genes"),
            ..Self::default()
        };
        if let Some(Value::Object(mut trial)) = entry.remove("trial") {
            row.fitness = real(&mut trial, "fitness");
            row.swap_seconds = real(&mut trial, "swap_seconds");
            row.score_seconds = real(&mut trial, "score_seconds");
            row.prompt_seconds = real(&mut trial, "prompt_seconds");
            if let Some(Value::Array(tasks)) = trial.remove("tasks") {
                row.answers = tasks.into_iter().filter_map(Answers::of).collect();
            }
            if !trial.is_empty() {
                entry.insert("trial".to_owned(), trial.into());
            }
        }
        row.more = rest(entry);
        row
    }

    /// The entry that this is the row of.
    pub fn entry(self) -> Result<Value, serde_json::Error> {
        let mut entry = Object::new();
        entry.insert("kind".to_owned(), self.kind.into());
        put(&mut entry, "stage", self.stage.map(Value::from));
        put(&mut entry, "evaluation", self.number.map(Value::from));
        put(&mut entry, "name", self.name.map(Value::from));
        put(&mut entry, "genes", parsed(self.genes.as_deref())?);
        if self.swap_seconds.is_some() || self.score_seconds.is_some() {
            let tasks = self.answers.into_iter().map(Answers::object).collect::<Result<Vec<_>, _>>()?;
            let mut trial = Object::new();
            trial.insert("fitness".to_owned(), self.fitness.into());
            trial.insert("tasks".to_owned(), tasks.into());
            trial.insert("swap_seconds".to_owned(), self.swap_seconds.into());
            trial.insert("score_seconds".to_owned(), self.score_seconds.into());
            put(&mut trial, "prompt_seconds", self.prompt_seconds.map(Value::from));
            entry.insert("trial".to_owned(), trial.into());
        }
        add(&mut entry, self.more.as_deref())?;
        Ok(entry.into())
    }
}

impl Answers {
    fn of(task: Value) -> Option<Self> {
        let Value::Object(mut task) = task else { return None };
        let [low, high] = match task.remove("ci95") {
            Some(Value::Array(ends)) => [0, 1].map(|end| ends.get(end).and_then(Value::as_f64)),
            _ => [None; 2],
        };
        Some(Self {
            task: text(&mut task, "task").unwrap_or_default(),
            metric: text(&mut task, "metric").unwrap_or_default(),
            value: real(&mut task, "value"),
            stderr: real(&mut task, "stderr"),
            low,
            high,
            items: numbers(&mut task, "items").unwrap_or_else(|| "[]".to_owned()),
            more: rest(task),
        })
    }

    fn object(self) -> Result<Value, serde_json::Error> {
        let mut task = Object::new();
        task.insert("task".to_owned(), self.task.into());
        task.insert("metric".to_owned(), self.metric.into());
        task.insert("value".to_owned(), self.value.into());
        task.insert("stderr".to_owned(), self.stderr.into());
        task.insert("ci95".to_owned(), vec![self.low, self.high].into());
        task.insert("items".to_owned(), serde_json::from_str(&self.items)?);
        add(&mut task, self.more.as_deref())?;
        Ok(task.into())
    }
}

/// Takes a text.
pub(super) fn text(object: &mut Object, key: &str) -> Option<String> {
    match object.get_mut(key) {
        Some(Value::String(text)) => {
            let text = std::mem::take(text);
            object.remove(key);
            Some(text)
        }
        _ => None,
    }
}

/// Takes a whole number that SQLite can hold.
pub(super) fn integer(object: &mut Object, key: &str) -> Option<i64> {
    let value = object.get(key)?.as_i64()?;
    object.remove(key);
    Some(value)
}

/// Takes a number, or the `null` of one that could not be computed. SQLite has no negative zero; one stays where it is.
fn real(object: &mut Object, key: &str) -> Option<f64> {
    let value = object.get(key)?.as_f64();
    if value.is_some_and(|value| value == 0.0 && value.is_sign_negative()) {
        return None;
    }
    object.remove(key);
    value
}

/// Takes a list of numbers as the shortest JSON that reads back as the same numbers: `1` for `1.0`.
fn numbers(object: &mut Object, key: &str) -> Option<String> {
    let plain = |value: &Value| value.is_number() || value.is_null();
    let list = object.get(key)?.as_array().filter(|list| list.iter().all(plain))?;
    let written: Vec<String> = list
        .iter()
        .map(|value| match value.as_f64() {
            Some(x) if x.fract() == 0.0 && x.abs() < 1e15 && !(x == 0.0 && x.is_sign_negative()) => {
                (x as i64).to_string()
            }
            _ => value.to_string(),
        })
        .collect();
    object.remove(key);
    Some(format!("[{}]", written.join(",")))
}

/// What is left over, as JSON.
pub(super) fn rest(object: Object) -> Option<String> {
    (!object.is_empty()).then(|| Value::Object(object).to_string())
}

fn put(object: &mut Object, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        object.insert(key.to_owned(), value);
    }
}

fn parsed(json: Option<&str>) -> Result<Option<Value>, serde_json::Error> {
    json.map(serde_json::from_str).transpose()
}

/// Lays what was left over on top; objects go into one another.
pub(super) fn add(object: &mut Object, json: Option<&str>) -> Result<(), serde_json::Error> {
    let Some(json) = json else { return Ok(()) };
    for (key, value) in serde_json::from_str::<Object>(json)? {
        match (object.get_mut(&key), value) {
            (Some(Value::Object(there)), Value::Object(more)) => there.extend(more),
            (_, value) => {
                object.insert(key, value);
            }
        }
    }
    Ok(())
}
