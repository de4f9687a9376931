//! foretoken's gRPC. Its pieces say how many tokens they bring.

use anyhow::{Context, Result};
use foretoken_proto::v1::generate_request::Prompt;
use foretoken_proto::v1::inference_client::InferenceClient;
use foretoken_proto::v1::{
    GenerateRequest, GenerateResponse, RandomSampling, SpeculationOptions, SpeculationStats,
    StoppingCriteria,
};
use futures_util::StreamExt;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::answer::{Answer, Drafted, Failure, FailureKind, Piece, Usage};
use crate::harness::request::Request;

/// A connection, shared by all requests.
#[derive(Debug)]
pub struct Grpc {
    client: InferenceClient<Channel>,
    authorization: Option<MetadataValue<Ascii>>,
}

impl Grpc {
    /// Connects to `http://HOST:PORT`.
    pub async fn connect(address: &str, api_key: Option<&str>) -> Result<Self> {
        let channel = Endpoint::from_shared(address.to_owned())?.connect().await;
        let channel = channel.with_context(|| format!("cannot reach {address} by gRPC"))?;
        let bearer = |key| {
            format!("Bearer {key}")
                .parse()
                .context("the API key is no text")
        };
        Ok(Self {
            client: InferenceClient::new(channel),
            authorization: api_key.map(bearer).transpose()?,
        })
    }

    pub(super) async fn send(&self, request: &Request) -> Result<Answer, Failure> {
        let mut call = tonic::Request::new(message(request));
        if let Some(authorization) = &self.authorization {
            call.metadata_mut()
                .insert("authorization", authorization.clone());
        }
        let responses = self
            .client
            .clone()
            .generate_stream(call)
            .await
            .map_err(failure)?;
        let mut num_prompt_tokens = 0;
        let pieces = responses.into_inner().map(move |response| {
            let response = response.map_err(failure)?;
            if let Some(prompt) = &response.prompt_info {
                num_prompt_tokens = prompt.num_prompt_tokens as usize;
            }
            Ok(read(response, num_prompt_tokens))
        });
        Ok(pieces.boxed())
    }
}

fn message(request: &Request) -> GenerateRequest {
    GenerateRequest {
        prompt: Some(Prompt::Text(request.prompt.clone())),
        temperature: request.temperature,
        sampling: Some(RandomSampling {
            seed: Some(request.seed),
            ..RandomSampling::default()
        }),
        stopping: Some(StoppingCriteria {
            max_new_tokens: Some(request.max_tokens),
            ignore_eos: request.ignore_eos,
            ..StoppingCriteria::default()
        }),
        speculation: Some(SpeculationOptions {
            drafter: request.drafting.drafter.clone(),
            max_draft_tokens: request.drafting.max_draft_tokens,
            ..SpeculationOptions::default()
        }),
        ..GenerateRequest::default()
    }
}

fn read(response: GenerateResponse, num_prompt_tokens: usize) -> Piece {
    let output = response.outputs.unwrap_or_default();
    Piece {
        text: output.text,
        num_tokens: Some(output.num_tokens as usize),
        usage: output.finish_info.map(|finish| Usage {
            num_prompt_tokens,
            num_output_tokens: finish.num_output_tokens as usize,
            drafted: finish.speculation.map(drafted),
        }),
    }
}

fn drafted(stats: SpeculationStats) -> Drafted {
    let per_pos = stats.accepted_per_pos.into_iter();
    Drafted {
        num_drafts: stats.drafts as usize,
        num_draft_tokens: stats.draft_tokens as usize,
        num_accepted_tokens: stats.accepted_tokens as usize,
        accepted_per_pos: per_pos.map(|count| count as usize).collect(),
    }
}

fn failure(status: Status) -> Failure {
    let kind = match status.code() {
        Code::ResourceExhausted => FailureKind::Refused,
        Code::DeadlineExceeded => FailureKind::Timeout,
        Code::Internal | Code::Unavailable => FailureKind::ServerError,
        // What tonic makes of a connection that broke.
        Code::Unknown | Code::Cancelled => FailureKind::Disconnected,
        _ => FailureKind::Rejected,
    };
    Failure::new(kind, status.message())
}
