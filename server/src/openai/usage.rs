//! What an answer cost, in OpenAI's terms and in llama.cpp's.

use std::time::Duration;

use serde::Serialize;

use crate::request::Stats;

/// What the choices of an answer that have ended cost together. Each prompt counts once.
#[derive(Clone, Debug)]
pub(super) struct Cost {
    prompts: Vec<PromptCost>,
    num_tokens: usize,
    /// None before the first choice's.
    stats: Option<Stats>,
}

/// What a prompt costs.
#[derive(Clone, Copy, Debug)]
struct PromptCost {
    num_tokens: usize,
    /// Those that no choice of it had to compute; none before the first choice's.
    num_cached: Option<usize>,
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
    /// Of no choice yet; `num_prompt_tokens` by prompt.
    pub(super) fn new(num_prompt_tokens: impl IntoIterator<Item = usize>) -> Self {
        let prompts = num_prompt_tokens.into_iter().map(|num_tokens| PromptCost {
            num_tokens,
            num_cached: None,
        });
        Self {
            prompts: prompts.collect(),
            num_tokens: 0,
            stats: None,
        }
    }

    /// Adds a choice with its totals, which answers the prompt of this index.
    pub(super) fn add(&mut self, prompt: usize, num_tokens: usize, stats: &Stats) {
        // What one choice has left in the cache for the next was not there before them.
        let num_cached = &mut self.prompts[prompt].num_cached;
        let least = num_cached.unwrap_or(usize::MAX);
        *num_cached = Some(least.min(stats.num_cached_tokens));
        self.num_tokens += num_tokens;
        match &mut self.stats {
            Some(total) => total.add(stats),
            empty => *empty = Some(stats.clone()),
        }
    }

    /// What one choice has cost so far, in OpenAI's terms.
    pub(super) fn of_one(&self, prompt: usize, num_tokens: usize, stats: &Stats) -> Usage {
        let mut one = Self::new([self.prompts[prompt].num_tokens]);
        one.add(0, num_tokens, stats);
        one.usage()
    }

    fn num_prompt_tokens(&self) -> usize {
        self.prompts.iter().map(|prompt| prompt.num_tokens).sum()
    }

    fn num_cached_tokens(&self) -> usize {
        let cached = self.prompts.iter().filter_map(|prompt| prompt.num_cached);
        cached.sum()
    }

    /// In OpenAI's terms.
    pub(super) fn usage(&self) -> Usage {
        let Stats {
            num_prediction_tokens,
            num_accepted_prediction_tokens,
            ..
        } = self.stats.clone().unwrap_or_default();
        Usage {
            prompt_tokens: self.num_prompt_tokens(),
            completion_tokens: self.num_tokens,
            total_tokens: self.num_prompt_tokens() + self.num_tokens,
            prompt_tokens_details: PromptTokensDetails {
                cached_tokens: self.num_cached_tokens(),
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
        let cache_n = self.num_cached_tokens();
        let prompt_n = self.num_prompt_tokens().saturating_sub(cache_n);
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
