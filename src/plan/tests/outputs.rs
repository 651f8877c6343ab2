//! Models that are tied, whose output is their embedding, merged with models that have an output of their own.

use ggraft_kernels::GgmlType;

use super::{Family, assert_close, is_copy, planned, recipe, stack};
use crate::gguf::tests::Tiny;

const OUTPUT: &str = "output.weight";
const EMBEDDING: &str = "token_embd.weight";

/// `a.gguf` and `b.gguf`, one of them tied.
fn family(tied: usize) -> Family {
    let mut own = Tiny::llama();
    own.add(OUTPUT, &[32, 8], GgmlType::Q8_0);
    let tinies = [0, 1].map(|i| if i == tied { Tiny::llama() } else { own.clone() });
    Family::of(&[&tinies[0], &tinies[1]])
}

#[test]
fn a_tied_model_gives_its_embedding_to_the_output_of_the_merge() {
    for tied in [0, 1] {
        let family = family(tied);
        let head = |parent: usize| family.values(parent, if parent == tied { EMBEDDING } else { OUTPUT });
        let models = [("a.gguf", "weight: 1"), ("b.gguf", "weight: 3")];
        let plan = family.plan(&recipe("linear", &models, "out_type: f32"));
        let want: Vec<f32> = head(0).iter().zip(head(1)).map(|(a, b)| 0.25 * a + 0.75 * b).collect();
        assert_close(&family.merged(&plan, OUTPUT), &want, 1e-6);
        let embeddings = family.values(0, EMBEDDING).into_iter().zip(family.values(1, EMBEDDING));
        let want: Vec<f32> = embeddings.map(|(a, b)| 0.25 * a + 0.75 * b).collect();
        assert_close(&family.merged(&plan, EMBEDDING), &want, 1e-6);
        let keys: Vec<&str> = family.siblings.remarks().map(|d| d.key.as_str()).collect();
        assert_eq!(keys, [OUTPUT], "the user is told");
        // Filters find it under its own name.
        let head_only = [("a.gguf", "weight: 0"), ("b.gguf", "weight: [{filter: lm_head, value: 1}, {value: 0}]")];
        let plan = family.plan(&recipe("linear", &head_only, "parameters: {normalize: false}\nout_type: f32"));
        assert_close(&family.merged(&plan, OUTPUT), &head(1), 1e-6);
    }
}

#[test]
fn a_stack_that_ends_in_either_has_the_output_of_its_last_model() {
    for tied in [0, 1] {
        let family = family(tied);
        let path = "path:\n  - {model: a.gguf, layer: 0}\n  - {model: b.gguf, layer: 1}\n".to_owned();
        for text in [stack(&[("a.gguf", 0, 1), ("b.gguf", 1, 2)]), path] {
            let plan = family.plan(&text);
            let head = if tied == 1 { EMBEDDING } else { OUTPUT };
            assert_eq!(family.merged(&plan, OUTPUT), family.values(1, head), "{text}");
            assert!(is_copy(planned(&plan, OUTPUT)));
            assert_eq!(family.merged(&plan, EMBEDDING), family.values(0, EMBEDDING));
        }
    }
    // Nothing of the untied model is in the output: the merge stays tied.
    let family = family(0);
    let plan = family.plan(
        &stack(&[("a.gguf", 0, 2)])
            .replace("slices:\n", "slices:\n  - sources: [{model: a.gguf, layer_range: [0, 1]}]\n"),
    );
    assert!(plan.tensors.iter().all(|tensor| tensor.info.name != OUTPUT));
}
