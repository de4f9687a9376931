//! The wire that is none: requests go to the door of an engine in this process.

use std::sync::Arc;

use foretoken_model::chat_template::Message;
use foretoken_server::admission::Frontend;
use foretoken_server::generation::Chunk;
use foretoken_server::raw_request::{Prompt, RawRequest, RawSampling, RawSpeculation};
use foretoken_server::refusal::Refusal;
use foretoken_server::request::Stats;
use futures_util::{StreamExt, stream};

use super::answer::{Answer, Drafted, Failure, FailureKind, Piece, Usage};
use crate::harness::request::Request;

/// Sends a request as a chat, or as plain text where the model has no chat template.
pub(super) async fn send(frontend: &Arc<Frontend>, request: &Request) -> Result<Answer, Failure> {
    let generation = frontend
        .admit(raw_request(frontend, request))
        .await
        .map_err(refused)?;
    let counts = (generation.prompt.len(), 0);
    let pieces = stream::unfold(
        (generation, counts),
        |(mut generation, mut counts)| async move {
            let piece = generation.next().await?;
            let piece = piece
                .map(|chunk| read(chunk, &mut counts))
                .map_err(|failed| Failure::new(FailureKind::ServerError, failed));
            Some((piece, (generation, counts)))
        },
    );
    Ok(pieces.boxed())
}

/// A request as the door takes it.
pub(crate) fn raw_request(frontend: &Frontend, request: &Request) -> RawRequest {
    let is_chat = frontend.model().chat_template.is_some();
    let prompt = request.prompt.clone();
    RawRequest {
        prompt: if is_chat {
            Prompt::Chat(vec![Message::new("user", prompt)])
        } else {
            Prompt::Text(prompt)
        },
        sampling: RawSampling {
            temperature: request.temperature,
            seed: Some(request.seed),
            ..RawSampling::default()
        },
        max_tokens: Some(request.max_tokens),
        ignore_eos: request.ignore_eos,
        speculation: RawSpeculation {
            drafter: request.drafting.drafter.clone(),
            max_draft_tokens: request.drafting.max_draft_tokens,
            ..RawSpeculation::default()
        },
        ..RawRequest::default()
    }
}

/// A chunk as a piece; `counts` are the tokens of the prompt, and of the output so far.
fn read(chunk: Chunk, counts: &mut (usize, usize)) -> Piece {
    counts.1 += chunk.tokens.len();
    Piece {
        num_tokens: Some(chunk.tokens.len()),
        usage: chunk.finish.is_some().then(|| Usage {
            num_prompt_tokens: counts.0,
            num_output_tokens: counts.1,
            drafted: Some(drafted(chunk.stats)),
        }),
        text: chunk.text,
    }
}

fn drafted(stats: Stats) -> Drafted {
    Drafted {
        num_drafts: stats.num_drafts,
        num_draft_tokens: stats.num_draft_tokens,
        num_accepted_tokens: stats.num_accepted_tokens,
        accepted_per_pos: stats.accepted_per_pos,
    }
}

fn refused(refusal: Refusal) -> Failure {
    let kind = match refusal {
        Refusal::QueueFull { needed, all, .. } if needed <= all => FailureKind::Refused,
        Refusal::Draining | Refusal::EngineDead | Refusal::Internal => FailureKind::ServerError,
        _ => FailureKind::Rejected,
    };
    Failure::new(kind, refusal)
}
