//! The tasks of an evolve file in; for each, the questions to search on and those to report on out. Opens task and data files.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Config, EvolveError, Goal, invalid};
use crate::tasks::Task;

/// Of a task without questions for the test, one in this many is held back for it.
const HELD_BACK: usize = 4;
/// lm-evaluation-harness's metrics, and what means the same in a task file.
const METRICS: [(&str, &[&str]); 5] = [
    ("acc", &["accuracy", "number", "exact", "contains", "regex"]),
    ("acc_norm", &["accuracy_norm"]),
    ("exact_match", &["number", "exact"]),
    ("rougeL", &["rouge_l"]),
    ("bits_per_byte", &["bits_per_byte"]),
];

/// A task's weight, its questions to search on and those for the test.
pub type WeighedTask = (f64, Arc<Task>, Arc<Task>);

/// What a task file may measure where mergekit-evolve says `metric`: the harness's name, a comma and the name of a filter.
pub(super) fn same_metrics(metric: &str) -> Option<&'static [&'static str]> {
    let name = metric.split(',').next()?.trim();
    METRICS.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours)
}

impl Config {
    /// Loads the tasks. `warn` hears what the file left open.
    ///
    /// # Errors
    /// [`EvolveError`] for files that are missing or wrong, and settings of mergekit-evolve that the task file contradicts.
    pub fn questions(&self, warn: &mut dyn FnMut(String)) -> Result<Vec<WeighedTask>, EvolveError> {
        let both = |goal: &Goal| {
            let (search, test) = self.exam(goal, warn)?;
            Ok((goal.weight, Arc::new(search), Arc::new(test)))
        };
        self.tasks.iter().map(both).collect()
    }

    fn exam(&self, goal: &Goal, warn: &mut dyn FnMut(String)) -> Result<(Task, Task), EvolveError> {
        let refuse = |message: String| Err(invalid(&self.file, goal.place, message));
        if let Some(name) = goal.name.as_ref().filter(|_| !goal.task.exists()) {
            return refuse(format!(
                "there is no task file `{}` for `{name}`: benchmarks of lm-evaluation-harness are described by a task file here",
                goal.task.display()
            ));
        }
        let mut search = Task::load_on(&goal.task, goal.search.as_deref(), None)?;
        let measured = search.kind.metric();
        if let Some(metric) =
            goal.metric.as_ref().filter(|m| same_metrics(m).is_some_and(|ours| !ours.contains(&measured)))
        {
            let task = goal.task.display();
            return refuse(format!(
                "`metric: {metric}` is not what the task file measures: `{task}` says `{measured}`"
            ));
        }
        if let Some(chat) = self.chat.filter(|chat| *chat != search.chat) {
            let task = goal.task.display();
            return refuse(format!("`apply_chat_template: {chat}` needs `chat: {chat}` in the task file `{task}`"));
        }
        let limit = self.limit.unwrap_or(usize::MAX);
        let test = match &goal.test {
            Some(data) => Task::load_on(&goal.task, Some(data), None)?,
            None => {
                let test = search.hold_back(HELD_BACK);
                let (name, held, left) = (&search.name, test.questions.len(), search.questions.len().min(limit));
                if held == 0 {
                    return refuse(format!(
                        "`{name}` has `{left}` questions, too few for a test of their own: name other data with `test`"
                    ));
                }
                warn(format!(
                    "task `{name}` names no `test` data: {held} of its questions, one in {HELD_BACK}, are held back for it, {left} are searched on"
                ));
                test
            }
        };
        search.questions.truncate(limit);
        let seen: HashSet<_> = search.questions.iter().map(|q| (&q.prompt, &q.answer)).collect();
        let known = test.questions.iter().filter(|q| seen.contains(&(&q.prompt, &q.answer))).count();
        if known > 0 {
            let (name, of) = (&test.name, test.questions.len());
            warn(format!(
                "task `{name}`: {known} of its {of} test questions are search questions too, on which the search chose: name other data with \
                 `test`, or none, and some questions are held back for it"
            ));
        }
        Ok((search, test))
    }
}
