//! The one way through the house: each stage of `src/` uses only the stages before it, and the kernels know none of us.

use std::fs;
use std::path::{Path, PathBuf};

/// Leaves first, then the stages in the order in which data flows; those of one row do not know each other.
const ORDER: &[&[&str]] = &[
    &["yaml", "disk", "duration", "ggml"],
    &["gguf"],
    &["recipe"],
    &["plan"],
    &["image"],
    &["model"],
    &["generate"],
    &["open"],
    &["tasks"],
    &["score"],
    &["evolve"],
    &["bench", "serve"],
    &["cli"],
];

fn rank(stage: &str) -> usize {
    let found = ORDER.iter().position(|row| row.contains(&stage));
    found.unwrap_or_else(|| panic!("`{stage}` has no place in the flow: give it one in ORDER and in the documentation"))
}

/// Every `.rs` file under `path`, which may be one itself.
fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() {
        fs::read_dir(path).unwrap().flat_map(|entry| sources(&entry.unwrap().path())).collect()
    } else {
        Some(path.to_owned()).into_iter().filter(|p| p.extension().is_some_and(|e| e == "rs")).collect()
    }
}

/// The file's code, comments left out: documentation may point anywhere.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn stages_import_only_what_lies_before_them() {
    let mut imports = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap() {
        let path = entry.unwrap().path();
        let stage = path.file_stem().unwrap().to_str().unwrap();
        if stage == "main" || stage == "lib" {
            continue;
        }
        for file in sources(&path) {
            let code = code(&file);
            assert!(
                !code.contains("crate::{"),
                "{}: name each stage on a line of its own, for this test to see",
                file.display()
            );
            for after in code.split("crate::").skip(1) {
                let used = after.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                imports += 1;
                let fine = used == stage || rank(used) < rank(stage);
                assert!(fine, "{}: `{stage}` uses `{used}`, which does not lie before it", file.display());
            }
        }
    }
    assert!(imports > 50, "only {imports} imports seen: is this test still reading the sources?");
}

#[test]
fn the_kernels_depend_on_nothing_else_of_ours() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    assert!(!manifest.lines().any(|line| line.starts_with("ggraft")), "{manifest}");
    for file in sources(&folder.join("src")) {
        assert!(!code(&file).contains("ggraft::"), "{}", file.display());
    }
}
