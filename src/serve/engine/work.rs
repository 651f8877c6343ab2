//! What the engine is asked to do, and what those who ask are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::schedule::Waiting;
use crate::generate::{Output, Reason, Request};
use crate::model::{Live, LlamaToken, ModelError, Swap};
use crate::serve::metrics::Metrics;
use crate::serve::revision::Revision;

/// What comes of a request.
#[derive(Debug)]
pub enum Event {
    /// It runs, on the revision of this fingerprint.
    Started(String),
    /// What the model says.
    Output(Output),
    /// It ended without an end.
    Failed(Problem),
}

/// Why work is not done.
#[derive(Clone, Debug, Error)]
pub enum Problem {
    /// Too much waits already.
    #[error("{waiting} sequences wait already, {wanted} more would be beyond the limit of {most}; try again")]
    Busy {
        /// How many wait.
        waiting: usize,
        /// How many more were asked for.
        wanted: usize,
        /// `--max-waiting`.
        most: usize,
    },
    /// The server is about to end.
    #[error("the server is shutting down")]
    Stopping,
    /// The time of the request is over.
    #[error("this took longer than {seconds} s (`--timeout`)")]
    TooLate {
        /// How long it may take.
        seconds: f64,
    },
    /// The request itself cannot be answered.
    #[error("{0}")]
    Refused(Arc<ModelError>),
    /// llama.cpp or the merge failed.
    #[error("{0}")]
    Failed(Arc<ModelError>),
}

impl From<ModelError> for Problem {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::TooLong { .. } | ModelError::EmptyPrompt | ModelError::Grammar { .. } => {
                Self::Refused(error.into())
            }
            error => Self::Failed(error.into()),
        }
    }
}

/// What it took to make a recipe live.
#[derive(Clone, Copy, Debug)]
pub struct Swapped {
    /// The swap; nothing was to be done if the same weights were live already.
    pub swap: Swap,
    /// How long it waited for requests that ran.
    pub waited: Duration,
}

/// Embeddings and who made them.
#[derive(Debug)]
pub struct Embedded {
    /// One for each prompt.
    pub vectors: Vec<Vec<f32>>,
}

/// A place among those that wait, given back when dropped.
pub struct Place {
    waiting: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

impl Place {
    pub(super) fn new(waiting: Arc<AtomicUsize>, metrics: Arc<Metrics>) -> Self {
        metrics.waiting.inc();
        Self { waiting, metrics }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        self.metrics.waiting.dec();
    }
}

/// Something to do.
pub(super) struct Work {
    pub revision: Arc<Revision>,
    pub deadline: Instant,
    pub since: Instant,
    pub kind: Kind,
    /// Given back when it waits no more.
    pub place: Place,
}

/// What is to be done.
pub(super) enum Kind {
    /// Continue a prompt.
    Ask { request: Box<Request>, ticket: Ticket },
    /// Compute embeddings.
    Embed(Embedding),
    /// Make the revision live, and what its id stands for.
    Put(oneshot::Sender<Result<Swapped, Problem>>),
}

/// Embeddings under way, one prompt after the other.
pub(super) struct Embedding {
    pub deadline: Instant,
    prompts: Vec<Vec<LlamaToken>>,
    vectors: Vec<Vec<f32>>,
    reply: oneshot::Sender<Result<Embedded, Problem>>,
}

impl Embedding {
    /// Computes the next one. Gives itself back if it is to go on.
    pub fn advance(mut self, live: &Live) -> Option<Self> {
        let next = self.vectors.len();
        match live.embed(&self.prompts[next..=next]) {
            Ok(vectors) => self.vectors.extend(vectors),
            Err(error) => {
                self.end(Err(error.into()));
                return None;
            }
        }
        if self.vectors.len() < self.prompts.len() && !self.reply.is_closed() {
            return Some(self);
        }
        let vectors = std::mem::take(&mut self.vectors);
        self.end(Ok(Embedded { vectors }));
        None
    }

