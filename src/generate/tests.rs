//! Generating with a real model, the quickstart's base: samplers, likelihoods, stops, prefixes, and who comes and goes meanwhile.
//! That answers do not depend on batching is tested where questions are scored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::model::{ContextSize, Grammar, Live, ParentsOn, Settings, Vocabulary, log_to_stderr};

const SETTINGS: Settings =
    Settings { threads: 1, batch: 512, ubatch: 512, gpu_layers: 0, gpu_parents: ParentsOn::Auto };
const PROMPT: &str = "Question: Tom has 5 apples. He buys 7 more. How many apples does Tom have?\nAnswer:";

fn quickstart(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart").join(file)
}

fn live(sequences: u32) -> Live {
    log_to_stderr(false);
    let path = quickstart("base-Q8_0.gguf");
    let vocabulary = Arc::new(Vocabulary::load(&path, None).unwrap());
    Live::of_file(&path, vocabulary, SETTINGS, ContextSize { sequences, tokens: 256 }).unwrap()
}

/// What came of one request.
#[derive(Debug, Default)]
struct Answer {
    prompt: Vec<Likelihood>,
    tokens: Vec<Token>,
    end: Option<End>,
}

impl Answer {
    fn text(&self) -> String {
        self.tokens.iter().map(|t| t.text.as_str()).collect()
    }

    fn ids(&self) -> Vec<i32> {
        self.tokens.iter().map(|t| t.id.0).collect()
    }
}

/// Starts `requests` as slots become free and runs them all; known by their index.
fn run(live: &mut Live, generator: &mut Generator<usize>, requests: Vec<Request>) -> Vec<Answer> {
    let mut answers: BTreeMap<usize, Answer> = BTreeMap::new();
    let mut queue = requests.into_iter().enumerate();
    loop {
        for (index, request) in queue.by_ref().take(generator.free()) {
            generator.start(live, index, request).map_err(|(_, e)| e).unwrap();
        }
        if generator.running() == 0 {
            return answers.into_values().collect();
        }
        let mut on = |index: &mut usize, output| {
            let answer = answers.entry(*index).or_default();
            assert!(answer.end.is_none(), "nothing comes after the end");
            match output {
                Output::Prompt(likelihoods) => {
                    assert!(answer.tokens.is_empty(), "the prompt comes first");
                    answer.prompt = likelihoods;
                }
                Output::Token(token) => answer.tokens.push(token),
                Output::End(end) => answer.end = Some(end),
            }
            true
        };
        generator.step(live, &mut on).unwrap();
    }
}

fn alone(live: &mut Live, request: Request) -> Answer {
    let mut generator = Generator::new(live);
    live.forget_all();
    run(live, &mut generator, vec![request]).remove(0)
}

fn greedy(live: &Live, text: &str, max_tokens: usize) -> Request {
    Request::greedy(live.vocabulary().tokenize(text), max_tokens)
}

#[test]
fn prompt_likelihoods_are_those_that_scoring_computes() {
    let mut live = live(2);
    let prompts = [PROMPT, "Question: Two and two?\nAnswer: 4. It is 4 since 2+2=4."];
    let requests =
        prompts.map(|p| Request { prompt_likelihoods: Some(PromptLikelihoods::all(3)), ..greedy(&live, p, 1) });
    let mut generator = Generator::new(&live);
    let answers = run(&mut live, &mut generator, requests.to_vec());
    let prompts: Vec<_> = requests.iter().map(|r| r.prompt.clone()).collect();
    for (answer, prompt) in answers.iter().zip(&prompts) {
        assert_eq!(
            answer.prompt.iter().map(|l| l.token).collect::<Vec<_>>(),
            prompt[1..],
            "one for each after the first"
        );
        assert_eq!(answer.tokens.len(), 1);
        live.forget_all();
        let mut batch = crate::model::LlamaBatch::new(prompt.len(), 1);
        for (at, token) in prompt.iter().enumerate() {
            batch.add(*token, at as i32, &[0], true).unwrap();
        }
        live.decode(&mut batch).unwrap();
        for (row, likelihood) in answer.prompt.iter().enumerate() {
            let want = -negative_log_likelihood(live.logits(row as i32), likelihood.token);
            // Batches of another shape round differently.
            assert!((f64::from(likelihood.log) - want).abs() < 1e-3, "{likelihood:?}, {want}");
            assert_eq!(likelihood.top.len(), 3);
            assert!(likelihood.top.is_sorted_by(|a, b| a.1 >= b.1) && likelihood.top[0].1 >= likelihood.log);
        }
    }
}

