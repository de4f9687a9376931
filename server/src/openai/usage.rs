//! What an answer cost, in OpenAI's terms and in llama.cpp's.

use std::time::Duration;

use serde::Serialize;

use crate::request::Stats;

/// What the choices of an answer that have ended cost together. The prompt counts once.
#[derive(Clone, Debug)]
pub(super) struct Cost {
    num_prompt_tokens: usize,
    num_tokens: usize,
    /// None before the first choice's.
    stats: Option<Stats>,
}

/// OpenAI's `usage`.
#[derive(Debug, Serialize)]
pub(super) struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptTokensDetails,
    completion_tokens_details: CompletionTokensDetails,
}

#[derive(Debug, Serialize)]
struct PromptTokensDetails {
    cached_tokens: usize,
}

/// Of the client's own prediction alone; what drafters guessed without it is counted in [`Timings`].
#[derive(Debug, Serialize)]
struct CompletionTokensDetails {
    reasoning_tokens: usize,
    accepted_prediction_tokens: usize,
    rejected_prediction_tokens: usize,
}

/// llama.cpp's `timings`. As there, the time to the first token counts as the prompt's.
#[derive(Debug, Serialize)]
pub(super) struct Timings {
    /// Tokens of the prompt that were in the cache; those of `prompt_n` were not.
    cache_n: usize,
    prompt_n: usize,
    prompt_ms: f64,
    prompt_per_token_ms: f64,
    prompt_per_second: f64,
    predicted_n: usize,
    predicted_ms: f64,
    predicted_per_token_ms: f64,
    predicted_per_second: f64,
    draft_n: usize,
    draft_n_accepted: usize,
}

impl Cost {
    /// Of no choice yet.
    pub(super) fn new(num_prompt_tokens: usize) -> Self {
        Self {
            num_prompt_tokens,
            num_tokens: 0,
            stats: None,
        }
    }

    /// Adds a choice with its totals.
    pub(super) fn add(&mut self, num_tokens: usize, stats: &Stats) {
        self.num_tokens += num_tokens;
        match &mut self.stats {
            Some(total) => total.add(stats),
            empty => *empty = Some(stats.clone()),
        }
    }

    /// What one choice has cost so far, in OpenAI's terms.
    pub(super) fn of_one(&self, num_tokens: usize, stats: &Stats) -> Usage {
        let mut one = Self::new(self.num_prompt_tokens);
        one.add(num_tokens, stats);
        one.usage()
    }

    /// In OpenAI's terms.
    pub(super) fn usage(&self) -> Usage {
        let Stats {
            num_prediction_tokens,
            num_accepted_prediction_tokens,
            num_cached_tokens,
            ..
        } = self.stats.clone().unwrap_or_default();
        Usage {
            prompt_tokens: self.num_prompt_tokens,
            completion_tokens: self.num_tokens,
            total_tokens: self.num_prompt_tokens + self.num_tokens,
            prompt_tokens_details: PromptTokensDetails {
                cached_tokens: num_cached_tokens,
            },
            completion_tokens_details: CompletionTokensDetails {
                reasoning_tokens: 0,
                accepted_prediction_tokens: num_accepted_prediction_tokens,
                rejected_prediction_tokens: num_prediction_tokens
                    .saturating_sub(num_accepted_prediction_tokens),
            },
        }
    }

    /// In llama.cpp's terms.
    pub(super) fn timings(&self) -> Timings {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let stats = self.stats.clone().unwrap_or_default();
        let (prompt_ms, predicted_ms) = (ms(stats.prefill), ms(stats.decode));
        let cache_n = stats.num_cached_tokens;
        let prompt_n = self.num_prompt_tokens.saturating_sub(cache_n);
        let (num_prompt, num_predicted) = (prompt_n as f64, self.num_tokens as f64);
        Timings {
            cache_n,
            prompt_n,
            prompt_ms,
            prompt_per_token_ms: ratio(prompt_ms, num_prompt),
            prompt_per_second: ratio(1e3 * num_prompt, prompt_ms),
            predicted_n: self.num_tokens,
            predicted_ms,
            predicted_per_token_ms: ratio(predicted_ms, num_predicted),
            predicted_per_second: ratio(1e3 * num_predicted, predicted_ms),
            draft_n: stats.num_draft_tokens,
            draft_n_accepted: stats.num_accepted_tokens,
        }
    }
}

/// JSON knows no infinity, so a rate over no time is 0.
fn ratio(amount: f64, over: f64) -> f64 {
    if over > 0.0 { amount / over } else { 0.0 }
}
