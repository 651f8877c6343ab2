//! `ggraft bench` on parents that it makes up, with nothing but a recipe on disk.

use std::path::{Path, PathBuf};

use crate::mistakes::refused;
use crate::support::{ggraft, quickstart};

fn recipe(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/bench").join(name)
}

#[test]
fn recipes_are_measured_without_any_model_file() {
    for (name, parents, flags) in [("linear", 2, &["--exported"][..]), ("ties", 4, &[]), ("dare_ties", 4, &[])] {
        let recipe = recipe(&format!("{name}.yaml"));
        let args =
            ["bench", recipe.to_str().unwrap(), "--synthetic", "llama-4m", "--type", "q4_k", "--repeat", "2", "--json"];
        let json = ggraft(args.iter().chain(flags)).json();
        // Of matrices; there are 2,304 of norms.
        let weights = 3_670_016;
        assert_eq!(json["bytes_read"], parents * (weights / 256 * 144 + 2_304 * 4), "{json}");
        assert_eq!(json["bytes_written"], weights / 32 * 34 + 2_304 * 4, "{json}");
        assert_eq!(json["synthetic"]["type"], "q4_K");
        assert_eq!(
            (&json["questions"], &json["answer_tokens"]),
            (&32.into(), &(32 * 32).into()),
            "no answer ends early"
        );
        let positive = |key: &str| assert!(json[key].as_f64().is_some_and(|n| n > 0.0), "{key}: {json}");
        ["candidate_seconds", "questions_seconds", "open_seconds", "gb_per_second"].into_iter().for_each(positive);
        assert!(json["plan_and_swap_seconds"]["median"].as_f64().unwrap() > 0.0, "{json}");
        assert!(json["candidate_seconds"].as_f64() > json["questions_seconds"].as_f64(), "{json}");
        let exported = ["exported_prompt_tokens_per_second", "exported_generated_tokens_per_second"];
        if flags.is_empty() {
            assert!(exported.iter().all(|key| json[key].is_null()), "{json}");
        } else {
            exported.into_iter().for_each(positive);
        }
        assert!(json["devices"].is_array() && json.get("device_copy_gb_per_second").is_some(), "{json}");
        assert!(json.get("ratio_to_device_copy").is_some(), "{json}");
        assert_eq!(json["disk_write_bytes"], 0);
    }
}

#[test]
fn what_cannot_be_made_up_is_refused() {
    let (linear, file) = (recipe("linear.yaml"), quickstart("base-Q8_0.gguf"));
    let [linear, file] = [&linear, &file].map(|path| path.to_str().unwrap());
    refused(["bench", file, "--synthetic", "llama-4m"], &["--synthetic", "recipe", file]);
    refused(["bench", linear, "--synthetic", "llama-4b"], &["llama-4b", "llama-7b (Mistral 7B's)", "llama-4m"]);
    refused(["bench", linear, "--synthetic", "llama-4m", "--type", "q4"], &["q4", "q8_0"]);
    refused(["bench", linear, "--type", "q4_k"], &["--synthetic"]);
    refused(["bench", linear], &["a.gguf"]);
}
