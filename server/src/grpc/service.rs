//! The calls of `foretoken.v1.Inference`.

use std::sync::Arc;

use foretoken_proto::v1::inference_server::Inference;
use foretoken_proto::v1::{GenerateRequest, GenerateResponse};
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tracing::{Instrument, Span};

use super::convert;
use super::deadline::Deadline;
use super::response::ResponseWriter;
use crate::admission::Frontend;
use crate::choices::Choices;
use crate::request_id::{self, X_REQUEST_ID};
use crate::request_span::request_span;

/// The service: turns calls into generations.
#[derive(Debug)]
pub(super) struct Calls {
    frontend: Arc<Frontend>,
    under_way: watch::Sender<()>,
}

impl Calls {
    /// Every call holds a receiver of `under_way` until it is done.
    pub(super) fn new(frontend: Arc<Frontend>, under_way: watch::Sender<()>) -> Self {
        Self {
            frontend,
            under_way,
        }
    }

    /// A span for a call, in which its id is known.
    fn span(&self, id: &str, call: &Request<GenerateRequest>) -> Span {
        request_span(id, self.frontend.model().name(), call.metadata().as_ref())
    }

    /// Admits a call's request.
    async fn begin(&self, call: Request<GenerateRequest>) -> Result<Answer, Status> {
        let under_way = self.under_way.subscribe();
        let deadline: Deadline = call.extensions().get().copied().unwrap_or_default();
        let request = call.into_inner();
        let options = request.response.unwrap_or_default();
        let num_choices = request.sampling.and_then(|sampling| sampling.num_sequences);
        let raw = convert::raw_request(request);
        let admitted = self.frontend.admit_choices(raw, num_choices);
        let choices = Choices::new(deadline.bound(admitted).await??, 1);
        Ok(Answer {
            writer: ResponseWriter::new(&choices, options),
            choices,
            deadline,
            _under_way: under_way,
        })
    }
}

#[tonic::async_trait]
impl Inference for Calls {
    async fn generate(
        &self,
        call: Request<GenerateRequest>,
    ) -> Result<Response<GenerateResponse>, Status> {
        let id = request_id(&call)?;
        let span = self.span(&id, &call);
        let answer = async { self.begin(call).await?.whole().await };
        async { labelled(id, answer.await) }.instrument(span).await
    }

    type GenerateStreamStream = BoxStream<'static, Result<GenerateResponse, Status>>;

    async fn generate_stream(
        &self,
        call: Request<GenerateRequest>,
    ) -> Result<Response<Self::GenerateStreamStream>, Status> {
        let id = request_id(&call)?;
        let span = self.span(&id, &call);
        let answer = async { Ok(self.begin(call).await?.pieces().boxed()) };
        async { labelled(id, answer.await) }.instrument(span).await
    }
}

/// One request's answer. Dropping it, as tonic does when the client leaves, cancels the request.
struct Answer {
    choices: Choices,
    writer: ResponseWriter,
    deadline: Deadline,
    _under_way: watch::Receiver<()>,
}

impl Answer {
    async fn whole(self) -> Result<GenerateResponse, Status> {
        let chunks = self.deadline.bound(self.choices.collect()).await??;
        Ok(self.writer.whole(chunks))
    }

    fn pieces(self) -> impl Stream<Item = Result<GenerateResponse, Status>> {
        stream::try_unfold(self, |mut answer| async {
            match answer.deadline.bound(answer.choices.next()).await? {
                Some((index, chunk)) => Ok(Some((answer.writer.piece(index, chunk?), answer))),
                None => Ok(None),
            }
        })
    }
}

/// The id that the client gave, in the message or else in the metadata, or a new one.
fn request_id(call: &Request<GenerateRequest>) -> Result<String, Status> {
    let (name, given) = match call.get_ref().request_id.as_str() {
        "" => {
            let given = call.metadata().get(X_REQUEST_ID);
            (X_REQUEST_ID, given.map_or(&[][..], |id| id.as_bytes()))
        }
        id => ("request_id", id.as_bytes()),
    };
    request_id::request_id(given)
        .map_err(|problem| Status::invalid_argument(format!("`{name}`: {problem}")))
}

/// The outcome of a call, with its id in the metadata.
fn labelled<T>(id: String, outcome: Result<T, Status>) -> Result<Response<T>, Status> {
    let value = id.parse().expect("printable ASCII");
    match outcome {
        Ok(message) => {
            let mut response = Response::new(message);
            response.metadata_mut().insert(X_REQUEST_ID, value);
            Ok(response)
        }
        Err(mut status) => {
            tracing::debug!(code = ?status.code(), message = status.message(), "gRPC call failed");
            status.metadata_mut().insert(X_REQUEST_ID, value);
            Err(status)
        }
    }
}
