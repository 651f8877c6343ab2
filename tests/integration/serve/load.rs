//! Many clients at once: whose weights an answer is of, who takes turns, who hangs up, who is turned away.

use std::time::Instant;

use super::*;

#[test]
fn running_answers_end_on_the_weights_they_began_on() {
    let server = Server::quickstart(&["-np", "2", "--max-live", "1"]);
    let prompt = "問: ";
    let long =
        json!({ "model": "recipe", "prompt": prompt, "max_tokens": 150, "temperature": 0, "logit_bias": [[0, false]] });
    let want = server.post("/v1/completions", &long).ok();
    let mut streamed = long.clone();
    streamed["stream"] = true.into();
    let mut first =
        server.open("POST", "/v1/completions", &[("content-type", "application/json")], &streamed.to_string());
    // It runs as soon as something of it has come.
    let mut byte = [0; 1];
    first.read_exact(&mut byte).unwrap();
    let put = server.put("recipe", &recipe(1.0, 0.0)).ok();
    let after = server.answer("recipe", 8);
    assert_eq!(after["system_fingerprint"], put["fingerprint"]);
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).unwrap();
    let reply = String::from_utf8([&byte[..], &rest].concat()).unwrap();
    let events: Vec<Value> = reply
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|line| *line != "[DONE]")
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let said: String = events.iter().map(|e| e["choices"][0]["text"].as_str().unwrap_or_default()).collect();
    assert_eq!(said, text(&want));
    assert!(events.iter().all(|e| e["system_fingerprint"] == want["system_fingerprint"]));
    assert_ne!(put["fingerprint"], want["system_fingerprint"]);
}

#[test]
fn clients_of_two_recipes_share_one_place_and_get_their_own_answers() {
    let folder = Folder::new();
    let server = Server::quickstart(&["--max-live", "1", "-np", "2"]);
    let texts = [recipe(0.0, 1.0), recipe(1.0, 0.0)];
    for (id, text) in ["one", "two"].into_iter().zip(&texts) {
        assert_eq!(server.put(id, text).status, 201);
    }
    let want: Vec<String> = texts.iter().map(|text| alone(&folder, text, 24)).collect();
    assert_ne!(want[0], want[1]);
    let before = server.metric("ggraft_swap_seconds_count");
    thread::scope(|scope| {
        for client in 0..4 {
            let (server, want) = (&server, &want);
            scope.spawn(move || {
                for _ in 0..8 {
                    let which = client % 2;
                    let object = server.answer(["one", "two"][which], 24);
                    assert_eq!(text(&object), want[which]);
                }
            });
        }
    });
    let swaps = server.metric("ggraft_swap_seconds_count") - before;
    assert!(swaps < 24.0, "{swaps} swaps for 32 requests");
    assert_eq!(server.metric("ggraft_live_models"), 1.0);
}

#[test]
fn who_hangs_up_frees_the_slot() {
    let server = Server::quickstart(&["-np", "1"]);
    for stream in [true, false] {
        let body = json!({ "prompt": "問: ", "max_tokens": 250, "temperature": 0, "stream": stream, "logit_bias": [[0, false]] });
        let mut gone =
            server.open("POST", "/v1/completions", &[("content-type", "application/json")], &body.to_string());
        if stream {
            gone.read_exact(&mut [0; 1]).unwrap();
        } else {
            wait_until(|| server.metric("ggraft_running") > 0.0);
        }
        drop(gone);
        wait_until(|| server.metric("ggraft_running") == 0.0);
    }
    let generated = server.metric("ggraft_generated_tokens_total");
    assert!(generated < 500.0, "{generated} tokens were generated for nobody");
    server.answer("recipe", 2);
}

fn wait_until(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "it never happened");
        thread::yield_now();
    }
}

#[test]
fn too_many_are_turned_away_with_a_time_to_come_back() {
    let server = Server::quickstart(&["-np", "1", "--max-waiting", "100"]);
    let long =
        json!({ "prompt": "問: ", "max_tokens": 250, "temperature": 0, "stream": true, "logit_bias": [[0, false]] });
    let open = |n: usize| {
        let mut body = long.clone();
        body["n"] = n.into();
        server.open("POST", "/v1/completions", &[("content-type", "application/json")], &body.to_string())
    };
    let _running = open(100);
    wait_until(|| server.metric("ggraft_waiting") > 50.0);
    let mut more = long.clone();
    more["n"] = 100.into();
    let reply = server.post("/v1/completions", &more);
    assert!(reply.error(429).contains("limit of 100"), "{reply:?}");
    assert!(reply.head.contains("retry-after:"), "{}", reply.head);
    more["n"] = 101.into();
    assert!(server.post("/v1/completions", &more).error(400).contains("the limit is 100"));
}
