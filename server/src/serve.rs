//! `foretoken serve`: both doors open, until they are asked to close or the engine is gone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::ServeConfig;
use crate::launch::{Launched, launch};
use crate::{grpc, openai};

/// Serves until ctrl-c or SIGTERM; then what runs is finished and nothing new taken. A second ctrl-c ends it at once.
pub fn serve(config: ServeConfig) -> Result<()> {
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr))
        .with(config.log.clone())
        .init();
    // The edge's threads: few, as they only pass text along, and never the compute pool's.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("edge")
        .enable_all()
        .build()?;
    let launched = launch(
        &config.engine,
        &config.served_model_name,
        config.max_num_queued_reqs,
    )?;
    runtime.block_on(open(config, launched))
}

/// How long the doors stay open behind a dead engine.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Opens both doors and waits for their end, then for the engine's.
async fn open(config: ServeConfig, launched: Launched) -> Result<()> {
    let Launched { frontend, thread } = launched;
    let http = bind(&config.host, config.port).await?;
    let grpc = bind(&config.host, config.grpc_port).await?;
    tracing::info!(
        model = frontend.model().names.join(", "),
        max_model_len = frontend.limits().max_model_len,
        drafter = frontend.limits().speculation.drafter.unwrap_or("none"),
        "HTTP on http://{}, gRPC on {}",
        http.local_addr()?,
        grpc.local_addr()?
    );

    let draining = watch::Sender::new(false);
    let began = |mut draining: watch::Receiver<bool>| async move {
        _ = draining.wait_for(|&draining| draining).await;
    };
    let doors = async {
        // The gRPC door waits for its calls by itself. axum closes at once, so it is told when nothing runs any more:
        // until then, new requests and probes get an answer.
        let (began_http, idle) = (began(draining.subscribe()), Arc::clone(&frontend));
        let http_done = async move {
            began_http.await;
            idle.drained().await;
        };
        let http = openai::serve(
            Arc::clone(&frontend),
            config.api_key.clone(),
            http,
            http_done,
        );
        let grpc = grpc::serve(
            Arc::clone(&frontend),
            config.api_key.clone(),
            grpc,
            began(draining.subscribe()),
        );
        let (http, grpc) = tokio::join!(http, grpc);
        http.context("the HTTP door")?;
        grpc.context("the gRPC door")
    };
    let end = async {
        tokio::select! {
            () = stop_signal() => {
                tracing::info!("shutting down: running requests are finished, new ones are refused");
                frontend.drain();
                draining.send_replace(true);
                stop_signal().await;
                tracing::warn!("asked twice: what still runs is abandoned");
            }
            () = frontend.engine_gone() => {
                tracing::error!("the engine has failed");
                // Time for clients and probes to hear of it.
                tokio::time::sleep(LAST_WORDS).await;
            }
        }
    };
    let served = tokio::select! {
        served = doors => served,
        () = end => Ok(()),
    };
    let engine_died = !frontend.is_alive();
    drop(frontend);
    served?;
    if !engine_died {
        return Ok(());
    }
    match thread.join() {
        Ok(Err(error)) => Err(error).context("the engine has failed"),
        _ => bail!("the engine has failed"),
    }
}

async fn bind(host: &str, port: u16) -> Result<TcpListener> {
    let listener = TcpListener::bind((host, port)).await;
    listener.with_context(|| format!("cannot listen on {host}:{port}"))
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
