//! Fields that other servers know and this one does not serve: taken while they ask for nothing.

use serde_json::{Value, json};

/// What to make of a field that nobody took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Leftover {
    /// Leaves the answer as it is.
    Harmless,
    /// Would change the answer.
    Unsupported,
    /// No server's field, as far as is known.
    Unknown,
}

impl Leftover {
    /// Judges a field of the body.
    pub(super) fn in_body(name: &str, value: &Value) -> Self {
        let number = value.as_f64();
        Self::harmless_if(match name {
            // Bookkeeping and hints.
            "user" | "metadata" | "store" | "service_tier" | "safety_identifier" => true,
            "prompt_cache_key" | "prompt_cache_retention" | "parallel_tool_calls" => true,
            "length_penalty" => number == Some(1.0),
            "top_logprobs" | "min_tokens" | "speculative.p_min" => number == Some(0.0),
            "prompt_logprobs" | "return_token_strs" | "return_tokens_as_token_ids" => {
                value == false
            }
            "echo" | "use_beam_search" | "return_token_ids" => value == false,
            "stream_options.include_obfuscation" => value == false,
            "continue_final_message" => value == false,
            "add_generation_prompt" | "spaces_between_special_tokens" => value == true,
            "suffix" => value == "",
            "tools" | "functions" | "bad_words" | "documents" => is_empty(value),
            "chat_template_kwargs" => *value == json!({}),
            "tool_choice" | "function_call" => value == "none" || value == "auto",
            "response_format" => value["type"] == "text",
            "modalities" => *value == json!(["text"]),
            "reasoning_effort" => value == "none",
            "audio" | "verbosity" | "web_search_options" => false,
            "guided_json" | "guided_regex" | "guided_choice" | "guided_grammar" => false,
            "structured_outputs" | "chat_template" | "add_special_tokens" => false,
            "allowed_token_ids" | "truncate_prompt_tokens" => false,
            _ => return Self::Unknown,
        })
    }

    /// Judges a field of a chat message.
    pub(super) fn in_message(name: &str, value: &Value) -> Self {
        Self::harmless_if(match name {
            // Chat templates write role and content only.
            "name" => true,
            // Clients send back answers as they came.
            "tool_calls" | "annotations" => is_empty(value),
            "audio" | "function_call" | "refusal" | "tool_call_id" => false,
            // The assistant's alone, which is taken before.
            "reasoning_content" => false,
            _ => return Self::Unknown,
        })
    }

    /// Judges a field where there are no others.
    pub(super) fn in_part(_name: &str, _value: &Value) -> Self {
        Self::Unknown
    }

    fn harmless_if(harmless: bool) -> Self {
        if harmless {
            Self::Harmless
        } else {
            Self::Unsupported
        }
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}
