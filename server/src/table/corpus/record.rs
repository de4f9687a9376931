//! A record of a `.jsonl` file.

use anyhow::{Context, Result};
use foretoken_model::chat_template::Message;
use serde::Deserialize;
use serde_json::Value;

/// What a record holds.
#[derive(Debug)]
pub(crate) enum Record {
    Text(String),
    Chat(Vec<Message>),
}

/// The shapes in which texts are handed round.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected `text`, `messages`, `conversations`, `turns`, `question` and `answer`, `prompt` and \
                 `response`, or `instruction` and `output`: see --field"
)]
enum Shape {
    Text {
        text: String,
    },
    Chat {
        messages: Vec<Message>,
    },
    Conversation {
        conversations: Vec<Said>,
    },
    Turns {
        turns: Vec<String>,
    },
    Question {
        #[serde(alias = "prompt")]
        question: String,
        #[serde(alias = "response")]
        answer: String,
    },
    Instruction {
        instruction: String,
        #[serde(default)]
        input: String,
        output: String,
    },
}

/// A turn as ShareGPT writes it.
#[derive(Deserialize)]
struct Said {
    from: String,
    value: String,
}

impl Record {
    /// Reads a record, or the one field of it that is named.
    pub(super) fn parse(json: &str, field: Option<&str>) -> Result<Self> {
        if let Some(field) = field {
            let mut record: Value = serde_json::from_str(json)?;
            let text = match record.get_mut(field).map(Value::take) {
                Some(Value::String(text)) => Some(text),
                _ => None,
            };
            let text = text.with_context(|| format!("no text in `{field}`"))?;
            return Ok(Self::Text(text));
        }
        Ok(match serde_json::from_str(json)? {
            Shape::Text { text } => Self::Text(text),
            Shape::Chat { messages } => Self::Chat(messages),
            Shape::Conversation { conversations } => {
                Self::Chat(conversations.into_iter().map(Said::into_message).collect())
            }
            // Turns of one side alone.
            Shape::Turns { turns } => Self::Text(turns.join("\n\n")),
            Shape::Question { question, answer } => exchange(question, answer),
            Shape::Instruction {
                instruction,
                input,
                output,
            } => {
                let input = match input.is_empty() {
                    true => instruction,
                    false => format!("{instruction}\n\n{input}"),
                };
                exchange(input, output)
            }
        })
    }
}

impl Said {
    fn into_message(self) -> Message {
        let role = match self.from.as_str() {
            "human" => "user".to_owned(),
            "gpt" => "assistant".to_owned(),
            _ => self.from,
        };
        Message::new(role, self.value)
    }
}

fn exchange(user: String, assistant: String) -> Record {
    let turns = [("user", user), ("assistant", assistant)];
    Record::Chat(Vec::from(
        turns.map(|(role, content)| Message::new(role, content)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_texts_or_chats() {
        let cases = [
            // record, field, what it says
            (r#"{"id": 1, "text": "a"}"#, None, Ok("a")),
            (r#"{"text": "a", "body": "b"}"#, Some("body"), Ok("b")),
            (r#"{"turns": ["a", "b"]}"#, None, Ok("a\n\nb")),
            (
                r#"{"messages": [{"role": "system", "content": "a"}]}"#,
                None,
                Ok("system:a"),
            ),
            (
                r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}"#,
                None,
                Ok("user:a assistant:b"),
            ),
            (
                r#"{"question": "a", "answer": "b"}"#,
                None,
                Ok("user:a assistant:b"),
            ),
            (
                r#"{"prompt": "a", "response": "b"}"#,
                None,
                Ok("user:a assistant:b"),
            ),
            (
                r#"{"instruction": "a", "output": "b"}"#,
                None,
                Ok("user:a assistant:b"),
            ),
            (
                r#"{"instruction": "a", "input": "c", "output": "b"}"#,
                None,
                Ok("user:a\n\nc assistant:b"),
            ),
            (r#"{"body": "b"}"#, None, Err("expected `text`")),
            (r#"{"body": 1}"#, Some("body"), Err("no text in `body`")),
            ("a", Some("body"), Err("line 1")),
        ];
        for (json, field, want) in cases {
            let said = match Record::parse(json, field) {
                Ok(Record::Text(text)) => Ok(text),
                Ok(Record::Chat(messages)) => {
                    let turns = messages
                        .iter()
                        .map(|turn| format!("{}:{}", turn.role, turn.content));
                    Ok(turns.collect::<Vec<_>>().join(" "))
                }
                Err(error) => Err(error.to_string()),
            };
            match (&said, want) {
                (Ok(said), Ok(want)) => assert_eq!(said, want, "{json}"),
                (Err(said), Err(want)) => assert!(said.contains(want), "{json}: {said}"),
                _ => panic!("{json}: {said:?}, not {want:?}"),
            }
        }
    }
}
