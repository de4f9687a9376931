//! How requests reach a server: three wires, one shape of answer.

mod answer;
mod engine;
mod grpc;
mod openai;

use std::sync::Arc;

use foretoken_server::admission::Frontend;

use super::request::Request;
pub use answer::{Answer, Drafted, Failure, FailureKind, Piece, Usage};
pub(crate) use engine::raw_request;
pub use grpc::Grpc;
pub use openai::{Endpoint, OpenAi};

/// A way to a server.
#[derive(Debug)]
pub enum Client {
    /// Any server with OpenAI's API.
    OpenAi(OpenAi),
    /// foretoken's gRPC.
    Grpc(Grpc),
    /// An engine in this process, behind its door: no wire at all.
    Engine(Arc<Frontend>),
}

impl Client {
    /// Sends a request and returns as soon as the server has let it in.
    pub async fn send(&self, request: &Request) -> Result<Answer, Failure> {
        match self {
            Self::OpenAi(client) => client.send(request).await,
            Self::Grpc(client) => client.send(request).await,
            Self::Engine(frontend) => engine::send(frontend, request).await,
        }
    }

    /// The HTTP client, if it is one.
    pub fn openai(&self) -> Option<&OpenAi> {
        match self {
            Self::OpenAi(client) => Some(client),
            Self::Grpc(_) | Self::Engine(_) => None,
        }
    }
}
