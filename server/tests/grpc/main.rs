//! The gRPC door, through real clients.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod choices;
mod endings;
mod refusals;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use foretoken_proto::v1::inference_client::InferenceClient;
use foretoken_proto::v1::{
    GenerateRequest, GenerateResponse, ResponseOptions, StoppingCriteria, TokenIds,
    generate_request,
};
use foretoken_server::admission::Frontend;
use foretoken_server::api_key::ApiKey;
use foretoken_server::grpc;
use foretoken_server::request::{Emitted, Event, Finish, Stats};
use futures_util::TryStreamExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// A door that is being served, until this is dropped.
struct Served {
    channel: Channel,
    shut_down: Option<oneshot::Sender<()>>,
    ended: JoinSet<()>,
}

async fn serve(frontend: Arc<Frontend>, api_key: Option<&str>) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let api_key = api_key.map(|key| ApiKey::new(key.to_owned()));
    let (shut_down, shutdown) = oneshot::channel();
    let shutdown = async { shutdown.await.unwrap_or(()) };
    let mut ended = JoinSet::new();
    ended.spawn(grpc::serve(frontend, api_key, listener, shutdown));
    let channel = Endpoint::new(address).unwrap().connect().await.unwrap();
    Served {
        channel,
        shut_down: Some(shut_down),
        ended,
    }
}

impl Served {
    fn client(&self) -> InferenceClient<Channel> {
        InferenceClient::new(self.channel.clone())
    }

    /// What health says about the server as a whole and about the service.
    async fn health(&self) -> [ServingStatus; 2] {
        let mut client = HealthClient::new(self.channel.clone());
        let mut statuses = [ServingStatus::Unknown; 2];
        for (status, service) in statuses
            .iter_mut()
            .zip(["", "foretoken.v1.Inference"].map(str::to_owned))
        {
            let response = client.check(HealthCheckRequest { service }).await.unwrap();
            *status = response.into_inner().status();
        }
        statuses
    }
}

/// Asks for `max_new_tokens` tokens after these, and for their ids.
fn continuing(ids: &[u32], max_new_tokens: u32) -> GenerateRequest {
    GenerateRequest {
        prompt: Some(generate_request::Prompt::TokenIds(TokenIds {
            ids: ids.to_vec(),
        })),
        stopping: Some(StoppingCriteria {
            max_new_tokens: Some(max_new_tokens),
            ..Default::default()
        }),
        response: Some(ResponseOptions {
            output_token_ids: true,
            ..Default::default()
        }),
        ..Default::default()
    }
}

async fn unary(served: &Served, request: GenerateRequest) -> Result<GenerateResponse, Status> {
    Ok(served.client().generate(request).await?.into_inner())
}

async fn streamed(
    served: &Served,
    request: GenerateRequest,
) -> Result<Vec<GenerateResponse>, Status> {
    let stream = served.client().generate_stream(request).await?;
    stream.into_inner().try_collect().await
}

/// A step that brought one token.
fn event(token: u32, finish: Option<Finish>) -> Event {
    Event {
        tokens: vec![Emitted {
            token,
            source: None,
            logprobs: None,
        }],
        stats: Stats::default(),
        finish,
    }
}
