//! Connections of a door: not too many at once, and each has to say in time what it wants.

mod held;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use held::Held;

/// Which protocol a door speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Protocol {
    /// One call after another on a connection.
    Http1,
    /// Calls side by side on a connection.
    Http2,
}

/// What a door grants its connections; both grant the same.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// Connections at the same time; others wait to be accepted.
    max_connections: usize,
    /// Calls at the same time on one connection, where the protocol has such.
    max_concurrent_streams: usize,
    /// How long a connection may be without a call: from the first byte to a call's whole head, and between calls.
    patience: Duration,
    /// How often a silent client is asked whether it is still there; one that is not holds its place for nothing.
    keepalive: Duration,
}

impl Terms {
    /// For a door behind which so many requests run and wait.
    pub(crate) fn new(max_num_requests: usize) -> Self {
        Self {
            max_connections: max_num_requests + SPARE,
            max_concurrent_streams: max_num_requests + SPARE,
            patience: Duration::from_secs(60),
            keepalive: Duration::from_secs(30),
        }
    }
}

/// Connections and calls beside those of admitted requests: probes, idle ones, and those that are told that the queue is
/// full.
const SPARE: usize = 256;

/// How long to wait when the system has no file left for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` resolves, then finishes the calls that are under way.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    protocol: Protocol,
    terms: Terms,
    shutdown: impl Future<Output = ()>,
) {
    let builder = builder(protocol, &terms);
    let closing = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    let accept = async {
        let places = Arc::new(Semaphore::new(terms.max_connections));
        loop {
            let place = Arc::clone(&places).acquire_owned().await;
            let connection = attend(
                next(&listener, terms.keepalive).await,
                router.clone(),
                builder.clone(),
                terms.patience,
                closing.subscribe(),
            );
            connections.spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(error, ?protocol, "a connection has broken");
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
    closing.send_replace(true);
    while connections.join_next().await.is_some() {}
}

fn builder(protocol: Protocol, terms: &Terms) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(terms.keepalive)
        .max_concurrent_streams(u32::try_from(terms.max_concurrent_streams).unwrap_or(u32::MAX));
    match protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_only(),
    }
}

/// The next client.
async fn next(listener: &TcpListener, keepalive: Duration) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let asks = TcpKeepalive::new()
                    .with_time(keepalive)
                    .with_interval(keepalive);
                // Tokens are small packets, and each should leave at once.
                let set = (stream.set_nodelay(true))
                    .and_then(|()| SockRef::from(&stream).set_tcp_keepalive(&asks));
                if let Err(error) = set {
                    tracing::warn!(%error, "a connection cannot be set up as it should");
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

/// Serves one client, until it leaves or has asked for nothing for too long, or the door closes and nothing of this
/// client's is under way any more.
async fn attend(
    stream: TcpStream,
    router: Router,
    builder: Builder<TokioExecutor>,
    patience: Duration,
    mut closing: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let calls = Calls::default();
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        let call = calls.begin();
        let answer = router.call(request);
        async move { Ok::<_, Infallible>(answer.await?.map(|body| Held::new(body, call))) }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // What has arrived is read before anybody is called silent.
        biased;
        ended = connection.as_mut() => return ended,
        () = calls.idle(patience) => {}
        _ = closing.wait_for(|&closing| closing) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection.as_mut() => ended,
        // Who does not answer even to that is not waited for.
        () = calls.idle(patience) => Ok(()),
    }
}

/// Calls of a connection: how many there have been, and every one that is under way holds a receiver.
#[derive(Clone, Debug, Default)]
struct Calls(watch::Sender<u64>);

impl Calls {
    fn begin(&self) -> watch::Receiver<u64> {
        self.0.send_modify(|num_calls| *num_calls += 1);
        self.0.subscribe()
    }

    /// Resolves when no call has been under way for `patience`.
    async fn idle(&self, patience: Duration) {
        loop {
            self.0.closed().await;
            let num_calls = *self.0.borrow();
            tokio::time::sleep(patience).await;
            if *self.0.borrow() == num_calls {
                return;
            }
        }
    }
}