    /// Tells who asked how it ended.
    pub fn end(self, result: Result<Embedded, Problem>) {
        // Who has gone need not know.
        let _ = self.reply.send(result);
    }
}

/// What the generator knows a request by: where its answer goes.
pub(super) struct Ticket {
    index: usize,
    events: mpsc::UnboundedSender<(usize, Event)>,
    pub deadline: Instant,
}

impl Ticket {
    /// Whether nobody listens any more.
    pub fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }

    /// Says that it runs, on the revision of this fingerprint; returns whether anybody listens.
    pub fn started(&self, fingerprint: &str) -> bool {
        self.events.send((self.index, Event::Started(fingerprint.to_owned()))).is_ok()
    }

    /// Says that nothing more comes.
    pub fn fail(&self, problem: Problem) {
        // Who has gone need not know.
        let _ = self.events.send((self.index, Event::Failed(problem)));
    }

    /// Passes on what the model says; returns whether more is wanted.
    pub fn pass(&self, output: Output, now: Instant, timeout: Duration) -> bool {
        let late = self.deadline <= now;
        let event = match output {
            Output::End(end) if late && matches!(end.reason, Reason::Cancelled) => {
                Event::Failed(Problem::TooLate { seconds: timeout.as_secs_f64() })
            }
            output => Event::Output(output),
        };
        self.events.send((self.index, event)).is_ok() && !late
    }
}

impl Work {
    pub fn ask(
        revision: Arc<Revision>,
        request: Request,
        index: usize,
        events: mpsc::UnboundedSender<(usize, Event)>,
        place: Place,
        deadline: Instant,
    ) -> Self {
        let kind = Kind::Ask { request: request.into(), ticket: Ticket { index, events, deadline } };
        Self { revision, deadline, since: Instant::now(), kind, place }
    }

    pub fn embed(
        revision: Arc<Revision>,
        prompts: Vec<Vec<LlamaToken>>,
        reply: oneshot::Sender<Result<Embedded, Problem>>,
        place: Place,
        deadline: Instant,
    ) -> Self {
        let kind = Kind::Embed(Embedding { deadline, prompts, vectors: Vec::new(), reply });
        Self { revision, deadline, since: Instant::now(), kind, place }
    }

    pub fn put(
        revision: Arc<Revision>,
        reply: oneshot::Sender<Result<Swapped, Problem>>,
        place: Place,
        deadline: Instant,
    ) -> Self {
        Self { revision, deadline, since: Instant::now(), kind: Kind::Put(reply), place }
    }

    /// As the schedule sees it.
    pub fn seen(&self, now: Instant) -> Waiting {
        Waiting {
            key: self.revision.number,
            shape: self.revision.shape,
            waited: now.saturating_duration_since(self.since),
            needs_slot: matches!(self.kind, Kind::Ask { .. }),
        }
    }

    /// Goes on with what its id stands for now, if tokens mean the same there. A change waits for itself.
    pub fn follow(&mut self, current: &Arc<Revision>) {
        if !matches!(self.kind, Kind::Put(_)) && current.speaks_like(&self.revision) {
            self.revision = Arc::clone(current);
        }
    }

    /// The id whose model is about to be another.
    pub fn replaces(&self) -> Option<&str> {
        matches!(self.kind, Kind::Put(_)).then_some(self.revision.id.as_str())
    }

    /// Whether nobody waits for it any more. Changes are made even so.
    pub fn is_abandoned(&self) -> bool {
        match &self.kind {
            Kind::Ask { ticket, .. } => ticket.is_abandoned(),
            Kind::Embed(embedding) => embedding.reply.is_closed(),
            Kind::Put(_) => false,
        }
    }

    /// Tells who asked that it will not be done.
    pub fn fail(self, problem: Problem) {
        // Who has gone need not know.
        match self.kind {
            Kind::Ask { ticket, .. } => ticket.fail(problem),
            Kind::Embed(embedding) => embedding.end(Err(problem)),
            Kind::Put(reply) => drop(reply.send(Err(problem))),
        }
    }
}
