//! What llama.cpp logs: kept to explain a failure, shown in full with `--verbose`.

use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_void};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use llama_cpp_sys_2 as sys;

/// Lines of trouble kept for the next error message.
const KEPT_LINES: usize = 3;

static VERBOSE: AtomicBool = AtomicBool::new(false);
static TROUBLE: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// Routes the logs of llama.cpp and ggml here; with `verbose`, everything goes to stderr as well.
pub(super) fn install(verbose: bool) {
    VERBOSE.store(verbose, Ordering::Relaxed);
    // SAFETY: the callback is a plain function with no state behind the null pointer.
    unsafe { sys::llama_log_set(Some(on_log), std::ptr::null_mut()) }
}

/// The last errors logged, and forgets them.
pub(super) fn take_trouble() -> String {
    let mut lines = TROUBLE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let text = Vec::from(std::mem::take(&mut *lines)).join("; ");
    if text.is_empty() { "it gave no reason; run with `--verbose` to see its log".into() } else { text }
}

unsafe extern "C" fn on_log(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a C string that lives through the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    if VERBOSE.load(Ordering::Relaxed) {
        eprint!("{text}");
    }
    if level >= sys::GGML_LOG_LEVEL_WARN && level != sys::GGML_LOG_LEVEL_CONT {
        // A panic must not cross into C, so a poisoned lock is taken as it is.
        let mut lines = TROUBLE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(text.trim().to_owned());
    }
}
