//! Paths: the blocks they pass and with which gains, how they are written back, what wrong ones are told.

use super::*;

const MERGE: &str = "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 1}\n";

fn refusal(text: &str) -> String {
    Recipe::parse(text, Path::new(FILE)).expect_err(text).to_string()
}

/// Models and layers of all blocks; `merged` counts the merge's.
fn blocks(text: &str, counts: &[u32], merged: u32) -> Vec<(Option<usize>, u32)> {
    let blocks = parse(text).path_blocks(counts, merged).unwrap();
    blocks.iter().map(|block| (block.model, block.layer)).collect()
}

/// Gains of attention and feed-forward network of all blocks, for models of 4 blocks.
fn gains(text: &str) -> Vec<(f32, f32)> {
    let blocks = parse(text).path_blocks(&[4, 4], 0).unwrap();
    blocks.iter().map(|PathBlock { gain, .. }| (gain.attention, gain.feed_forward)).collect()
}

#[test]
fn hops_come_to_blocks_in_the_order_written() {
    let text = "path: [{model: a, layer: 2}, {model: b, layers: [1, 3]}, {model: ./a}, {model: b, layer: 0}]";
    let (a, b) = (Some(0), Some(1));
    assert_eq!(blocks(text, &[3, 4], 0), [(a, 2), (b, 1), (b, 2), (a, 0), (a, 1), (a, 2), (b, 0)]);
    let layers: Vec<u32> = parse(MERGE).path_blocks(&[3, 4], 3).unwrap().iter().map(|block| block.layer).collect();
    assert_eq!(layers, [0, 1, 2], "no path: the merge's blocks in order");
}

#[test]
fn hops_without_a_model_are_the_merge() {
    let text = format!("{MERGE}path: [{{layer: 1}}, {{model: b, layer: 3}}, {{}}, {{layers: [0, 2]}}]");
    let merged = [(None, 1), (Some(1), 3), (None, 0), (None, 1), (None, 2), (None, 0), (None, 1)];
    assert_eq!(blocks(&text, &[4, 4], 3), merged);
}

#[test]
fn scales_become_the_gains_of_both_forms() {
    let path = "path: [{model: a, layer: 0, scale: 2}, {model: b, layers: [1, 3], scale: 0.5}, {model: a, layer: 1, scale: 8}]\n";
    // By block 2, 0.5, 0.5, 8, and what leaves the last block is not scaled.
    let of_outputs = [(0.5, 0.25), (0.5, 0.25), (0.5, 4.0), (0.5, 0.5)];
    assert_eq!(gains(path), of_outputs, "the default");
    assert_eq!(gains(&format!("{path}path_scale: mlp_output")), of_outputs);
    // The products are 2, 1, 0.5, 4.
    let of_stream = [0.5, 1.0, 2.0, 0.25].map(|gain| (gain, gain));
    assert_eq!(gains(&format!("{path}path_scale: residual")), of_stream);
    let signs = "path: [{model: a, layer: 0}, {model: a, layer: 1, scale: -3}, {model: b, layer: 0, scale: 0}]";
    assert_eq!(gains(signs), [(1.0, -3.0), (1.0, 0.0), (1.0, 1.0)], "only the first hop's scale divides");
}

#[test]
fn what_is_written_back_is_the_same_path() {
    let hops = "path: [{model: b, layers: [0, 2], scale: 0.30000000000000004}, {model: a, layer: 7, scale: 1e22}, {model: b}, \
                {model: a, layers: [3, 4], scale: 0.6666666666666666}";
    let texts = [
        format!("{hops}, {{model: b, scale: -0.0}}, {{model: a, scale: -2.2250738585072014e-308}}]"),
        format!("base_model: c\n{hops}]\npath_scale: residual\nout_type: f16\ntokenizer_source: b"),
        format!("merge_method: passthrough\n{hops}]"),
        format!("{MERGE}{hops}, {{}}, {{layer: 1}}, {{layers: [0, 3], scale: 1.0000000000000002}}]"),
        format!(
            "merge_method: passthrough\nslices: [{{sources: [{{model: a}}]}}, {{sources: [{{model: b}}]}}]\n{hops}]"
        ),
    ];
    for text in texts {
        let recipe = parse(&text);
        let yaml = recipe.to_yaml(written).unwrap();
        let again = parse(&yaml);
        let path = |recipe: &Recipe| -> Vec<_> {
            recipe.path.iter().map(|hop| (hop.model, hop.layers, hop.scale.to_bits())).collect()
        };
        assert_eq!(path(&again), path(&recipe), "{yaml}");
        let rest = |r: &Recipe| (r.models.clone(), r.base_model, r.path_scale, r.out_type, r.tokenizer.clone());
        assert_eq!(rest(&again), rest(&recipe), "{yaml}");
        assert_eq!((again.method.name, again.slices.len()), (recipe.method.name, recipe.slices.len()), "{yaml}");
        assert_eq!(resolved_merge(&again), resolved_merge(&recipe), "{yaml}");
    }
}