#[test]
fn reading_without_generating_tells_the_prompt_alone() {
    let mut live = live(1);
    let request = Request { prompt_likelihoods: Some(PromptLikelihoods::all(0)), ..greedy(&live, PROMPT, 0) };
    let count = request.prompt.len();
    let answer = alone(&mut live, request);
    assert_eq!((answer.prompt.len(), answer.tokens.len()), (count - 1, 0));
    assert!(matches!(answer.end.unwrap().reason, Reason::Length));
    let one =
        Request { prompt_likelihoods: Some(PromptLikelihoods::all(1)), ..Request::greedy(vec![LlamaToken(5)], 0) };
    assert!(alone(&mut live, one).prompt.is_empty());
}

#[test]
fn likelihoods_from_a_position_on_leave_what_stands_before_it_to_earlier_requests() {
    let mut live = live(1);
    let prompt = live.vocabulary().tokenize(PROMPT);
    let asked = |from, prompt: &[LlamaToken]| Request {
        prompt_likelihoods: Some(PromptLikelihoods { from, top: 1 }),
        ..Request::greedy(prompt.to_vec(), 0)
    };
    let whole = alone(&mut live, asked(0, &prompt)).prompt;
    let from = prompt.len() - 4;
    let mut other = prompt.clone();
    other.swap(from, from + 1);
    assert_ne!(other, prompt);
    let requests = vec![asked(from, &prompt), asked(from, &other), asked(from, &prompt), asked(prompt.len(), &prompt)];
    let mut generator = Generator::new(&live);
    live.forget_all();
    let answers = run(&mut live, &mut generator, requests);
    let reused: Vec<usize> = answers.iter().map(|a| a.end.as_ref().unwrap().reused_tokens).collect();
    assert_eq!(reused, [0, from - 1, from - 1, prompt.len() - 2], "and the last token is not computed");
    for answer in [&answers[0], &answers[2]] {
        assert_eq!(answer.prompt.len(), 4);
        for (found, want) in answer.prompt.iter().zip(&whole[from - 1..]) {
            assert_eq!(found.token, want.token);
            assert!((found.log - want.log).abs() < 1e-3, "{found:?}, {want:?}");
        }
    }
    assert_eq!(answers[1].prompt.iter().map(|l| l.token).collect::<Vec<_>>(), other[from..]);
    assert!(answers[3].prompt.is_empty());
}

#[test]
fn generated_tokens_carry_their_likelihood_and_greedy_is_the_top_one() {
    let mut live = live(1);
    let request = Request { likelihoods: Some(2), ..greedy(&live, PROMPT, 24) };
    let answer = alone(&mut live, request);
    for token in &answer.tokens {
        let likelihood = token.likelihood.as_ref().unwrap();
        assert_eq!((likelihood.token, likelihood.top[0]), (token.id, (token.id, likelihood.log)));
    }
}

#[test]
fn a_prompt_that_begins_alike_is_computed_from_where_it_differs() {
    let mut live = live(1);
    let first = greedy(&live, PROMPT, 16);
    let second = greedy(&live, &PROMPT.replace("does Tom", "do they"), 16);
    let (want_first, want_second) = (alone(&mut live, first.clone()), alone(&mut live, second.clone()));
    let common = first.prompt.iter().zip(&second.prompt).take_while(|(a, b)| a == b).count();
    assert!(common > 5 && common < first.prompt.len() - 1);
    let mut generator = Generator::new(&live);
    live.forget_all();
    let answers = run(&mut live, &mut generator, vec![first.clone(), second, first.clone(), first.clone()]);
    let reused: Vec<usize> = answers.iter().map(|a| a.end.as_ref().unwrap().reused_tokens).collect();
    assert_eq!(reused, [0, common, common, first.prompt.len() - 1]);
    let texts: Vec<String> = answers.iter().map(Answer::text).collect();
    assert_eq!(texts, [want_first.text(), want_second.text(), want_first.text(), want_first.text()]);
    // Likelihoods of a whole prompt need all of it.
    let asked = Request { prompt_likelihoods: Some(PromptLikelihoods::all(1)), ..first };
    let answer = run(&mut live, &mut generator, vec![asked]).remove(0);
    assert_eq!(answer.end.unwrap().reused_tokens, 0);
    generator.forget(&mut live);
}

