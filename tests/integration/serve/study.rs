//! Studies beside a server: shown, their candidates talked to, their models named as the server does.

use super::*;
use crate::lora;

#[test]
fn a_study_is_shown_and_its_candidates_can_be_talked_to() {
    let folder = Folder::new();
    let task = crate::support::target_task(&folder, "target_search.jsonl", 8);
    let models = ["math", "ja", "base"].map(|n| quickstart(&format!("{n}-Q8_0.gguf")));
    let evolve = folder.write(
        "evolve.yaml",
        format!(
            "genome: {{models: [{:?}, {:?}], base_model: {:?}, merge_method: task_arithmetic}}\n\
             tasks: [{{task: {task:?}, search: target_search.jsonl, test: target_search.jsonl}}]\n\
             search: {{budget: 6, seed: 1}}\n",
            models[0], models[1], models[2]
        ),
    );
    let out = folder.path("study");
    let (out, evolve) = (out.to_str().unwrap(), evolve.to_str().unwrap());
    let searched = ggraft(["evolve", evolve, "--out", out, "--json"]).json();
    let best = format!("{out}/best.yaml");
    let server = Server::start(&[&best, "--study", out]);
    let study = server.get("/v1/study").ok();
    assert_eq!((study["name"].as_str(), study["report"].as_bool()), (Some("study"), Some(true)));
    let candidates = study["candidates"].as_array().unwrap();
    assert_eq!(candidates.len() as u64, searched["evaluations"].as_u64().unwrap());
    assert_eq!(study["tested"].as_array().unwrap().last().unwrap()["score"], searched["best"]["test_score"]);
    let shown = server.get("/v1/study/best").ok();
    assert_eq!(shown["score"], searched["best"]["search_score"]);
    // The best of the study is the recipe that is served.
    let put = server.put("again", shown["yaml"].as_str().unwrap()).ok();
    assert_eq!(put["fingerprint"], server.get("/v1/recipes/best").ok()["fingerprint"]);
    let third = server.get(&format!("/v1/study/{}", candidates[2]["id"].as_str().unwrap())).ok();
    assert_eq!(third["score"], candidates[2]["score"]);
    server.put("third", third["yaml"].as_str().unwrap()).ok();
    server.answer("third", 4);
    for id in ["nobody", "0-99", "9-0", "0--1", "..%2fx"] {
        server.get(&format!("/v1/study/{id}")).error(404);
    }
    let report = server.get("/study/report");
    assert!(report.status == 200 && report.body.contains("Search of"), "{report:?}");
}

#[test]
fn a_study_of_adapters_names_them_as_the_server_does() {
    let folder = lora::folder();
    crate::support::perplexity_task(&folder, 2);
    let text = "genome: {models: [base.gguf+x.gguf, other.gguf+y.gguf], merge_method: linear}\n\
                tasks: [{task: perplexity.yaml, test: perplexity.jsonl}]\nsearch: {budget: 4, population: 4, seed: 3}\n";
    let (evolve, out) = (folder.write("evolve.yaml", text), folder.path("out"));
    let (evolve, out) = (evolve.to_str().unwrap(), out.to_str().unwrap());
    ggraft(["evolve", evolve, "--out", out, "--json"]).json();
    let server = Server::start(&[&format!("{out}/best.yaml"), "--study", out]);
    let study = server.get("/v1/study").ok();
    assert_eq!((study["measure"].as_str(), study["lower_is_better"].as_bool()), (Some("perplexity"), Some(true)));
    let (score, value) = (&study["candidates"][0]["score"], &study["candidates"][0]["value"]);
    assert!((value.as_f64().unwrap() - (-score.as_f64().unwrap()).exp()).abs() < 1e-6, "{score} {value}");
    let shown = server.get("/v1/study/best").ok();
    let yaml = shown["yaml"].as_str().unwrap();
    assert!(yaml.contains("base.gguf+x.gguf") && yaml.contains("other.gguf+y.gguf") && !yaml.contains('/'), "{yaml}");
    let put = server.put("again", yaml).ok();
    assert_eq!(put["fingerprint"], server.get("/v1/recipes/best").ok()["fingerprint"]);
    let plain = folder.write(
        "plain.yaml",
        "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: base.gguf}, {model: other.gguf}]\n",
    );
    let done = ggraft(["serve", "--port", "0", plain.to_str().unwrap(), "--study", out]);
    assert!(done.error(2).contains("`base.gguf+x.gguf` of the study is not among"), "{done:?}");
}
