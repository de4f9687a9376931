//! Who is asked, and from text to tokens that exist.

use foretoken_model::Token;

use super::Frontend;
use crate::raw_request::Prompt;
use crate::refusal::Refusal;

impl Frontend {
    /// Refuses a model name that is not served; no name means the one there is.
    pub fn check_model(&self, requested: Option<&str>) -> Result<(), Refusal> {
        match requested {
            Some(name) if !self.model.names.iter().any(|served| served == name) => {
                Err(Refusal::UnknownModel {
                    requested: name.to_owned(),
                    served: self.model.name().to_owned(),
                })
            }
            _ => Ok(()),
        }
    }

    /// The prompt's tokens; empty only if the prompt is.
    pub fn tokenize(&self, prompt: &Prompt) -> Result<Vec<Token>, Refusal> {
        let encode = |text: &str, add_special_tokens| {
            // What cannot fit is not worth the time that it takes to tokenise it.
            let least = self.model.tokenizer.least_tokens(text.len());
            if least > self.limits.max_model_len {
                return Err(Refusal::ContextLengthExceeded {
                    num_prompt_tokens: least,
                    max_tokens: 1,
                    max_model_len: self.limits.max_model_len,
                });
            }
            self.model
                .tokenizer
                .encode(text, add_special_tokens)
                .map_err(|error| Refusal::invalid("prompt", error))
        };
        match prompt {
            Prompt::Text(text) => encode(text, true),
            Prompt::Tokens(tokens) => Ok(tokens.clone()),
            Prompt::Chat(messages) => {
                if messages.is_empty() {
                    return Err(Refusal::EmptyPrompt);
                }
                let template = self.model.chat_template.as_ref().ok_or_else(|| {
                    Refusal::invalid(
                        "messages",
                        "this model has no chat template; use completions",
                    )
                })?;
                encode(
                    &template
                        .render(messages)
                        .map_err(|error| Refusal::invalid("messages", error))?,
                    false,
                )
            }
        }
    }

    /// Refuses a token id that does not exist, as the field `name`.
    pub fn check_token(&self, name: &'static str, token: Token) -> Result<(), Refusal> {
        if (token as usize) < self.model.vocab_size {
            return Ok(());
        }
        let vocab_size = self.model.vocab_size;
        Err(Refusal::invalid(
            name,
            format!("token id {token} is outside the vocabulary of {vocab_size}"),
        ))
    }
}
