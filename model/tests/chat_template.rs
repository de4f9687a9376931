//! Chat templates render as `transformers` renders them; `templates/render.py` wrote the expected texts.

#![cfg(test)]

use std::fs;

use foretoken_model::chat_template::{ChatTemplate, Message, TemplateError};
use serde_json::{Value, json};

fn read(name: &str) -> String {
    fs::read_to_string(format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn load(config: &Value) -> Result<Option<ChatTemplate>, TemplateError> {
    ChatTemplate::from_tokenizer_config(config.to_string().as_bytes())
}

/// The text or the error's text of a template's source over two short turns.
fn render(source: &str) -> String {
    let messages = [
        Message::new("user", " a-b "),
        Message::new("assistant", "c"),
    ];
    load(&json!({ "chat_template": source, "bos_token": "<s>" }))
        .and_then(|template| template.unwrap().render(&messages))
        .unwrap_or_else(|error| error.to_string())
}

#[test]
fn published_templates() {
    let tokens = [
        (
            "llama3",
            json!({ "bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>" }),
        ),
        (
            "mistral",
            json!({ "bos_token": "<s>", "eos_token": { "content": "</s>", "lstrip": false } }),
        ),
        (
            "qwen2.5",
            json!({ "bos_token": null, "eos_token": "<|im_end|>" }),
        ),
        (
            "zephyr",
            json!({ "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>" }),
        ),
        (
            "demo",
            serde_json::from_str(&read("../demo/tokenizer_config.json")).unwrap(),
        ),
    ];
    let chat: Vec<Message> = serde_json::from_str(&read("templates/chat.json")).unwrap();
    for (name, mut config) in tokens {
        if name != "demo" {
            config["chat_template"] = read(&format!("templates/{name}.jinja")).into();
        }
        let template = load(&config).unwrap().unwrap();
        let expected = read(&format!("templates/{name}.txt"));
        assert_eq!(template.render(&chat[1..]).unwrap(), expected, "{name}");
        let with_system = template.render(&chat);
        if name == "mistral" {
            let roles = "chat template: Conversation roles must alternate user/assistant/user/assistant/...";
            assert_eq!(with_system.unwrap_err().to_string(), roles);
        } else {
            let expected = read(&format!("templates/{name}.system.txt"));
            assert_eq!(with_system.unwrap(), expected, "{name}");
        }
    }
}

/// What jinja2 gives for the same source, set up as in `templates/render.py`.
#[test]
fn python_and_jinja_as_templates_use_them() {
    let cases = [
        (
            "{{ messages[0].content.strip().split('-')[-1].upper() }}",
            "B",
        ),
        (
            "{{ messages[::-1][0].role }} {{ messages[1:] | length }}",
            "assistant 1",
        ),
        (
            "{{ messages[0].get('name', 'none') }} {{ messages[0].items() | list | length }}",
            "none 2",
        ),
        (
            "{% for k, v in messages[1].items() %}{{ k }}={{ v }};{% endfor %}",
            "role=assistant;content=c;",
        ),
        (
            "{{ 'x'.startswith('x') and 'abc'.replace('b', 'd') == 'adc' }} {{ 'a b'.title() }}",
            "True A B",
        ),
        (
            "{{ messages[0] | tojson }}",
            r#"{"role": "user", "content": " a-b "}"#,
        ),
        (
            "{{ {'z': [1, 2.5, true, none], 'a': {}} | tojson(indent=2) }}",
            "{\n  \"z\": [\n    1,\n    2.5,\n    true,\n    null\n  ],\n  \"a\": {}\n}",
        ),
        (
            "{{ \"<a href='x'>&é\" | tojson(ensure_ascii=False) }}",
            "\"<a href='x'>&é\"",
        ),
        (
            "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
            "user",
        ),
        (
            "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% endfor %}",
            "assistant",
        ),
        (
            "[{{ unk_token }}] {{ unk_token is defined }} {{ tools is none }}",
            "[] False True",
        ),
        (
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "2",
        ),
        ("{% if true %}\n  kept\n  {% endif %}\nend\n", "  kept\nend"),
        (
            "{% macro f(x) %}<{{ x }}{{ bos_token }}>{% endmacro %}{{ f('q') }}",
            "<q<s>>",
        ),
        (
            "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join }}",
            " a-b ",
        ),
        (
            "{{ 'b' ~ 1 ~ none }} {{ messages is iterable }} {{ messages[0] is mapping }}",
            "b1None True True",
        ),
        (
            "{{ messages[0].missing }}|{{ messages[0].missing or 'd' }}",
            "|d",
        ),
        (
            "{{ ['a', none, true] }} {{ '%d-%s' | format(3, 'x') }}",
            "['a', None, True] 3-x",
        ),
        (
            "{{ strftime_now('100%% %Y')[:6] }}{{ strftime_now('%d %b %Y') | length }}",
            "100% 211",
        ),
    ];
    for (source, expected) in cases {
        assert_eq!(render(source), expected, "{source}");
    }
}

#[test]
fn mistakes_are_told() {
    let cases = [
        (
            "{% if true %}",
            "chat template: syntax error: unexpected end of input",
        ),
        (
            "{{ messages[0].content.shout() }}",
            "chat template: unknown method",
        ),
        ("{{ nothing.at_all }}", "chat template: undefined value"),
        (
            "{{ strftime_now('%!') }}",
            "chat template: invalid operation: strftime_now: unknown format `%!`",
        ),
        (
            "{{ 1 | tojson(ensure_ascii=true) }}",
            "chat template: invalid operation: tojson: ensure_ascii",
        ),
        (
            "{% macro f() %}{{ raise_exception('no ' ~ bos_token) }}{% endmacro %}{{ f() }}",
            "chat template: no <s>",
        ),
    ];
    for (source, expected) in cases {
        let told = render(source);
        assert!(told.starts_with(expected), "{source}: {told}");
    }
}

#[test]
fn where_the_template_stands() {
    let named = |name: &str| json!([{ "name": "tool_use", "template": "t" }, { "name": name, "template": "d" }]);
    let cases = [
        (json!({}), Ok(None)),
        (
            json!({ "chat_template": null, "bos_token": "<s>" }),
            Ok(None),
        ),
        (json!({ "chat_template": "d" }), Ok(Some("d"))),
        (json!({ "chat_template": named("default") }), Ok(Some("d"))),
        (
            json!({ "chat_template": named("rag") }),
            Err("no entry named `default`, only [tool_use, rag]"),
        ),
        (
            json!({ "chat_template": 3 }),
            Err("neither a string nor a list of {name, template}"),
        ),
        (
            json!({ "chat_template": "d", "eos_token": 3 }),
            Err("neither a string nor an object with `content`"),
        ),
        (json!([]), Err("tokenizer_config.json: ")),
        (
            json!({ "chat_template": "{{" }),
            Err("chat template: syntax error"),
        ),
    ];
    for (config, expected) in cases {
        match (load(&config), expected) {
            (Ok(template), Ok(expected)) => {
                let text = template.map(|template| template.render(&[]).unwrap());
                assert_eq!(text.as_deref(), expected, "{config}");
            }
            (Err(error), Err(expected)) => {
                assert!(error.to_string().contains(expected), "{config}: {error}");
            }
            (got, expected) => panic!("{config}: {got:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn what_was_thought_is_there_for_templates_that_ask() {
    let source = "{% for m in messages %}{% if m.reasoning_content is defined %}<{{ m.reasoning_content }}>{% endif %}\
                  {{ m.content }}{% endfor %}";
    let template = load(&json!({ "chat_template": source })).unwrap().unwrap();
    let thoughtful = Message {
        reasoning_content: Some("hm".to_owned()),
        ..Message::new("assistant", "b")
    };
    let messages = [Message::new("user", "a"), thoughtful];
    assert_eq!(template.render(&messages).unwrap(), "a<hm>b");
}
