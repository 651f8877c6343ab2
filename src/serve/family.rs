//! Parents that recipes mix, opened together: recipes that share them share what is learnt of them, and take each other's place in memory.

use std::sync::{Arc, PoisonError, Weak};

use super::parents::{Member, Parents, ParentsError, hex};
use crate::gguf::Parent;
use crate::open::OpenError;
use crate::plan::Siblings;
use crate::recipe::{ModelRef, Recipe};

/// Families that stay open; with all of them used, the one least recently added goes.
const MAX_FAMILIES: usize = 64;
/// Bytes that the factors of adapters may take in memory, over all families: each has its own. Files are only mapped.
const MAX_ADAPTER_BYTES: u64 = 16 << 30;

/// Parents, proven to be siblings once.
pub struct Family {
    /// Which they are, in the order of the siblings.
    members: Vec<Member>,
    /// What their adapters take in memory.
    adapter_bytes: u64,
    /// The parents.
    pub siblings: Siblings,
}

/// All families.
#[derive(Default)]
pub(super) struct Families {
    kept: Vec<Arc<Family>>,
    /// These and those that only models still use.
    all: Vec<Weak<Family>>,
}

impl Family {
    /// Whether `recipe`, whose models are `wanted`, comes to the same among these parents as among its own models alone. The first of
    /// these speaks where there is no base, and where rows are matched by token every model has a say.
    fn takes(&self, recipe: &Recipe, wanted: &[Member]) -> bool {
        let first = recipe.base_model.is_some() || self.members.first() == wanted.first();
        self.members == wanted
            || first
                && recipe.tokenizer.is_none()
                && self.siblings.are_alike()
                && wanted.iter().all(|model| self.members.contains(model))
    }
}

impl Families {
    /// Makes room for a family whose adapters take `bytes`.
    fn make_room(&mut self, bytes: u64) -> Result<(), ParentsError> {
        loop {
            self.all.retain(|family| family.strong_count() > 0);
            let used = self.all.iter().filter_map(Weak::upgrade).map(|family| family.adapter_bytes);
            let total = used.fold(bytes, u64::saturating_add);
            match (total > MAX_ADAPTER_BYTES, self.kept.is_empty()) {
                (false, _) => return Ok(()),
                (true, false) => drop(self.kept.remove(0)),
                (true, true) => return Err(ParentsError::Memory { bytes: total, limit: MAX_ADAPTER_BYTES }),
            }
        }
    }

    fn add(&mut self, family: &Arc<Family>) {
        if self.kept.len() == MAX_FAMILIES {
            self.kept.remove(0);
        }
        self.kept.push(Arc::clone(family));
        self.all.push(Arc::downgrade(family));
    }
}

impl Parents {
    /// Parents that have all models of `recipe`, and the recipe as one over these.
    ///
    /// # Errors
    /// [`ParentsError`] if they are no siblings or no longer the same files.
    pub fn family(&self, recipe: Recipe) -> Result<(Arc<Family>, Recipe), ParentsError> {
        let wanted: Vec<Member> = recipe.models.iter().map(|model| self.member(model)).collect::<Result<_, _>>()?;
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = families.kept.iter().filter(|family| family.takes(&recipe, &wanted));
        let family = match fitting.min_by_key(|family| family.members.len()) {
            Some(family) => Arc::clone(family),
            None => {
                let adapters = wanted.iter().flat_map(|member| &member.adapters);
                let bytes = adapters.filter_map(|a| self.known()[*a].factor_bytes).fold(0, u64::saturating_add);
                families.make_room(bytes)?;
                let family = Arc::new(self.new_family(&recipe, wanted.clone(), bytes)?);
                families.add(&family);
                family
            }
        };
        let place = |model: &Member| family.members.iter().position(|m| m == model).expect("it has all of them");
        let numbers: Vec<usize> = wanted.iter().map(place).collect();
        let models = family.members.iter().map(|member| self.model(member)).collect();
        let mut recipe = recipe.renumbered(models, &numbers);
        let parents = numbers.iter().map(|number| &family.siblings.parents()[*number]);
        recipe.warnings.extend(parents.flat_map(Parent::remarks));
        Ok((family, recipe))
    }

    fn new_family(&self, recipe: &Recipe, members: Vec<Member>, adapter_bytes: u64) -> Result<Family, ParentsError> {
        let in_recipe = |source| OpenError::Plan { path: recipe.file.clone(), source };
        let models: Vec<ModelRef> = members.iter().map(|member| self.model(member)).collect();
        let siblings = Siblings::open(&models).map_err(in_recipe)?;
        for (member, parent) in members.iter().zip(siblings.parents()) {
            let files = std::iter::once(member.model).chain(member.adapters.iter().copied());
            for (known, print) in files.map(|file| &self.known()[file]).zip(parent.fingerprints()) {
                if hex(&print) != known.fingerprint {
                    return Err(ParentsError::Replaced { name: known.name.clone() });
                }
            }
        }
        Ok(Family { members, adapter_bytes, siblings })
    }
}
