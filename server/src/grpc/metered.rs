//! Bodies of calls on their way in, counted as they arrive, and not waited for without end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

use crate::body_budget::{BODY_PATIENCE, BodyBudget};

/// A service whose unread requests share a budget.
#[derive(Clone, Debug)]
pub(super) struct Metered<S> {
    service: S,
    budget: BodyBudget,
}

impl<S> Metered<S> {
    pub(super) fn new(service: S) -> Self {
        Self {
            service,
            budget: BodyBudget::default(),
        }
    }
}

impl<S: NamedService> NamedService for Metered<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<http::Request<Body>>> Service<http::Request<Body>> for Metered<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> S::Future {
        let budget = self.budget.clone();
        self.service.call(request.map(|body| {
            Body::new(MeteredBody {
                body,
                budget,
                held: None,
                patience: Box::pin(sleep(BODY_PATIENCE)),
            })
        }))
    }
}

/// Gives its share back when it is dropped, which is when the message has been read.
struct MeteredBody {
    body: Body,
    budget: BodyBudget,
    held: Option<OwnedSemaphorePermit>,
    /// Ends when the client has taken too long.
    patience: Pin<Box<Sleep>>,
}

impl HttpBody for MeteredBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            ready!(self.patience.as_mut().poll(context));
            let seconds = BODY_PATIENCE.as_secs();
            let message = format!("the message did not arrive within {seconds} s");
            return Poll::Ready(Some(Err(Status::deadline_exceeded(message))));
        };
        if let Some(Ok(frame)) = &frame {
            let num_bytes = frame.data_ref().map_or(0, Bytes::len);
            let Some(permit) = self.budget.take(num_bytes) else {
                let message = "too many bytes of other requests are waiting to be read";
                return Poll::Ready(Some(Err(Status::resource_exhausted(message))));
            };
            match &mut self.held {
                Some(held) => held.merge(permit),
                None => self.held = Some(permit),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