#[test]
fn seeds_decide_what_is_drawn() {
    let mut live = live(4);
    let drawn = |seed| {
        let sampling = Sampling { temperature: 1.5, seed, ..Sampling::plain() };
        Request { sampling, ..greedy(&live, PROMPT, 12) }
    };
    let requests = vec![drawn(1), drawn(2), drawn(1), drawn(3)];
    let mut generator = Generator::new(&live);
    let answers = run(&mut live, &mut generator, requests);
    assert_eq!(answers[0].ids(), answers[2].ids());
    assert!(answers[0].ids() != answers[1].ids() || answers[0].ids() != answers[3].ids());
}

#[test]
fn samplers_leave_only_what_they_should() {
    let mut live = live(1);
    let request = greedy(&live, PROMPT, 12);
    let top = alone(&mut live, request.clone());
    let with = |live: &mut Live, sampling| alone(live, Request { sampling, ..request.clone() });
    // Each of these leaves one token, whatever the temperature.
    let hot = Sampling { temperature: 5.0, seed: 7, ..Sampling::plain() };
    for sampling in [
        Sampling { top_k: 1, ..hot.clone() },
        Sampling { top_p: 1e-6, ..hot.clone() },
        Sampling { min_p: 1.0, ..hot.clone() },
    ] {
        assert_eq!(with(&mut live, sampling.clone()).ids(), top.ids(), "{sampling:?}");
    }
    assert_ne!(with(&mut live, hot).ids(), top.ids());
    // A banned token does not come; a favoured one comes always.
    let first = top.tokens[0].id;
    let banned = Sampling { logit_bias: vec![(first, f32::NEG_INFINITY)], ..Sampling::greedy() };
    assert_ne!(with(&mut live, banned).tokens[0].id, first);
    let favoured = Sampling { logit_bias: vec![(LlamaToken(40), 100.0)], ..Sampling::greedy() };
    assert!(with(&mut live, favoured).ids().iter().all(|id| *id == 40));
    // A penalty that no logit can make up for: no token comes twice, and none of the prompt's.
    let fresh = Sampling { presence_penalty: 1000.0, repeat_last_n: 256, ..Sampling::greedy() };
    let ids = with(&mut live, fresh).ids();
    let mut seen: Vec<i32> = request.prompt.iter().map(|t| t.0).collect();
    for id in ids {
        assert!(!seen.contains(&id), "{id} again");
        seen.push(id);
    }
}

