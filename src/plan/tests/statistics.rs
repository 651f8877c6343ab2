//! What is learnt of the parents once is enough for every later recipe, and for the next run.

use std::path::Path;

use ggraft_kernels::{GgmlType, Program};

use super::{Family, draw, example, recipe};
use crate::gguf::tests::Tiny;
use crate::plan::{Cache, Plan, Siblings};
use crate::recipe::methods::ParameterSpec;
use crate::recipe::{METHODS, ModelRef, Recipe};

const MATRIX: &str = "blk.0.m.weight";
const COUNT: usize = 300 * 256;
const ALL: [&str; 3] = ["a.gguf", "b.gguf", "c.gguf"];

fn family() -> Family {
    let mut tiny = Tiny::llama();
    tiny.add(MATRIX, &[256, 300], GgmlType::Q8_0);
    let family = |parent: usize, name: &str, n: usize| -> Vec<f32> {
        let (shared, own) = (draw(name, n), draw(&format!("{parent} {name}"), n));
        shared.iter().zip(own).map(|(s, o)| s + 0.1 * o).collect()
    };
    Family::with(&tiny, 3, family)
}

/// These parents opened anew, with a cache.
fn opened(family: &Family, names: &[&str], cache: &Path) -> Siblings {
    let model = |name: &&str| ModelRef::plain(*name, family.folder.path().join(name));
    let models: Vec<ModelRef> = names.iter().map(model).collect();
    Siblings::open(&models).unwrap().cached(Cache::open(cache).unwrap())
}

fn plan(siblings: &Siblings, text: &str) -> Plan {
    siblings.plan(&Recipe::parse(text, Path::new("r.yaml")).unwrap()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn programs(plan: &Plan) -> Vec<Program> {
    plan.tensors.iter().map(|tensor| tensor.program.clone()).collect()
}

/// Every number that a search would turn, turned; what statistics depend on stays.
fn turned(spec: &ParameterSpec, by: f64) -> Option<String> {
    let value = match spec.name {
        "weight" => 0.2 + by,
        "density" => 0.3 + by / 2.0,
        "gamma" => by / 10.0,
        "select_topk" | "t" => by,
        "lambda" | "r" | "alpha" => 1.0 - by,
        "rescale" => return Some("true".to_owned()),
        _ => return None,
    };
    Some(value.to_string())
}

#[test]
fn later_candidates_learn_nothing_new_and_neither_does_the_next_run() {
    let family = family();
    for method in METHODS {
        let cache = family.folder.path().join(format!("{}.cache", method.name));
        let text = |by: f64| example(method, |spec| turned(spec, by), "");
        let first = opened(&family, &ALL, &cache);
        let plans = [0.1, 0.35, 0.8].map(|by| {
            let plan = plan(&first, &text(by));
            first.save_cache().unwrap();
            // What is learnt later would bring the file back.
            let learnt = std::fs::read(&cache).ok();
            if learnt.is_some() {
                std::fs::remove_file(&cache).unwrap();
            }
            (plan, learnt)
        });
        let [(_, learnt), later @ ..] = &plans;
        assert!(later.iter().all(|(_, learnt)| learnt.is_none()), "{} looks at the parents again", method.name);
        let plain = matches!(method.name, "linear" | "task_arithmetic" | "passthrough" | "nearswap" | "ram");
        assert_eq!(learnt.is_none(), plain, "{}", method.name);
        let Some(learnt) = learnt else { continue };
        std::fs::write(&cache, learnt).unwrap();
        let second = opened(&family, &ALL, &cache);
        std::fs::remove_file(&cache).unwrap();
        for (by, (plan_of_first, _)) in [0.1, 0.35, 0.8].into_iter().zip(&plans) {
            let again = plan(&second, &text(by));
            assert_eq!(programs(&again), programs(plan_of_first), "{}", method.name);
        }
        second.save_cache().unwrap();
        assert!(!cache.exists(), "{} does not believe the cache", method.name);
    }
}

#[test]
fn the_cache_goes_by_content_and_not_by_name() {
    let (family, folder) = (family(), tempfile::tempdir().unwrap());
    let cache = folder.path().join("cache");
    let text = recipe("ties", &[("a.gguf", ""), ("b.gguf", "weight: 1, density: 0.3")], "base_model: a.gguf");
    let first = opened(&family, &["a.gguf", "b.gguf"], &cache);
    let wanted = programs(&plan(&first, &text));
    first.save_cache().unwrap();
    let file = |name: &str| family.folder.path().join(name);
    std::fs::copy(file("b.gguf"), file("copy.gguf")).unwrap();
    let known = opened(&family, &["a.gguf", "copy.gguf"], &cache);
    let unknown = opened(&family, &["a.gguf", "c.gguf"], &cache);
    std::fs::remove_file(&cache).unwrap();
    assert_eq!(programs(&plan(&known, &text)), wanted);
    known.save_cache().unwrap();
    assert!(!cache.exists(), "a copy is known by its content");
    assert_ne!(programs(&plan(&unknown, &text)), wanted);
    unknown.save_cache().unwrap();
    assert!(cache.exists(), "another model is not");
}

#[test]
fn densities_are_met_within_a_thousandth_and_exactly_if_asked() {
    for (method, exact) in [("ties", false), ("ties", true), ("breadcrumbs", false), ("breadcrumbs", true)] {
        let family = if exact { family().exact() } else { family() };
        let changed = |merged: &[f32]| {
            let base = family.values(0, MATRIX);
            merged.iter().zip(base).filter(|(m, b)| *m != b).count()
        };
        for density in [0.0003, 0.01, 0.2, 0.5, 0.9] {
            let models = [("a.gguf", ""), ("b.gguf", &*format!("weight: 1, density: {density}"))];
            let plan = family.plan(&recipe(
                method,
                &models,
                "base_model: a.gguf\nparameters: {normalize: false}\nout_type: f32",
            ));
            // Differences of zero are kept without showing.
            let shown = changed(&family.values(1, MATRIX)) as f64 / COUNT as f64;
            let (kept, wanted) = (changed(&family.merged(&plan, MATRIX)), (density * COUNT as f64) as usize);
            let off = kept.abs_diff(wanted) as f64 / COUNT as f64;
            assert!(
                off <= if exact { 1.0 - shown } else { 1e-3 + 1.0 - shown },
                "{method} at {density}: {kept}, not {wanted}"
            );
        }
    }
}
