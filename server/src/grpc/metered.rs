//! Bodies of calls on their way in, counted as they arrive.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

use crate::body_budget::BodyBudget;

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
            })
        }))
    }
}

/// Gives its share back when it is dropped, which is when the message has been read.
struct MeteredBody {
    body: Body,
    budget: BodyBudget,
    held: Option<OwnedSemaphorePermit>,
}

impl HttpBody for MeteredBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
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
