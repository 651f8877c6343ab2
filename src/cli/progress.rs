//! Progress bars on stderr, with time left; silent where stderr is no terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often the clock on the bar moves between two items.
const TICK: Duration = Duration::from_millis(500);

/// A bar over `total` items called `what`.
pub(super) fn bar(total: usize, what: &str) -> ProgressBar {
    with(total, what, "{prefix} [{bar:30}] {pos}/{len} {elapsed} elapsed, {eta} left {msg}")
}

/// The same, whose message says how much is left.
pub(super) fn bar_with_message(total: usize, what: &str) -> ProgressBar {
    with(total, what, "{prefix} [{bar:20}] {pos}/{len}, {elapsed}; {msg}")
}

fn with(total: usize, what: &str, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(total as u64);
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.expect("a valid template").progress_chars("=> "));
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}
