//! What the server counts, for Prometheus.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::generate::End;
use crate::model::Swap;

/// A request's route and how it ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Route {
    /// As the router knows it.
    pub route: String,
    /// HTTP's status code.
    pub code: u16,
}

/// All counters.
pub struct Metrics {
    registry: Registry,
    /// By route and status.
    pub requests: Family<Route, Counter>,
    /// Until the answer, or its first piece, was there.
    pub request_seconds: Histogram,
    /// From the start of a sequence to its first token.
    prompt_seconds: Histogram,
    prompt_tokens: Counter,
    reused_tokens: Counter,
    generated_tokens: Counter,
    swap_seconds: Histogram,
    swap_bytes: Counter,
    /// Of the last merge; 0 before the first.
    bytes_per_second: AtomicU64,
    reloads: Counter,
    /// Sequences and embeddings that run.
    pub running: Gauge,
    /// Sequences, embeddings and changes that wait.
    pub waiting: Gauge,
    /// Models whose weights are in memory.
    pub live_models: Gauge,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut r = Registry::with_prefix("ggraft");
        Self {
            requests: add(&mut r, "requests", "Requests by route and status code", Family::default()),
            request_seconds: seconds(&mut r, "request", "Time until an answer, or its first piece, was there"),
            prompt_seconds: seconds(&mut r, "prompt", "Time from a sequence's start to its first token"),
            prompt_tokens: add(&mut r, "prompt_tokens", "Tokens of prompts", Counter::default()),
            reused_tokens: add(
                &mut r,
                "reused_tokens",
                "Tokens of prompts whose state was still there",
                Counter::default(),
            ),
            generated_tokens: add(&mut r, "generated_tokens", "Tokens generated", Counter::default()),
            swap_seconds: seconds(&mut r, "swap", "Time to make a recipe the running model"),
            swap_bytes: add(
                &mut r,
                "swap_written_bytes",
                "Bytes of merged weights written to memory",
                Counter::default(),
            ),
            bytes_per_second: AtomicU64::new(0),
            reloads: add(&mut r, "reloads", "Changes of shape, for which llama.cpp loaded a model", Counter::default()),
            running: add(&mut r, "running", "Sequences and embeddings under way", Gauge::default()),
            waiting: add(&mut r, "waiting", "Sequences, embeddings and changes of recipes that wait", Gauge::default()),
            live_models: add(&mut r, "live_models", "Models whose weights are in memory", Gauge::default()),
            registry: r,
        }
    }

    /// A model has become live.
    pub fn swapped(&self, swap: &Swap) {
        self.swap_seconds.observe(swap.elapsed.as_secs_f64());
        self.swap_bytes.inc_by(swap.fill.bytes_written);
        self.reloads.inc_by(u64::from(swap.reloaded));
        let bytes = swap.fill.bytes_read + swap.fill.bytes_written;
        if bytes > 0 {
            let speed = bytes as f64 / swap.fill.elapsed.as_secs_f64().max(1e-9);
            self.bytes_per_second.store(speed as u64, Ordering::Relaxed);
        }
    }

    /// How fast the last merge went, in bytes read and written; `None` before the first.
    pub fn bytes_per_second(&self) -> Option<f64> {
        let speed = self.bytes_per_second.load(Ordering::Relaxed);
        (speed > 0).then_some(speed as f64)
    }

    /// A sequence has ended.
    pub fn ended(&self, end: &End) {
        let count = |tokens: usize| tokens.try_into().unwrap_or(u64::MAX);
        self.prompt_seconds.observe(end.prompt_time.as_secs_f64());
        self.prompt_tokens.inc_by(count(end.prompt_tokens));
        self.reused_tokens.inc_by(count(end.reused_tokens));
        self.generated_tokens.inc_by(count(end.generated_tokens));
    }

    /// A request has been answered.
    pub fn answered(&self, route: &str, code: u16, time: Duration) {
        self.requests.get_or_create(&Route { route: route.to_owned(), code }).inc();
        self.request_seconds.observe(time.as_secs_f64());
    }

    /// All of them in Prometheus' text format.
    ///
    /// # Errors
    /// None: it is written to memory.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn seconds(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::new(exponential_buckets(0.001, 2.0, 20));
    registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
    histogram
}
