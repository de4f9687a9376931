//! An edge with a scripted engine behind it, for tests of the doors: it says the prompt over again.

use std::sync::Arc;
use std::time::Duration;

use foretoken_model::chat_template::ChatTemplate;
use foretoken_model::{Logprobs, SamplingParams, Token, Tokenizer};
use foretoken_server::admission::{Frontend, Limits, ServedModel};
use foretoken_server::request::{Emitted, Event, Finish, Request, Speculation, Stats};
use tokio::sync::mpsc::UnboundedReceiver;

/// Tokens of prompt and output together.
pub(crate) const MAX_MODEL_LEN: usize = 256;

/// An edge over the carried model's tokenizer, and the inbox of an engine that is yet to be.
pub(crate) fn frontend(max_num_requests: usize) -> (Arc<Frontend>, UnboundedReceiver<Request>) {
    impatient_frontend(max_num_requests, None)
}

/// The same, granting requests so much time.
pub(crate) fn impatient_frontend(
    max_num_requests: usize,
    request_timeout: Option<Duration>,
) -> (Arc<Frontend>, UnboundedReceiver<Request>) {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/demo");
    let read = |name: &str| std::fs::read(format!("{demo}/{name}")).unwrap();
    let tokenizer = Tokenizer::from_bytes(&read("tokenizer.json")).unwrap();
    let model = ServedModel {
        names: vec!["demo".to_owned()],
        vocab_size: tokenizer.vocab_size(),
        tokenizer: Arc::new(tokenizer),
        chat_template: ChatTemplate::from_tokenizer_config(&read("tokenizer_config.json")).unwrap(),
        defaults: SamplingParams::greedy(),
    };
    let limits = Limits {
        max_model_len: MAX_MODEL_LEN,
        max_num_requests,
        request_timeout,
        speculation: Speculation {
            drafter: Some("trigram"),
            max_draft_tokens: 16,
            min_draft_tokens: 0,
            max_draft_depth: 63,
        },
    };
    let (frontend, inbox) = Frontend::new(model, limits, vec!["trigram", "lookup"]);
    (Arc::new(frontend), inbox)
}

/// What the scripted engine tells of a token: it is the likeliest, and those of the ids behind it follow.
pub(crate) fn logprobs(token: Token, num_top: usize) -> Logprobs {
    let top = (token..).zip(1..).take(num_top);
    Logprobs {
        chosen: -1.0,
        rank: 1,
        top: top.map(|(token, place)| (token, -(place as f32))).collect(),
    }
}

/// Answers every request with its own prompt, over and over, three tokens a step: two guessed, one not.
#[expect(
    clippy::disallowed_methods,
    reason = "stands in for the engine's thread"
)]
pub(crate) fn echo(
    mut inbox: UnboundedReceiver<Request>,
    pause: Duration,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        while let Some(request) = inbox.blocking_recv() {
            let source = request.speculation.drafter;
            let output: Vec<Emitted> = (request.prompt.iter().cycle())
                .take(request.stopping.max_tokens)
                .enumerate()
                .map(|(i, &token)| Emitted {
                    token,
                    source: source.filter(|_| i % 3 < 2),
                    logprobs: request
                        .logprobs
                        .map(|num_top| Box::new(logprobs(token, num_top))),
                })
                .collect();
            let mut stats = Stats::default();
            let num_steps = output.len().div_ceil(3);
            for tokens in output.chunks(3) {
                let accepted = tokens.iter().filter(|token| token.source.is_some()).count();
                stats.num_steps += 1;
                stats.num_drafts += usize::from(source.is_some());
                stats.num_draft_tokens += 2 * usize::from(source.is_some());
                stats.num_accepted_tokens += accepted;
                stats.accepted_per_pos.resize(2, 0);
                stats
                    .accepted_per_pos
                    .iter_mut()
                    .take(accepted)
                    .for_each(|count| *count += 1);
                let finish = (stats.num_steps == num_steps).then_some(Finish::Length);
                let event = Event {
                    tokens: tokens.to_vec(),
                    stats: stats.clone(),
                    finish,
                };
                if request.events.try_send(event).is_err() {
                    break;
                }
                std::thread::sleep(pause);
            }
        }
    })
}
