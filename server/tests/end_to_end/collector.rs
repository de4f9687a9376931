//! A collector of spans.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// Keeps all that is sent to it, until it is dropped.
pub(crate) struct Collector {
    pub(crate) url: String,
    received: Received,
    _serving: JoinSet<Result<(), tonic::transport::Error>>,
}

#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<ResourceSpans>>>);

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::serve("http", Server::builder()).await
    }

    /// One that shows a certificate.
    pub(crate) async fn start_tls(identity: Identity) -> Self {
        let tls = ServerTlsConfig::new().identity(identity);
        Self::serve("https", Server::builder().tls_config(tls).unwrap()).await
    }

    async fn serve(scheme: &str, mut server: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let received = Received::default();
        let serving = server.add_service(TraceServiceServer::new(received.clone()));
        Self {
            url,
            received,
            _serving: JoinSet::from_iter(
                [serving.serve_with_incoming(TcpIncoming::from(listener))],
            ),
        }
    }

    /// The service's name with each batch, and all spans.
    pub(crate) fn received(&self) -> (Vec<String>, Vec<Span>) {
        let batches = self.received.0.lock().unwrap().clone();
        let resources = batches.iter().filter_map(|batch| batch.resource.as_ref());
        let attributes = resources.flat_map(|resource| &resource.attributes);
        let services = attributes.filter(|attribute| attribute.key == "service.name");
        let name = |value: &Value| match value {
            Value::StringValue(name) => name.clone(),
            other => panic!("{other:?}"),
        };
        let names =
            services.map(|service| name(service.value.as_ref().unwrap().value.as_ref().unwrap()));
        let names = names.collect();
        let scopes = batches.into_iter().flat_map(|batch| batch.scope_spans);
        (names, scopes.flat_map(|scope| scope.spans).collect())
    }
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let batches = request.into_inner().resource_spans;
        self.0.lock().unwrap().extend(batches);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
