//! The one thread that owns the live models: requests come in over a channel, their answers go out token by token over channels of their
//! own. Whoever asks may be slow or gone; nobody waits for them here.

mod schedule;
mod seat;
mod work;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, RwLock};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::catalog::Catalog;
use super::metrics::Metrics;
use super::revision::Revision;
use crate::generate::{Output, Request};
use crate::model::{LlamaToken, Settings};
use schedule::Move;
use seat::Seat;
use work::{Kind, Place, Work};

pub use work::{Embedded, Event, Problem, Swapped};

/// Regular expressions in schemas are as deep as their brackets; this is room for far more than the limits let through.
const STACK_BYTES: usize = 64 << 20;

/// How models are run.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// llama.cpp's settings.
    pub settings: Settings,
    /// Sequences side by side in each live model.
    pub parallel: u32,
    /// Models live at once.
    pub max_live: usize,
    /// Sequences that may wait.
    pub max_waiting: usize,
    /// How long a request may take, waiting included.
    pub timeout: Duration,
}

/// What others hold of the engine.
#[derive(Clone)]
pub struct Engine {
    commands: Sender<Command>,
    waiting: Arc<AtomicUsize>,
    live: Arc<RwLock<Vec<u64>>>,
    stopping: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    /// How models are run.
    pub limits: Limits,
}

enum Command {
    Work(Vec<Work>),
    Stop,
}

impl Engine {
    /// Starts the thread. It ends after [`Engine::stop`], when what it had accepted is done.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        catalog: Arc<Catalog>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (commands, inbox) = channel();
        let live = Arc::new(RwLock::new(Vec::new()));
        let engine = Self {
            commands,
            waiting: Arc::default(),
            live: Arc::clone(&live),
            stopping: Arc::default(),
            metrics: Arc::clone(&metrics),
            limits,
        };
        // llama.cpp's models stay on the thread that made them.
        let run = move || {
            let (seats, queue) = (Vec::new(), VecDeque::new());
            State { catalog, limits, metrics, live, seats, queue, clock: 0 }.run(inbox);
        };
        let thread = Builder::new().name("engine".to_owned()).stack_size(STACK_BYTES).spawn(run)?;
        Ok((engine, thread))
    }

    /// Asks `revision`'s model to continue every one of `requests`; events come with their index. Dropping the receiver ends them all.
    ///
    /// # Errors
    /// [`Problem::Busy`] if not all of them may wait, [`Problem::Stopping`].
    pub fn ask(
        &self,
        revision: &Arc<Revision>,
        requests: Vec<Request>,
    ) -> Result<mpsc::UnboundedReceiver<(usize, Event)>, Problem> {
        let places = self.places(requests.len())?;
        let (events, answers) = mpsc::unbounded_channel();
        let work = requests.into_iter().enumerate().zip(places).map(|((index, request), place)| {
            Work::ask(Arc::clone(revision), request, index, events.clone(), place, self.deadline())
        });
        self.send(work.collect())?;
        Ok(answers)
    }

    /// Asks for the embeddings of `prompts`.
    ///
    /// # Errors
    /// As [`Engine::ask`], and [`Problem::Failed`].
    pub async fn embed(&self, revision: &Arc<Revision>, prompts: Vec<Vec<LlamaToken>>) -> Result<Embedded, Problem> {
        let place = self.places(1)?.pop().expect("one was asked for");
        let (reply, answer) = oneshot::channel();
        self.send(vec![Work::embed(Arc::clone(revision), prompts, reply, place, self.deadline())])?;
        answer.await.unwrap_or(Err(Problem::Stopping))
    }

    /// Makes `revision` live and, in the same moment, what its id stands for. Requests that run end on the weights they began on; those
    /// that wait for the same id get the new ones.
    ///
    /// # Errors
    /// As [`Engine::embed`]; nothing has changed then.
    pub async fn put(&self, revision: Arc<Revision>) -> Result<Swapped, Problem> {
        self.send_put(revision)?.await.unwrap_or(Err(Problem::Stopping))
    }

    /// Makes `revision` live before anybody asks; waits for it.
    ///
    /// # Errors
    /// As [`Engine::put`].
    pub fn warm_up(&self, revision: Arc<Revision>) -> Result<Swapped, Problem> {
        self.send_put(revision)?.blocking_recv().unwrap_or(Err(Problem::Stopping))
    }

    fn send_put(&self, revision: Arc<Revision>) -> Result<oneshot::Receiver<Result<Swapped, Problem>>, Problem> {
        let place = self.places(1)?.pop().expect("one was asked for");
        let (reply, answer) = oneshot::channel();
        self.send(vec![Work::put(revision, reply, place, self.deadline())])?;
        Ok(answer)
    }

    /// Whether the weights of `revision` are in memory now.
    pub fn is_live(&self, revision: &Revision) -> bool {
        self.live.read().is_ok_and(|live| live.contains(&revision.number))
    }

    /// Takes no more work, and lets the thread end when all is done.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        // If it is gone already, it has stopped.
        let _ = self.commands.send(Command::Stop);
    }

    /// Whether no more work is taken.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.limits.timeout
    }

    fn places(&self, count: usize) -> Result<Vec<Place>, Problem> {
        if self.is_stopping() {
            return Err(Problem::Stopping);
        }
        let most = self.limits.max_waiting;
        let take = |waiting: usize| waiting.checked_add(count).filter(|sum| *sum <= most);
        self.waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).map_err(|waiting| Problem::Busy {
            waiting,
            wanted: count,
            most,
        })?;
        Ok((0..count).map(|_| Place::new(Arc::clone(&self.waiting), Arc::clone(&self.metrics))).collect())
    }

    fn send(&self, work: Vec<Work>) -> Result<(), Problem> {
        self.commands.send(Command::Work(work)).map_err(|_| Problem::Stopping)
    }
}

