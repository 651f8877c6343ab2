//! Chat templates against Jinja2 in Python, and templates that mean harm.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/chat")
}

fn message(json: &Json) -> Message {
    let mut more = json.as_object().unwrap().clone();
    let mut take = |name| more.remove(name).unwrap().as_str().unwrap().to_owned();
    Message { role: take("role"), content: take("content"), more }
}

/// The environment of a template, at the time that the reference was made.
fn at_reference_time(source: &str) -> Environment<'static> {
    let mut environment = compile(source).unwrap();
    environment.add_function("strftime_now", |format: &str| match format {
        "%d %b %Y" => "09 Mar 2025",
        "%Y-%m-%d" => "2025-03-09",
        other => panic!("{other}"),
    });
    environment
}

#[test]
fn renders_as_jinja2_does() {
    let all: Json = serde_json::from_str(&fs::read_to_string(folder().join("reference.json")).unwrap()).unwrap();
    let cases = all.as_array().unwrap();
    let mut templates = 0;
    for file in fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_none_or(|e| e != "jinja") {
            continue;
        }
        templates += 1;
        let environment = at_reference_time(&fs::read_to_string(&file).unwrap());
        let name = file.file_name().unwrap().to_str().unwrap();
        let mut chats = 0;
        for case in cases.iter().filter(|case| case["template"] == name) {
            chats += 1;
            let messages: Vec<Message> = case["messages"].as_array().unwrap().iter().map(message).collect();
            let rendered = render(&environment, &messages, case["variables"].as_object().unwrap().clone());
            let expected = match case["prompt"].as_str() {
                Some(prompt) => Ok(prompt.to_owned()),
                None => Err(format!("it refuses these messages: {}", case["raises"].as_str().unwrap())),
            };
            assert_eq!(rendered, expected, "{name}: {}", case["chat"]);
        }
        assert!(chats > 10, "{name}: only {chats} chats");
    }
    assert!(templates > 10, "only {templates} templates");
}

fn rendered(source: &str, messages: &[Message]) -> Result<String, String> {
    ChatTemplate::new(source.to_owned()).render(messages, Map::new())
}

fn reason_of(source: &str) -> String {
    rendered(source, &[Message::new("user", "Hi")]).unwrap_err()
}

#[test]
fn a_syntax_error_tells_the_line() {
    let text = reason_of("{{ bos_token }}\n{% for m in messages %}\n{{ m. }}\n{% endfor %}");
    assert!(text.contains("syntax error") && text.contains("chat_template:3"), "{text}");
}

#[test]
fn a_mistake_while_rendering_tells_the_line() {
    let text = reason_of("\n\n{{ messages[0].tools.first.name }}");
    assert!(text.contains("undefined") && text.contains("chat_template:3"), "{text}");
}

#[test]
fn raised_messages_come_through_macros_too() {
    let text =
        reason_of("{% macro check() %}{{ raise_exception('no ' ~ messages[0].role) }}{% endmacro %}{{ check() }}");
    assert_eq!(text, "it refuses these messages: no user");
}

#[test]
fn endless_templates_end() {
    let text = reason_of("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}");
    assert_eq!(text, "it takes more than `1000000` instructions, which is the limit");
    let inside =
        "{% macro m() %}{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}{% endmacro %}";
    let text = reason_of(&format!("{inside}{{{{ m()|upper }}}}{{% call m() %}}{{% endcall %}}"));
    assert_eq!(text, "it takes more than `1000000` instructions, which is the limit");
    let text = reason_of("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}");
    assert!(text.contains("recursion limit"), "{text}");
    assert_eq!(rendered("{{ 'aa'.count('') }}", &[]).unwrap(), "3");
}

#[test]
fn long_prompts_are_refused() {
    let text = reason_of("{% for a in range(99) %}{{ 'x' * 1000000 }}{% endfor %}");
    assert_eq!(text, "it renders to more than `16777216` bytes, which is the limit");
    let doubled = "{% set ns = namespace(x=['x']) %}{% for a in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}";
    for last in ["{{ ns.x }}", "{{ ns.x|tojson }}", "{{ ns.x|string }}"] {
        let text = reason_of(&format!("{doubled}{last}"));
        assert!(text.contains("`16777216` bytes, which is the limit"), "{last}: {text}");
    }
    let deep =
        "{% set ns = namespace(x=['x']) %}{% for a in range(1000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}";
    assert!(reason_of(deep).contains("more than `100` levels"));
    let said = Message::new("assistant", "x".repeat(MAX_RENDERED_BYTES + 1));
    let text = rendered("{{ messages|length }}", &[Message::new("user", "Hi"), said]).unwrap_err();
    assert_eq!(text, "it renders to more than `16777216` bytes, which is the limit");
}

#[test]
fn callers_variables_do_not_replace_the_messages() {
    let variables: Json =
        serde_json::json!({"messages": [], "add_generation_prompt": false, "tools": [1], "mine": {"a": 1}});
    let template =
        ChatTemplate::new("{{ messages|length }} {{ add_generation_prompt }} {{ tools }} {{ mine.a }}".to_owned());
    let prompt = template.render(&[Message::new("user", "Hi")], variables.as_object().unwrap().clone());
    assert_eq!(prompt.unwrap(), "1 True [1] 1");
}

#[test]
fn time_is_told_by_the_system() {
    let before = std::time::SystemTime::now();
    let seconds: u64 = rendered("{{ strftime_now('%s') }}", &[]).unwrap().parse().unwrap();
    let known = before.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(seconds.abs_diff(known) < 100, "{seconds} {known}");
    assert_eq!(rendered("[{{ strftime_now('') }}]", &[]).unwrap(), "[]");
    assert!(reason_of("{{ strftime_now('%A' * 1000) }}").contains("`2000` bytes, the limit is `256`"));
    assert!(reason_of("{{ strftime_now('\\0') }}").contains("NUL"));
}
