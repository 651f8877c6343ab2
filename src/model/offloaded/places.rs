//! Which memory each tensor on a device reads from: the tensors of a plan and what the places hold in, a place for each out.

use std::collections::HashMap;
use std::ffi::c_void;

use crate::model::weights::Room;
use crate::plan::{Content, Home, PlannedTensor, SourceRef};

/// Room for one tensor in a device's memory.
pub(super) struct Place {
    /// What fits in.
    pub room: Room,
    /// Where it starts, as that buffer counts.
    pub address: *mut c_void,
    /// What is in it.
    pub content: Option<Content>,
}

impl Place {
    fn holds(&self, tensor: &PlannedTensor) -> bool {
        self.content.as_ref().is_some_and(|content| content.is_of(tensor))
    }
}

/// A place for each of `wanted`, whose own places come in the same order. What stands alone, or must not move, stays in its own. What
/// several hops share gets one place for all of them: the one that holds it, if there is such.
pub(super) fn choose(places: &[Place], wanted: &[&PlannedTensor], moves: impl Fn(usize) -> bool) -> Vec<usize> {
    let shares = |i: &usize| moves(*i) && wanted[*i].home != Home::Own;
    let mut free: Vec<bool> = (0..wanted.len()).map(|i| shares(&i)).collect();
    let mut chosen: Vec<usize> = (0..wanted.len()).collect();

    let mut holders: HashMap<&[SourceRef], Vec<usize>> = HashMap::new();
    for (i, place) in places.iter().enumerate() {
        holders.entry(place.content.as_ref().map_or(&[], Content::sources)).or_default().push(i);
    }
    let groups = groups(places, wanted, (0..wanted.len()).filter(shares));
    let mut homeless = Vec::new();
    for group in groups {
        let (place, tensor) = (&places[group[0]], wanted[group[0]]);
        let held = holders.get(&*tensor.sources).into_iter().flatten();
        match held.copied().find(|p| free[*p] && places[*p].room == place.room && places[*p].holds(tensor)) {
            Some(held) => {
                free[held] = false;
                group.iter().for_each(|i| chosen[*i] = held);
            }
            None => homeless.push(group),
        }
    }
    for group in homeless {
        let mut candidates = group.iter().copied().chain(0..places.len());
        let place = candidates.find(|p| free[*p] && places[*p].room == places[group[0]].room);
        // There are no more groups of a kind than places of it.
        let place = place.expect("a place for every tensor");
        free[place] = false;
        group.iter().for_each(|i| chosen[*i] = place);
    }
    chosen
}

/// Those of `sharing` that are one tensor in the same kind of place.
fn groups(places: &[Place], wanted: &[&PlannedTensor], sharing: impl Iterator<Item = usize>) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut known = HashMap::new();
    for i in sharing {
        let key = (places[i].room, wanted[i].home, &wanted[i].sources);
        let group = *known.entry(key).or_insert(groups.len());
        groups.resize_with(groups.len().max(group + 1), Vec::new);
        groups[group].push(i);
    }
    groups
}
