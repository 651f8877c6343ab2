//! Recipes and files in, an OpenAI-compatible server out: every recipe is a model, merged in memory, that can be changed while it talks.
//!
//! ```text
//!  http ──► catalog ──► engine ──► model
//!  JSON      which       one thread: what is live, who runs, who waits
//!            recipe
//! ```
//! `http` only waits for others; [`catalog`] knows what each id stands for; [`engine`] owns llama.cpp and is the only one to touch it.

pub mod catalog;
pub mod engine;
mod family;
mod http;
mod listen;
mod memory;
mod metrics;
mod parents;
mod revision;
mod study;
mod tokenizers;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;

use crate::model::Settings;
use catalog::{Catalog, CatalogError};
use engine::{Engine, Limits, Problem};
use http::App;
use metrics::Metrics;
use study::{Study, StudyError};

/// What a server is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Recipes and files.
    pub models: Vec<PathBuf>,
    /// A name or number to listen on.
    pub host: String,
    /// 0 takes a free one.
    pub port: u16,
    /// What clients have to bring.
    pub api_key: Option<String>,
    /// Web pages that may ask.
    pub cors_origins: Vec<String>,
    /// The folder of a search to show.
    pub study: Option<PathBuf>,
    /// Models live at once; by memory if `None`.
    pub max_live: Option<usize>,
    /// Sequences that may wait.
    pub max_waiting: usize,
    /// Longest body in bytes.
    pub max_body: usize,
    /// How long a request may take.
    pub timeout: Duration,
    /// Tokens of a sequence; what the model was trained on, but no more than 4096, if `None`.
    pub context: Option<u32>,
    /// Sequences side by side in each live model.
    pub parallel: u32,
    /// llama.cpp's settings.
    pub settings: Settings,
}

/// Why a server cannot serve.
#[derive(Debug, Error)]
pub enum ServeError {
    /// A model.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The study.
    #[error(transparent)]
    Study(#[from] StudyError),
    /// A web page's name that is none.
    #[error("`{origin}` is no origin of a web page; write it as `https://example.org` (`*` is not taken)")]
    Origin {
        /// As given.
        origin: String,
    },
    /// The address.
    #[error("cannot listen on {host}:{port}: {source}; choose another `--host` or `--port`")]
    Listen {
        /// As given.
        host: String,
        /// As given.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system gives no thread, socket or timer.
    #[error("the system refuses what a server needs: {0}")]
    System(std::io::Error),
    /// The first model does not run.
    #[error(transparent)]
    Start(Problem),
    /// The engine's thread has died, which is a mistake of ours.
    #[error("the engine stopped unexpectedly; the requests in flight are lost")]
    Engine,
}

impl ServeError {
    /// Whether the fault lies in what the user gave.
    pub fn is_bad_input(&self) -> bool {
        matches!(self, Self::Catalog(_) | Self::Study(_) | Self::Origin { .. })
    }
}

/// Serves until it is told to stop by Ctrl-C or SIGTERM; what runs then ends first. `ready` is told the address.
///
/// # Errors
/// [`ServeError`]; with bad models before anything listens.
pub fn serve(options: Options, ready: impl FnOnce(SocketAddr, &Catalog)) -> Result<(), ServeError> {
    for origin in &options.cors_origins {
        if !(origin.starts_with("http://") || origin.starts_with("https://")) || !origin.is_ascii() {
            return Err(ServeError::Origin { origin: origin.clone() });
        }
    }
    let catalog = Arc::new(Catalog::open(&options.models, options.context)?);
    let study = options.study.as_deref().map(|folder| Study::open(folder, &catalog.parents)).transpose()?;
    let address = |source| ServeError::Listen { host: options.host.clone(), port: options.port, source };
    let addresses: Vec<SocketAddr> =
        (options.host.as_str(), options.port).to_socket_addrs().map_err(address)?.collect();
    let listener = std::net::TcpListener::bind(addresses.as_slice()).map_err(address)?;
    let bound = listener.local_addr().map_err(address)?;

    let limits = Limits {
        settings: options.settings,
        parallel: options.parallel,
        max_live: options.max_live.unwrap_or_else(|| memory::most_live(&catalog, options.parallel)),
        max_waiting: options.max_waiting,
        timeout: options.timeout,
    };
    let metrics = Arc::new(Metrics::new());
    let (engine, thread) =
        Engine::start(Arc::clone(&catalog), limits, Arc::clone(&metrics)).map_err(ServeError::System)?;
    let app = App {
        catalog: Arc::clone(&catalog),
        engine: engine.clone(),
        metrics,
        study: study.map(Arc::new),
        options: Arc::new(options),
        local_only: bound.ip().is_loopback(),
        started: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
    };
    if let Ok(first) = catalog.get(None) {
        engine.warm_up(first).map_err(ServeError::Start)?;
    }
    ready(bound, &catalog);
    let listened = listen::run(listener, http::router(app), &engine, &thread);
    engine.stop();
    let ended = thread.join();
    listened.map_err(ServeError::System)?;
    ended.map_err(|_| ServeError::Engine)
}
