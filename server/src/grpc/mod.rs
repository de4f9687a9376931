//! The gRPC door: `foretoken.v1.Inference`, health and reflection on one port.

mod convert;
mod deadline;
mod metered;
mod response;
mod service;

use std::sync::Arc;

use foretoken_proto::FILE_DESCRIPTOR_SET;
use foretoken_proto::v1::inference_server::{InferenceServer, SERVICE_NAME};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::admission::Frontend;
use crate::api_key::ApiKey;
use crate::body_budget::MAX_REQUEST_BYTES;
use crate::connections::{self, Protocol, Terms};
use deadline::Deadline;
use metered::Metered;
use service::Calls;

/// What health checks may ask for: the server as a whole, and the service.
const HEALTH_NAMES: [&str; 2] = ["", SERVICE_NAME];

/// What the gRPC door serves, and the handles on it.
#[derive(Debug)]
pub struct Door {
    /// Inference, health and reflection.
    pub routes: Routes,
    health: HealthReporter,
    /// Every call under way holds a receiver.
    calls: watch::Sender<()>,
}

impl Door {
    /// Asks inference calls for the key, if there is one; health and reflection are open.
    pub async fn new(frontend: Arc<Frontend>, api_key: Option<ApiKey>) -> Self {
        let calls = watch::Sender::new(());
        let inference = InferenceServer::new(Calls::new(Arc::clone(&frontend), calls.clone()))
            .max_decoding_message_size(MAX_REQUEST_BYTES);
        let api_key = api_key.map(Arc::new);
        let inference = InterceptedService::new(inference, move |call| {
            enter(call, &frontend, api_key.as_deref())
        });

        let (health, health_server) = tonic_health::server::health_reporter();
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .expect("descriptors that the build has written");

        let door = Self {
            routes: Routes::new(Metered::new(inference))
                .add_service(health_server)
                .add_service(reflection),
            health,
            calls,
        };
        door.set_health(ServingStatus::Serving).await;
        door
    }

    async fn set_health(&self, status: ServingStatus) {
        for name in HEALTH_NAMES {
            self.health.set_service_status(name, status).await;
        }
    }

    /// Reports the engine's death for as long as this is polled; never resolves.
    async fn watch_engine(&self, frontend: &Frontend) {
        frontend.engine_gone().await;
        self.set_health(ServingStatus::NotServing).await;
        std::future::pending().await
    }

    /// Refuses new calls, and resolves when nothing runs any more, at either door, and those under way are done.
    async fn drain(mut self, frontend: &Frontend) {
        frontend.drain();
        self.set_health(ServingStatus::NotServing).await;
        frontend.drained().await;
        self.calls.closed().await;
        // Ends the streams of those who watch it, which would keep their connections open.
        for name in HEALTH_NAMES {
            self.health.clear_service_status(name).await;
        }
    }
}

/// Serves until `shutdown` resolves and the calls that are then under way are done. In between the door stays
/// open, so that health checks and new calls get an answer: that the server is shutting down.
pub async fn serve(
    frontend: Arc<Frontend>,
    api_key: Option<ApiKey>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) {
    let door = Door::new(Arc::clone(&frontend), api_key).await;
    let router = door.routes.clone().prepare().into_axum_router();
    let terms = Terms::new(frontend.limits().max_num_requests);
    let drained = async {
        tokio::select! {
            () = shutdown => {}
            () = door.watch_engine(&frontend) => {}
        }
        door.drain(&frontend).await;
    };
    connections::serve(listener, router, Protocol::Http2, terms, drained).await;
}

/// Before a call's message is read: who calls, how long they will wait, and whether they could be admitted at all.
fn enter(
    mut call: Request<()>,
    frontend: &Frontend,
    api_key: Option<&ApiKey>,
) -> Result<Request<()>, Status> {
    let authorization = call.metadata().get("authorization");
    if !api_key.is_none_or(|key| key.accepts(authorization.map(|value| value.as_bytes()))) {
        return Err(Status::unauthenticated(
            "the metadata `authorization` must be `Bearer` and the API key",
        ));
    }
    frontend.check_room()?;
    let deadline = Deadline::from_metadata(call.metadata())?;
    call.extensions_mut().insert(deadline);
    Ok(call)
}