/// What the thread owns.
struct State {
    catalog: Arc<Catalog>,
    limits: Limits,
    metrics: Arc<Metrics>,
    live: Arc<RwLock<Vec<u64>>>,
    seats: Vec<Seat>,
    queue: VecDeque<Work>,
    clock: u64,
}

impl State {
    fn run(mut self, inbox: Receiver<Command>) {
        let mut stopping = false;
        loop {
            let idle = self.queue.is_empty() && self.seats.iter().all(|seat| seat.running() == 0);
            if idle && stopping {
                return;
            }
            let mut command = if idle { inbox.recv().ok() } else { inbox.try_recv().ok() };
            // Nobody can send any more.
            stopping |= idle && command.is_none();
            while let Some(now) = command {
                match now {
                    Command::Work(work) => work.into_iter().for_each(|work| self.accept(work)),
                    Command::Stop => stopping = true,
                }
                command = inbox.try_recv().ok();
            }
            self.drop_unwanted();
            while let Some(step) = self.next() {
                self.make(step);
            }
            self.step();
        }
    }

    /// Queues work. What its id stands for may have changed since it was sent.
    fn accept(&mut self, mut work: Work) {
        if let Ok(current) = self.catalog.get(Some(&work.revision.id)) {
            work.follow(&current);
        }
        self.queue.push_back(work);
    }

    /// Ends what nobody waits for any more, and what has waited too long.
    fn drop_unwanted(&mut self) {
        let now = Instant::now();
        let timeout = self.limits.timeout;
        let late = || Problem::TooLate { seconds: timeout.as_secs_f64() };
        self.queue.retain(|work| !work.is_abandoned());
        while let Some(place) = self.queue.iter().position(|work| work.deadline <= now) {
            self.queue.remove(place).expect("its place was just found").fail(late());
        }
        for seat in &mut self.seats {
            while let Some(place) = seat.embeddings.iter().position(|embedding| embedding.deadline <= now) {
                seat.embeddings.remove(place).expect("its place was just found").end(Err(late()));
            }
            seat.generator.cancel(|ticket| ticket.is_abandoned() || ticket.deadline <= now, &mut |ticket, output| {
                ticket.pass(output, now, timeout);
            });
        }
    }

