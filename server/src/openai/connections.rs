//! Connections of the HTTP door: not too many at once, and each has to say in time what it wants.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Connections beside those of admitted requests: probes, idle ones, and those that are told that the queue is full.
const SPARE_CONNECTIONS: usize = 256;

/// How long a client may take to send a request's head, the first or the next on its connection.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait when the system has no file left for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` resolves, then finishes the requests that are under way. There are never more connections than
/// `max_num_requests` and a few; others wait to be accepted.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    max_num_requests: usize,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let accept = async {
        let places = Arc::new(Semaphore::new(max_num_requests + SPARE_CONNECTIONS));
        loop {
            let place = Arc::clone(&places).acquire_owned().await;
            let stream = next(&listener).await;
            let service = TowerToHyperService::new(router.clone());
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service);
            let connection = graceful.watch(connection);
            connections.spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "an HTTP connection has broken");
                }
                drop(place);
            });
            // What has ended is not kept.
            while connections.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        () = accept => {}
        () = shutdown => {}
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

/// The next client.
async fn next(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Tokens are small packets, and each should leave at once.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::warn!(%error, "TCP_NODELAY cannot be set");
                }
                return stream;
            }
            Err(error) => {
                tracing::debug!(%error, "a client could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