fn resolved_merge(recipe: &Recipe) -> Vec<Resolved> {
    if recipe.slices.is_empty() { Vec::new() } else { resolved(recipe, 8) }
}

#[test]
fn every_wrong_path_is_told_where_and_why() {
    let hop = |rest: &str| format!("path:\n  - {{model: a, layer: 0}}\n  - {{model: a, {rest}}}\n");
    let residual = |scale: &str| format!("path_scale: residual\n{}", hop(&format!("scale: {scale}")));
    let first = |scale: &str| format!("path:\n  - {{model: a, scale: {scale}}}\n");
    let positive = "the scale of the first hop, which the embedding is multiplied by, must be above 0";
    #[rustfmt::skip]
    let cases = [
        ("path: []\n".to_owned(), "1:7: `path` is empty".to_owned()),
        ("path: 3\n".to_owned(), "1:7: `path`: a list belongs here".to_owned()),
        ("path:\n  - {layer: 0}\n".to_owned(), "2:5: this hop has no `model`".to_owned()),
        ("merge_method: passthrough\npath:\n  - {model: a}\n  - {}\n".to_owned(), "4:5: this hop has no `model`".to_owned()),
        (hop("layer: 1, layers: [0, 1]"), "3:34: `layers` is given too: `layer` says it already".to_owned()),
        (hop("layer: 4294967295"), "3:23: `layer` is 4294967295: no model has so many".to_owned()),
        (hop("layer: -1"), "3:23: `layer`: a whole number from 0 up belongs here".to_owned()),
        (hop("layers: [2, 2]"), "3:5: `layers` is [2, 2]: its first layer must come before its end".to_owned()),
        (hop("layers: [2, 1]"), "3:5: `layers` is [2, 1]: its first layer must come before its end".to_owned()),
        (hop("lyers: [0, 1]"), "3:16: unknown key `lyers`: did you mean `layers`?".to_owned()),
        (hop("scale: .nan"), "3:5: `scale` is NaN: it must be a finite number".to_owned()),
        (hop("scale: 1e999"), "3:23: `scale`: a finite number belongs here".to_owned()),
        (hop("scale: [1, 0.5]"), "3:23: `scale`: a single value belongs here, not a list".to_owned()),
        (hop("layers: [1]"), "3:16: `layers`: a list of 2 belongs here, not of 1".to_owned()),
        (first("0"), format!("2:5: `scale` is 0: {positive}")),
        (first("-2"), format!("2:5: `scale` is -2: {positive}")),
        (residual("0"), "4:5: `scale` is 0: with `path_scale: residual` it must be above 0".to_owned()),
        (residual("-0.5"), "4:5: `scale` is -0.5: with `path_scale: residual` it must be above 0".to_owned()),
        (format!("{}path_scale: stream\n", first("1")), "3:13: `path_scale` is `stream`: it must be `mlp_output` or `residual`".to_owned()),
        (format!("merge_method: linear\n{}", first("1")), "1:15: a recipe has either `models` or `slices`; this one has neither".to_owned()),
        (format!("models: [{{model: a}}]\n{}", first("1")), "1:1: the key `merge_method` is missing".to_owned()),
        (format!("path:\n{}", "  - {model: a, layer: 0}\n".repeat(MAX_BLOCKS + 1)), "513 hops; the limit is 512".to_owned()),
    ];
    for (text, expected) in cases {
        let message = refusal(&text);
        assert!(message.starts_with("dir/r.yaml:") && message.contains(&expected), "{text}\n  {message}");
    }
    let unknown = |path: Vec<Hop>| {
        let model = ModelRef::plain("a", "a");
        let method = MethodSpec::find("passthrough").unwrap();
        Recipe { path, ..Recipe::new(method, vec![model], vec![]) }.checked().unwrap_err().to_string()
    };
    let hop = Hop { model: Some(0), layers: None, scale: f64::INFINITY, place: Place::default() };
    assert_eq!(unknown(vec![hop.clone()]), "`scale` is inf: it must be a finite number");
    assert_eq!(unknown(vec![Hop { model: Some(1), ..hop }]), "there is no model 1; there are 1");
    assert_eq!(unknown(vec![]), "`slices` is empty; it needs at least one entry");
}

