//! `foretoken serve`: both doors open, until they are asked to close or the engine is gone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hyper::header::HeaderValue;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::admission::Frontend;
use crate::api_key::ApiKey;
use crate::config::ServeConfig;

use crate::launch::{Grants, Launched, Pricing, launch};
use crate::otlp::Exporter;
use crate::{grpc, log, openai};

/// Where clients come in.
#[derive(Debug)]
pub struct Doors {
    /// OpenAI's API.
    pub http: TcpListener,
    /// `foretoken.v1.Inference`.
    pub grpc: TcpListener,
    /// What both ask for.
    pub api_key: Option<ApiKey>,
    /// Web pages that may ask the HTTP door from a browser; `*` is all.
    pub allowed_origins: Vec<HeaderValue>,
    /// How long requests may go on when the server is asked to stop.
    pub shutdown_timeout: Duration,
}

/// Serves until ctrl-c or SIGTERM; then what runs is finished and nothing new is taken. Asked a second time, it ends.
pub fn run(config: ServeConfig) -> Result<()> {
    // The edge's threads only pass text along; they are few, and never the compute pool's.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("edge")
        .enable_all()
        .build()?;
    let exporter = {
        let _inside = runtime.enter();
        let endpoint = config.otlp_traces_endpoint.as_deref();
        endpoint.map(Exporter::new).transpose()?
    };
    log::init(&config.log, config.log_format, exporter.as_ref());
    let served = runtime.block_on(open_and_serve(config));
    if let Some(exporter) = exporter {
        exporter.flush();
    }
    served
}

async fn open_and_serve(config: ServeConfig) -> Result<()> {
    let doors = Doors {
        http: bind(&config.host, config.port).await?,
        grpc: bind(&config.host, config.grpc_port).await?,
        api_key: config.api_key,
        allowed_origins: config.allowed_origins,
        shutdown_timeout: Duration::from_secs(config.shutdown_timeout),
    };
    let grants = Grants {
        served_names: config.served_model_name,
        max_num_queued: config.max_num_queued_reqs,
        request_timeout: config.request_timeout.map(Duration::from_secs),
    };
    let launched = launch(&config.engine, grants, Pricing::Measured)?;
    announce(&doors, &launched.frontend)?;
    tokio::select! {
        served = serve(doors, launched, stop_signal()) => served,
        () = async { stop_signal().await; stop_signal().await } => bail!("asked twice to stop: what ran is abandoned"),
    }
}

/// Serves until `stop` resolves and what then runs has ended or is cut off; an error if the engine has died.
pub async fn serve(doors: Doors, launched: Launched, stop: impl Future<Output = ()>) -> Result<()> {
    let Launched { frontend, thread } = launched;
    let draining = watch::Sender::new(false);
    let shutdown_timeout = doors.shutdown_timeout;
    let until_the_end = async {
        tokio::select! {
            () = stop => {
                tracing::info!("shutting down: running requests are finished, new ones are refused");
                frontend.drain();
                draining.send_replace(true);
                tokio::time::sleep(shutdown_timeout).await;
                tracing::warn!(?shutdown_timeout, "requests that still run are cut off");
                frontend.close();
                std::future::pending().await
            }
            () = frontend.engine_gone() => {
                tracing::error!("the engine has failed");
                // Time for clients and probes to hear of it.
                tokio::time::sleep(LAST_WORDS).await;
            }
        }
    };
    tokio::select! {
        () = open(doors, &frontend, &draining) => {}
        () = until_the_end => {}
        () = tidy(&frontend) => {}
    }
    let was_alive = frontend.is_alive();
    let ended = Launched { frontend, thread }.end().await;
    ended.context("the engine has failed")?;
    ensure!(was_alive, "the engine has failed");
    Ok(())
}

/// Keeps what is measured small, whether or not anybody asks for it; never resolves.
async fn tidy(frontend: &Frontend) {
    loop {
        tokio::time::sleep(TIDY_INTERVAL).await;
        frontend.metrics().tidy();
    }
}

/// A few hundred thousand measurements at most.
const TIDY_INTERVAL: Duration = Duration::from_secs(5);

/// How long the doors stay open when there is nothing more to say: the engine is dead, or all requests have ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Keeps both doors open until draining has begun and nothing runs any more.
async fn open(doors: Doors, frontend: &Arc<Frontend>, draining: &watch::Sender<bool>) {
    let begun = |mut draining: watch::Receiver<bool>| async move {
        _ = draining.wait_for(|&draining| draining).await;
    };
    // The gRPC door waits for its calls by itself. The HTTP door closes at once, so it is told when nothing runs any more:
    // until then, new requests and probes get an answer.
    let (begun_http, idle) = (begun(draining.subscribe()), Arc::clone(frontend));
    let nothing_runs = async move {
        begun_http.await;
        idle.drained().await;
    };
    let http = openai::serve(
        Arc::clone(frontend),
        doors.api_key.clone(),
        &doors.allowed_origins,
        doors.http,
        nothing_runs,
    );
    let grpc = grpc::serve(
        Arc::clone(frontend),
        doors.api_key,
        doors.grpc,
        begun(draining.subscribe()),
    );
    let stalled = async {
        begun(draining.subscribe()).await;
        frontend.drained().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(http, grpc) } => {}
        // All answers are complete; who has not read theirs by now does not hold up the end.
        () = stalled => {}
    }
}

async fn bind(host: &str, port: u16) -> Result<TcpListener> {
    let listener = TcpListener::bind((host, port)).await;
    listener.with_context(|| format!("cannot listen on {host}:{port}"))
}

fn announce(doors: &Doors, frontend: &Frontend) -> Result<()> {
    tracing::info!(
        model = frontend.model().names.join(", "),
        max_model_len = frontend.limits().max_model_len,
        drafter = frontend.limits().speculation.drafter.unwrap_or("none"),
        "HTTP on http://{}, gRPC on {}",
        doors.http.local_addr()?,
        doors.grpc.local_addr()?
    );
    Ok(())
}

/// Resolves on ctrl-c, and on SIGTERM where there is such a thing.
async fn stop_signal() {
    let ctrl_c = async { _ = tokio::signal::ctrl_c().await };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                () = ctrl_c => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    ctrl_c.await;
}
