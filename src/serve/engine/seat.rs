//! One live model: the weights of a revision in memory, and the slots that run on them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::work::{Embedding, Problem, Ticket};
use super::{Limits, schedule};
use crate::generate::Generator;
use crate::model::{Live, ModelError, Swap};
use crate::serve::revision::{Revision, Source};

/// Others wait at least so many times as long as a change takes, so that changes take no more than some percent of the time.
const TURN_PER_SWAP: u32 = 20;
/// Shortest turn: a few steps.
const SHORTEST_TURN: Duration = Duration::from_millis(50);
/// Longest turn.
const LONGEST_TURN: Duration = Duration::from_secs(5);

pub(super) struct Seat {
    pub revision: Arc<Revision>,
    pub generator: Generator<Ticket>,
    pub live: Live,
    /// Computed one after the other, between the generator's steps.
    pub embeddings: VecDeque<Embedding>,
    /// What it took to make the revision live.
    pub swap: Swap,
    /// Since when it is.
    pub since: Instant,
    /// By the engine's count of moves.
    pub used: u64,
}

impl Seat {
    /// Makes `revision` live beside others.
    pub fn open(revision: &Arc<Revision>, limits: Limits) -> Result<Self, ModelError> {
        let (live, swap) = revision.start(limits.settings, limits.parallel)?;
        let (generator, embeddings) = (Generator::new(&live), VecDeque::new());
        let (revision, since) = (Arc::clone(revision), Instant::now());
        Ok(Self { revision, generator, live, embeddings, swap, since, used: 0 })
    }

    /// Makes `revision` live in place of what is: merged into the same weights where the shape allows. Gives the seat back as it is then,
    /// which after a failure may be as it was or not at all.
    pub fn change(mut self, revision: &Arc<Revision>, limits: Limits) -> (Option<Self>, Option<Problem>) {
        match &revision.source {
            Source::Recipe { family, plan, .. } if self.is_kin(revision) => {
                self.generator.forget(&mut self.live);
                match self.live.swap(plan, family.siblings.parents()) {
                    Ok(swap) => {
                        (self.revision, self.swap, self.since) = (Arc::clone(revision), swap, Instant::now());
                        (Some(self), None)
                    }
                    Err(error) => (self.live.is_whole().then_some(self), Some(error.into())),
                }
            }
            _ => {
                // The old weights go first, so that there is memory for the new ones.
                drop(self);
                match Self::open(revision, limits) {
                    Ok(seat) => (Some(seat), None),
                    Err(error) => (None, Some(error.into())),
                }
            }
        }
    }

    /// Whether `revision` can take over context and shared weights, even if llama.cpp has to load the model anew.
    fn is_kin(&self, revision: &Revision) -> bool {
        match (&self.revision.source, &revision.source) {
            (Source::Recipe { family, .. }, Source::Recipe { family: other, .. }) => {
                Arc::ptr_eq(family, other)
                    && self.revision.speaks_like(revision)
                    && self.revision.context == revision.context
            }
            _ => false,
        }
    }

    /// Work under way.
    pub fn running(&self) -> usize {
        self.generator.running() + self.embeddings.len()
    }

    /// As the schedule sees it.
    pub fn seen(&self, superseded: bool) -> schedule::Seat {
        schedule::Seat {
            key: self.revision.number,
            shape: self.revision.shape,
            running: self.running(),
            free: self.generator.free(),
            used: self.used,
            superseded,
            patience: (self.swap.elapsed * TURN_PER_SWAP).clamp(SHORTEST_TURN, LONGEST_TURN),
        }
    }
}
