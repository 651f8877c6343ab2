//! `objectives` and `pick` in; what is searched for at once out.

use super::schema::{SearchForm, TaskForm};
use super::{Check, Space};
use crate::evolve::{EvolveError, Objective, Objectives, Pick};
use crate::yaml::hint;

/// Objectives that are no task.
const LENGTH: &str = "length";
const BYTES: &str = "bytes";

impl Check<'_> {
    /// What a task is called in `objectives`: its file without folder and ending.
    pub(super) fn task_name(&self, form: &TaskForm) -> String {
        let written = form.task.as_ref().or(form.name.as_ref()).map_or("", String::as_str);
        std::path::Path::new(written).file_stem().map_or(String::new(), |stem| stem.to_string_lossy().into_owned())
    }

    pub(super) fn objectives(
        &self,
        form: &SearchForm,
        space: Space,
        tasks: &[String],
    ) -> Result<Option<Objectives>, EvolveError> {
        let Some(at) = &form.objectives else {
            return match &form.pick {
                Some(pick) => self.refuse(pick, "`pick` chooses among several `objectives`; there are none"),
                None => Ok(None),
            };
        };
        if at.value.len() < 2 {
            return self.refuse(at, "`objectives` needs at least two: names of tasks, `length`, `bytes`");
        }
        if space == Space::Hybrid {
            return self.refuse(at, "`objectives` are for one space; search `parameter` or `data_flow`");
        }
        if let Some(race) = &form.race {
            return self.refuse(
                race,
                "`race` drops who is not among the better half, which several `objectives` have none of",
            );
        }
        let mut of: Vec<(String, Objective)> = Vec::new();
        for name in &at.value {
            let written = name.value.as_str();
            let objective = match written {
                LENGTH if space == Space::Parameter => {
                    return self.refuse(name, "`length` is that of paths; `space: parameter` has none");
                }
                LENGTH => Objective::Length,
                BYTES => Objective::Bytes,
                other => match tasks.iter().position(|task| task == other) {
                    Some(task) => Objective::Task(task),
                    None => {
                        let known = tasks.iter().map(String::as_str).chain([LENGTH, BYTES]);
                        return self.refuse(name, format!("no task is called `{other}`{}", hint(other, known)));
                    }
                },
            };
            if of.iter().any(|(_, before)| *before == objective) {
                return self.refuse(name, format!("`objectives` names `{written}` twice"));
            }
            of.push((written.to_owned(), objective));
        }
        let pick = match &form.pick {
            None => Pick::Knee,
            Some(at) => match at.value.as_str() {
                "knee" => Pick::Knee,
                "weighted" => Pick::Weighted,
                other => match of.iter().position(|(name, _)| name == other) {
                    Some(objective) => Pick::Of(objective),
                    None => {
                        let known = ["knee", "weighted"].into_iter().chain(of.iter().map(|(name, _)| name.as_str()));
                        return self.refuse(at, format!("`pick: {other}`{}", hint(other, known)));
                    }
                },
            },
        };
        Ok(Some(Objectives { of, pick }))
    }
}