#[test]
fn grammars_are_followed_to_their_end() {
    let mut live = live(1);
    let with = |live: &mut Live, grammar: Grammar| {
        let sampling = Sampling { grammar: Some(grammar), ..Sampling::greedy() };
        alone(live, Request { sampling, ..greedy(live, PROMPT, 40) })
    };
    let vocabulary = Arc::clone(live.vocabulary());
    let gbnf = |text| Grammar::gbnf(text, &vocabulary).unwrap();
    let answer = with(&mut live, gbnf(r#"root ::= "yes " [0-9] [0-9] "!""#));
    let text = answer.text();
    assert!(text.starts_with("yes ") && text.ends_with('!') && text.len() == 7, "{text:?}");
    assert!(matches!(answer.end.unwrap().reason, Reason::Stop), "nothing can follow but the end");
    let schema = json!({ "properties": { "n": { "type": "integer" } }, "required": ["n"], "additionalProperties": false, "type": "object" });
    let text = with(&mut live, Grammar::json_schema(&schema, &vocabulary).unwrap()).text();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert!(json["n"].is_i64(), "{json}");
}

#[test]
fn bad_requests_are_refused_and_leave_the_slot_free() {
    let mut live = live(1);
    let mut generator = Generator::new(&live);
    let mut refused = |request| generator.start(&mut live, 7, request).unwrap_err();
    assert!(matches!(refused(Request::greedy(vec![], 3)), (7, ModelError::EmptyPrompt)));
    let long = refused(Request::greedy(vec![LlamaToken(5); 250], 7)).1;
    assert!(matches!(long, ModelError::TooLong { prompt: 250, wanted: 7, limit: 256 }));
    assert_eq!((generator.free(), generator.running()), (1, 0));
}

#[test]
fn who_leaves_frees_the_slot_and_disturbs_nobody() {
    let mut live = live(2);
    let stays = greedy(&live, PROMPT, 24);
    let want = alone(&mut live, stays.clone()).text();
    let mut generator = Generator::new(&live);
    generator.start(&mut live, "stays", stays).map_err(|(_, e)| e).unwrap();
    let leaves = greedy(&live, "Question: Ann has 3 cats.", 200);
    generator.start(&mut live, "leaves", leaves.clone()).map_err(|(_, e)| e).unwrap();
    let (mut text, mut seen, mut ended) = (String::new(), 0, Vec::new());
    while generator.running() > 0 {
        let mut on = |tag: &mut &'static str, output| match output {
            Output::Token(token) if *tag == "stays" => {
                text += &token.text;
                true
            }
            Output::Token(_) => {
                seen += 1;
                seen < 5
            }
            Output::End(end) => {
                ended.push((*tag, matches!(end.reason, Reason::Cancelled), end.generated_tokens));
                true
            }
            Output::Prompt(_) => unreachable!("nobody asked"),
        };
        generator.step(&mut live, &mut on).unwrap();
    }
    assert_eq!(ended[0], ("leaves", true, 5));
    assert_eq!(text, want);
    // The same from outside, between two steps.
    generator.start(&mut live, "leaves", leaves).map_err(|(_, e)| e).unwrap();
    let mut ends = 0;
    generator.cancel(|tag| *tag == "leaves", &mut |_, output| ends += usize::from(matches!(output, Output::End(_))));
    assert_eq!((ends, generator.running()), (1, 0));
}

#[test]
fn stop_strings_are_no_part_of_tokens_or_text() {
    let mut live = live(1);
    let request = greedy(&live, PROMPT, 24);
    let whole = alone(&mut live, request.clone());
    let text = whole.text();
    let stop = text.chars().skip(6).take(3).collect::<String>();
    let cut = alone(&mut live, Request { stop: vec![stop.clone()], ..request });
    assert_eq!(cut.text(), text[..text.find(&stop).unwrap()]);
    assert!(cut.tokens.len() < whole.tokens.len());
    assert!(whole.ids().starts_with(&cut.ids()));
}

#[test]
fn work_counts_each_computed_token_once() {
    let mut live = live(2);
    let requests = [greedy(&live, PROMPT, 12), greedy(&live, PROMPT, 5), greedy(&live, "Question: Two and two?", 0)];
    let mut generator = Generator::new(&live);
    let begun = std::time::Instant::now();
    let answers = run(&mut live, &mut generator, requests.to_vec());
    let (work, elapsed) = (generator.work(), begun.elapsed());
    let ends = || answers.iter().map(|a| a.end.as_ref().unwrap());
    assert_eq!(work.prompt_tokens, ends().map(|e| e.prompt_tokens - e.reused_tokens).sum::<usize>());
    // The last token of an answer is chosen, not computed.
    assert_eq!(work.generated_tokens, ends().map(|e| e.generated_tokens.saturating_sub(1)).sum::<usize>());
    assert!(work.prompt_time > Duration::ZERO && work.generate_time > work.prompt_time / 100);
    assert!(work.prompt_time + work.generate_time <= elapsed);
}

#[test]
fn a_shared_prefix_is_computed_once_and_changes_no_answer() {
    let mut live = live(3);
    let prefix = "Question: Two and two?\nAnswer: 2+2=4. #### 4\n\n";
    let prompts = [
        PROMPT,
        "Question: Ann has 3 cats. She gets 4 more. How many cats does Ann have?\nAnswer:",
        "Question: Why?\nAnswer:",
    ];
    let mut requests: Vec<Request> =
        (0..7).map(|i| greedy(&live, &format!("{prefix}{}", prompts[i % 3]), 10 + i)).collect();
    requests[4].prompt_likelihoods = Some(PromptLikelihoods { from: requests[4].prompt.len() - 5, top: 0 });
    let shared = live.vocabulary().tokenize(prefix).len() - 1;
    let prefix = &requests[0].prompt[..shared];
    assert!(requests.iter().all(|r| r.prompt.starts_with(prefix)));
    let want: Vec<Answer> = requests.iter().map(|r| alone(&mut live, r.clone())).collect();

    live.forget_all();
    let mut generator = Generator::new(&live);
    generator.share(&mut live, prefix, requests.len()).unwrap();
    let answers = run(&mut live, &mut generator, requests.clone());
    for (answer, want) in answers.iter().zip(&want) {
        assert_eq!(answer.ids(), want.ids());
        assert!(answer.end.as_ref().unwrap().reused_tokens >= shared);
        for (a, b) in answer.prompt.iter().zip(&want.prompt) {
            // Batches of another shape round differently.
            assert!((a.log - b.log).abs() < 5e-3 * b.log.abs().max(1.0), "{a:?} {b:?}");
        }
    }
    assert_eq!(answers[4].prompt.len(), want[4].prompt.len());
    let rest: usize = answers.iter().map(|a| a.end.as_ref().unwrap()).map(|e| e.prompt_tokens - e.reused_tokens).sum();
    assert_eq!(generator.work().prompt_tokens, shared + rest);
}
