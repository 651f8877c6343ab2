//! What is known of llama.cpp's graphs.
pub(super) fn schedule_obstacle(_arch: &str) -> Option<&'static str> {
    None
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GainVia {
    Scale,
    PostNorms,
}
pub(super) fn gain_via(arch: &str) -> Result<GainVia, &'static str> {
    match arch {
        "llama" => Ok(GainVia::Scale),
        "gemma3" => Ok(GainVia::PostNorms),
        _ => Err("does not"),
    }
}
