//! Stops steps of grammars that take too long: a thread that looks at all that run, a few times in a second.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use llguidance::CancellationHandle;

/// How long one step of an answer may take. llguidance counts what a step looks at, but not how long it looks for it.
pub(super) const STEP_LIMIT: Duration = Duration::from_secs(1);
/// How often the thread looks.
const TICK: Duration = Duration::from_millis(100);

static ALL: Mutex<Vec<Weak<Watched>>> = Mutex::new(Vec::new());

/// What does one step after the other.
pub(super) struct Watched {
    stop: CancellationHandle,
    /// How long one step may take.
    pub limit: Duration,
    since: Mutex<Option<Instant>>,
}

impl Watched {
    /// Watches steps that heed `stop`, until the last `Arc` of it is gone.
    pub(super) fn new(stop: CancellationHandle, limit: Duration) -> Arc<Self> {
        static THREAD: OnceLock<Option<Thread>> = OnceLock::new();
        let watched = Arc::new(Self { stop, limit, since: Mutex::new(None) });
        ALL.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&watched));
        let thread = THREAD.get_or_init(|| {
            let thread = thread::Builder::new().name("watchdog".to_owned()).spawn(watch);
            thread.ok().map(|handle| handle.thread().clone())
        });
        // Without a thread, what llguidance counts itself is the only limit.
        thread.iter().for_each(Thread::unpark);
        watched
    }

    /// Does a step.
    pub(super) fn during<T>(&self, step: impl FnOnce() -> T) -> T {
        self.set(Some(Instant::now()));
        let result = step();
        self.set(None);
        result
    }

    fn set(&self, since: Option<Instant>) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn check(&self) {
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.is_some_and(|since| since.elapsed() > self.limit) {
            self.stop.cancel();
        }
    }
}

fn watch() {
    loop {
        let idle = {
            let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|watched| watched.upgrade().inspect(|watched| watched.check()).is_some());
            all.is_empty()
        };
        match idle {
            true => thread::park(),
            false => thread::sleep(TICK),
        }
    }
}
