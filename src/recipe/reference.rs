//! mergekit's references to models: `model.gguf`, `model.gguf+adapter.gguf`, or `{model, lora}` in, a [`ModelRef`] out, and back.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use serde_saphyr::FlowMap;

/// LoRA adapters that one model may have on it.
pub const MAX_ADAPTERS: usize = 16;

/// Where the path of a model ends and that of an adapter begins. A plain `+` may well be part of a name.
const END: &str = ".gguf+";

/// One model of a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRef {
    /// As the recipe writes it.
    pub written: String,
    /// Resolved against the recipe's folder.
    pub path: PathBuf,
    /// LoRA adapters on it, in this order, resolved likewise.
    pub adapters: Vec<PathBuf>,
}

impl ModelRef {
    /// A model without adapters.
    pub fn plain(written: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { written: written.into(), path: path.into(), adapters: Vec::new() }
    }

    /// What `written` means, each path in it resolved by `resolve`; `None` where one of them names no file.
    pub fn read(written: &str, resolve: impl Fn(&str) -> PathBuf) -> Option<Self> {
        let parts = split(written);
        Self::of(written, parts[0], parts[1..].iter().copied(), resolve)
    }

    /// The model `model` with the adapters `lora`, which the recipe calls `written` together.
    pub(super) fn of<'a>(
        written: &str,
        model: &str,
        lora: impl IntoIterator<Item = &'a str>,
        resolve: impl Fn(&str) -> PathBuf,
    ) -> Option<Self> {
        let path = |part: &str| Path::new(part).file_name().map(|_| resolve(part));
        let adapters = lora.into_iter().map(path).collect::<Option<_>>()?;
        Some(Self { written: written.to_owned(), path: path(model)?, adapters })
    }

    /// The model's file, then the adapters'.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.path).chain(&self.adapters).map(PathBuf::as_path)
    }

    /// The same files, to be found elsewhere.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        std::iter::once(&mut self.path).chain(&mut self.adapters)
    }

    /// Whether both are the same model, however they are written.
    pub fn is(&self, other: &Self) -> bool {
        self.path == other.path && self.adapters == other.adapters
    }
}

/// Where the path `written` in `file` leads: relative ones start at its folder, which is named even if it is the current one, so that
/// `a.gguf` and `./a.gguf` are the same path.
pub fn beside(file: &Path, written: &str) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.join(written),
        _ => Path::new(".").join(written),
    }
}

/// The paths in `written`: the model's, then the adapters'.
fn split(written: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = written;
    while let Some(at) = rest.find(END) {
        let (part, later) = rest.split_at(at + END.len() - 1);
        parts.push(part);
        rest = &later[1..];
    }
    parts.push(rest);
    parts
}

/// A reference to be written: in one word where that reads as the same again.
pub(super) struct Written {
    pub model: String,
    pub lora: Vec<String>,
}

#[derive(Serialize)]
struct Map<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    lora: &'a [String],
}

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { model, lora } = self;
        let parts: Vec<&str> = std::iter::once(model).chain(lora).map(String::as_str).collect();
        let word = parts.join("+");
        if split(&word) == parts {
            return serializer.serialize_str(&word);
        }
        FlowMap(Map { model, lora }).serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_behind_gguf_begins_an_adapter_and_any_other_is_part_of_a_name() {
        for (written, parts) in [
            ("a.gguf", &["a.gguf"][..]),
            ("a+b.gguf", &["a+b.gguf"]),
            ("a.gguf+x.gguf", &["a.gguf", "x.gguf"]),
            ("dir/a.gguf+x+1.gguf+y", &["dir/a.gguf", "x+1.gguf", "y"]),
            ("a.gguf+", &["a.gguf", ""]),
        ] {
            assert_eq!(split(written), parts, "{written}");
        }
        let read = |written| ModelRef::read(written, |part| Path::new("dir").join(part));
        let model = read("a.gguf+x.gguf").unwrap();
        assert_eq!((model.path, model.adapters), ("dir/a.gguf".into(), vec!["dir/x.gguf".into()]));
        assert!(["", "a.gguf+", "a.gguf+..", "+", ".gguf+/"].iter().all(|w| *w == "+" || read(w).is_none()));
    }
}
