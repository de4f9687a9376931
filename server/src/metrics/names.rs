//! Every metric: its name, and what it says. Where vLLM has one of the same meaning, the name behind the prefix is vLLM's.

/// A metric's name and its help text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric(pub(crate) &'static str, pub(crate) &'static str);

// Counters of drafting, by `drafter`.

pub(crate) const NUM_DRAFTS: Metric = Metric(
    "foretoken_spec_decode_num_drafts_total",
    "Verifies that held at least one draft token.",
);
pub(crate) const NUM_DRAFT_TOKENS: Metric = Metric(
    "foretoken_spec_decode_num_draft_tokens_total",
    "Draft tokens verified.",
);
pub(crate) const NUM_ACCEPTED_TOKENS: Metric = Metric(
    "foretoken_spec_decode_num_accepted_tokens_total",
    "Draft tokens kept.",
);
/// By `position` too, 0 for the first level below the root.
pub(crate) const NUM_ACCEPTED_TOKENS_PER_POS: Metric = Metric(
    "foretoken_spec_decode_num_accepted_tokens_per_pos_total",
    "Draft tokens kept, by how many of their draft were kept before them.",
);

// Counters of what clients predict, which is drafted too and counted above as its drafter's.

pub(crate) const PREDICTION_TOKENS: Metric = Metric(
    "foretoken_prediction_tokens_total",
    "Tokens of requests' predictions that were verified.",
);
pub(crate) const ACCEPTED_PREDICTION_TOKENS: Metric = Metric(
    "foretoken_accepted_prediction_tokens_total",
    "Tokens of requests' predictions that were kept.",
);

// Counters of requests. A request's choices count one by one.

pub(crate) const PROMPT_TOKENS: Metric = Metric(
    "foretoken_prompt_tokens_total",
    "Tokens of prompts, cached ones included.",
);
pub(crate) const GENERATION_TOKENS: Metric =
    Metric("foretoken_generation_tokens_total", "Tokens of answers.");
pub(crate) const PREFIX_CACHE_QUERIES: Metric = Metric(
    "foretoken_prefix_cache_queries_total",
    "Tokens of prompts that were looked for in the prefix cache.",
);
pub(crate) const PREFIX_CACHE_HITS: Metric = Metric(
    "foretoken_prefix_cache_hits_total",
    "Tokens of prompts that were found in the prefix cache.",
);
pub(crate) const NUM_PREEMPTIONS: Metric = Metric(
    "foretoken_num_preemptions_total",
    "Times that a running request had to give up its blocks.",
);
/// By `finished_reason`: stop, length, or abort for those that got no whole answer.
pub(crate) const REQUEST_SUCCESS: Metric = Metric(
    "foretoken_request_success_total",
    "Requests that have ended.",
);
/// By `reason`, which is [`Refusal::reason`](crate::refusal::Refusal::reason).
pub(crate) const REQUESTS_REFUSED: Metric = Metric(
    "foretoken_requests_refused_total",
    "Requests that were not admitted.",
);

// Histograms of requests.

pub(crate) const TIME_TO_FIRST_TOKEN: Metric = Metric(
    "foretoken_time_to_first_token_seconds",
    "From admission to the first token.",
);
pub(crate) const INTER_TOKEN_LATENCY: Metric = Metric(
    "foretoken_inter_token_latency_seconds",
    "Between the steps that brought a request tokens, each of which may bring several.",
);
pub(crate) const E2E_REQUEST_LATENCY: Metric = Metric(
    "foretoken_e2e_request_latency_seconds",
    "From admission to the last token.",
);
pub(crate) const REQUEST_QUEUE_TIME: Metric = Metric(
    "foretoken_request_queue_time_seconds",
    "From admission to the first step that computed some of the request.",
);
pub(crate) const REQUEST_PREFILL_TIME: Metric = Metric(
    "foretoken_request_prefill_time_seconds",
    "From there to the first token.",
);
pub(crate) const REQUEST_DECODE_TIME: Metric = Metric(
    "foretoken_request_decode_time_seconds",
    "From the first token to the last.",
);

// Histograms of steps.

/// The name is vLLM's, though this is no counter.
pub(crate) const ITERATION_TOKENS: Metric = Metric(
    "foretoken_iteration_tokens_total",
    "Rows of a step: prompts, decodes and drafts.",
);
/// By `stage`.
pub(crate) const STEP_TIME: Metric = Metric(
    "foretoken_step_time_seconds",
    "A step's stages, one after the other; `sample` includes putting the batch together.",
);

// Gauges.

pub(crate) const NUM_REQUESTS_RUNNING: Metric = Metric(
    "foretoken_num_requests_running",
    "Requests that hold blocks of the cache.",
);
pub(crate) const NUM_REQUESTS_WAITING: Metric = Metric(
    "foretoken_num_requests_waiting",
    "Requests that wait for them, preempted ones included.",
);
pub(crate) const KV_CACHE_USAGE: Metric = Metric(
    "foretoken_kv_cache_usage_perc",
    "Blocks of the cache that requests hold, as a part of all: 0 to 1.",
);
/// With the labels `block_size` and `num_gpu_blocks`, which vLLM calls so on CPUs too.
pub(crate) const CACHE_CONFIG_INFO: Metric = Metric(
    "foretoken_cache_config_info",
    "The cache's measures, as labels; always 1.",
);