    fn next(&self) -> Option<Move> {
        let now = Instant::now();
        let replaced: Vec<&str> = self.queue.iter().filter_map(Work::replaces).collect();
        let superseded =
            |seat: &Seat| !self.catalog.is_current(&seat.revision) || replaced.contains(&seat.revision.id.as_str());
        let seats: Vec<_> = self.seats.iter().map(|seat| seat.seen(superseded(seat))).collect();
        let queue: Vec<_> = self.queue.iter().map(|work| work.seen(now)).collect();
        schedule::next(&seats, &queue, self.limits.max_live)
    }

    fn make(&mut self, step: Move) {
        self.clock += 1;
        match step {
            Move::Start(place, seat) => self.start(place, seat),
            Move::Open(place) => {
                let revision = Arc::clone(&self.queue[place].revision);
                match Seat::open(&revision, self.limits) {
                    Ok(mut seat) => {
                        seat.used = self.clock;
                        self.metrics.swapped(&seat.swap);
                        self.seats.push(seat);
                    }
                    Err(error) => self.fail_all(revision.number, &error.into()),
                }
            }
            Move::Swap(place, index) => {
                let revision = Arc::clone(&self.queue[place].revision);
                let seat = self.seats.remove(index);
                let (seat, problem) = seat.change(&revision, self.limits);
                if let Some(mut seat) = seat {
                    seat.used = self.clock;
                    self.seats.insert(index, seat);
                }
                match problem {
                    None => self.metrics.swapped(&self.seats[index].swap),
                    Some(problem) => self.fail_all(revision.number, &problem),
                }
            }
        }
        if let Ok(mut live) = self.live.write() {
            *live = self.seats.iter().map(|seat| seat.revision.number).collect();
        }
        self.metrics.live_models.set(self.seats.len().try_into().unwrap_or(i64::MAX));
    }

    /// Starts work `place` in a seat that runs its model.
    fn start(&mut self, place: usize, index: usize) {
        let work = self.queue.remove(place).expect("the schedule names work of this queue");
        // Before anybody is told anything: who hears of it may ask again at once.
        drop(work.place);
        let seat = &mut self.seats[index];
        seat.used = self.clock;
        match work.kind {
            Kind::Ask { request, ticket } => {
                if ticket.started(&seat.revision.fingerprint)
                    && let Err((ticket, error)) = seat.generator.start(&mut seat.live, ticket, *request)
                {
                    ticket.fail(error.into());
                }
            }
            Kind::Embed(embedding) => seat.embeddings.push_back(embedding),
            Kind::Put(reply) => {
                self.catalog.put(Arc::clone(&work.revision));
                for other in self.queue.iter_mut().filter(|other| other.revision.id == work.revision.id) {
                    other.follow(&work.revision);
                }
                let waited = seat.since.saturating_duration_since(work.since).saturating_sub(seat.swap.elapsed);
                // Who has gone need not know.
                let _ = reply.send(Ok(Swapped { swap: seat.swap, waited }));
            }
        }
    }

    /// The model `number` cannot be made live: all who wait for it are told.
    fn fail_all(&mut self, number: u64, problem: &Problem) {
        let (concerned, others) =
            std::mem::take(&mut self.queue).into_iter().partition(|work: &Work| work.revision.number == number);
        self.queue = others;
        let concerned: VecDeque<Work> = concerned;
        concerned.into_iter().for_each(|work| work.fail(problem.clone()));
    }

    /// One batch in every seat that has something to do.
    fn step(&mut self) {
        let mut running = 0;
        for seat in &mut self.seats {
            let timeout = self.limits.timeout;
            if seat.generator.running() > 0 {
                let now = Instant::now();
                let metrics = &self.metrics;
                let mut pass = |ticket: &mut work::Ticket, output: Output| {
                    if let Output::End(end) = &output {
                        metrics.ended(end);
                    }
                    ticket.pass(output, now, timeout)
                };
                // If it fails, who was in the batch has been told, and the others go on.
                let _ = seat.generator.step(&mut seat.live, &mut pass);
            }
            if let Some(embedding) = seat.embeddings.pop_front()
                && let Some(rest) = embedding.advance(&seat.live)
            {
                seat.embeddings.push_back(rest);
            }
            running += seat.running();
        }
        self.metrics.running.set(running.try_into().unwrap_or(i64::MAX));
    }
}