#[test]
fn blocks_beyond_a_model_or_too_many_are_refused_with_their_place() {
    let refused = |text: &str, counts: &[u32], merged| parse(text).path_blocks(counts, merged).unwrap_err().to_string();
    let text = "path:\n  - {model: a}\n  - {model: b, layers: [3, 5]}\n";
    assert_eq!(refused(text, &[4, 4], 0), "dir/r.yaml:3:5: `layers` [3, 5) of `b` ends beyond its 4 layers");
    assert_eq!(refused(text, &[4], 0), "there is no model 1; there are 1");
    let text = format!("{MERGE}path:\n  - {{layer: 0}}\n  - {{layer: 2}}\n");
    assert_eq!(
        refused(&text, &[4, 4], 2),
        "dir/r.yaml:6:5: `layer` 2 of `the merge` is beyond its 2 layers, which are counted from 0"
    );
    let text = "path:\n  - {model: a}\n  - {model: a}\n  - {model: a, layer: 0}\n";
    assert_eq!(parse(text).path_blocks(&[255], 0).unwrap().len(), 511);
    assert_eq!(refused(text, &[256], 0), "dir/r.yaml:4:5: 513 blocks on the path; the limit is 512");
    assert!(refused(text, &[u32::MAX], 0).contains("the limit is 512"));
}

#[test]
fn products_of_scales_that_no_single_precision_number_inverts_are_refused() {
    for (form, [first, second], block) in [
        ("residual", ["1e-3", "1e-3"], 1),
        ("residual", ["1e3", "1e3"], 1),
        ("residual", ["1e308", "1e308"], 0),
        ("mlp_output", ["1e39", "1"], 0),
        ("mlp_output", ["1e-39", "1"], 0),
        ("mlp_output", ["1e-30", "1e30"], 0),
        ("mlp_output", ["1", "1e39"], 0),
    ] {
        let text = format!(
            "path_scale: {form}\npath: [{{model: a, layer: 0, scale: {first}}}, {{model: a, layer: 1, scale: {second}}}]"
        );
        let message = parse(&text).path_blocks(&[2], 0).unwrap_err().to_string();
        let expected = format!("at block {block} of the path: the gain that all scales come to there");
        assert!(message.starts_with("dir/r.yaml:2:") && message.contains(&expected), "{text}\n  {message}");
    }
}

#[test]
fn only_different_ends_split_the_token_tables() {
    let slices = "merge_method: passthrough\nslices: [{sources: [{model: a}]}, {sources: [{model: b}]}]\n";
    for (text, splits) in [
        ("path: [{model: a}, {model: b}]".to_owned(), true),
        ("path: [{model: a}, {model: b}, {model: a}]".to_owned(), false),
        ("path: [{model: a}]".to_owned(), false),
        ("base_model: a\npath: [{model: a}, {model: b}]".to_owned(), false),
        (format!("{MERGE}path: [{{model: a}}, {{model: b}}]"), false),
        (slices.to_owned(), true),
        (format!("{slices}path: [{{model: a}}, {{model: a}}]"), true),
    ] {
        assert_eq!(parse(&text).splits_token_tables(), splits, "{text}");
    }
}
