//! How calls end before their time: the client leaves, the deadline passes, the engine dies, the server drains.

use std::sync::Arc;
use std::time::Duration;

use foretoken_proto::v1::inference_client::InferenceClient;
use foretoken_server::admission::Frontend;
use foretoken_server::grpc::Door;
use foretoken_server::launch::Launched;
use foretoken_server::request::Finish;
use foretoken_server::serve::{self, Doors};
use tokio::net::TcpListener;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::{Served, continuing, event, serve as open, streamed, support, unary};

#[tokio::test]
async fn a_client_that_leaves_cancels_its_request() {
    let (frontend, mut inbox) = support::frontend(4);
    let served = open(frontend, None).await;

    let mut client = served.client();
    let stream = client.generate_stream(continuing(&[5], 3)).await.unwrap();
    let mut stream = stream.into_inner();
    let request = inbox.recv().await.unwrap();
    request.events.send(event(5, None)).await.unwrap();
    stream.message().await.unwrap().unwrap();
    drop(stream);
    request.events.closed().await;

    let request = tokio::select! {
        _ = unary(&served, continuing(&[5], 3)) => panic!("nobody answers"),
        request = inbox.recv() => request.unwrap(),
    };
    request.events.closed().await;
}

/// The code that a call of 200 ms ends with; called without tonic's client, which has timers of its own.
async fn ending_of_short_call(frontend: Arc<Frontend>, stream: bool) -> Code {
    let mut client = InferenceClient::new(Door::new(frontend, None).await.routes);
    let mut call = Request::new(continuing(&[5], 30));
    let metadata = call.metadata_mut();
    metadata.insert("grpc-timeout", "200m".parse().unwrap());
    let ending: Result<(), Status> = async {
        if stream {
            let mut stream = client.generate_stream(call).await?.into_inner();
            while stream.message().await?.is_some() {}
        } else {
            client.generate(call).await?;
        }
        Ok(())
    }
    .await;
    ending.map_or_else(|status| status.code(), |()| Code::Ok)
}

#[tokio::test]
async fn a_deadline_ends_the_call_and_cancels_the_request() {
    for stream in [false, true] {
        // Queued, or under way.
        for events in [0, 1] {
            let (frontend, mut inbox) = support::frontend(4);
            let engine = async {
                let request = inbox.recv().await.unwrap();
                for _ in 0..events {
                    request.events.try_send(event(5, None)).unwrap();
                }
                request.events.closed().await;
            };
            let (code, ()) = tokio::join!(ending_of_short_call(frontend, stream), engine);
            assert_eq!(code, Code::DeadlineExceeded, "{stream} {events}");
        }
    }
}

#[tokio::test]
async fn the_servers_patience_ends_a_call_and_so_does_its_own_end() {
    for (timeout, code) in [
        (Some(Duration::from_millis(50)), Code::DeadlineExceeded),
        (None, Code::Unavailable),
    ] {
        for is_streamed in [false, true] {
            let (frontend, mut inbox) = support::impatient_frontend(4, timeout);
            let served = open(Arc::clone(&frontend), None).await;
            let engine = async {
                let request = inbox.recv().await.unwrap();
                request.events.try_send(event(5, None)).unwrap();
                if timeout.is_none() {
                    frontend.drain();
                    frontend.close();
                }
                request.events.closed().await;
            };
            let call = async {
                match is_streamed {
                    true => streamed(&served, continuing(&[5], 3)).await.err(),
                    false => unary(&served, continuing(&[5], 3)).await.err(),
                }
            };
            let (ended, ()) = tokio::join!(call, engine);
            assert_eq!(ended.map(|status| status.code()), Some(code));
        }
    }
}

/// Follows what health says about the service.
async fn watch(served: &Served) -> Streaming<HealthCheckResponse> {
    let service = "foretoken.v1.Inference".to_owned();
    let mut client = HealthClient::new(served.channel.clone());
    let watched = client.watch(HealthCheckRequest { service }).await;
    let mut watched = watched.unwrap().into_inner();
    let first = watched.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    watched
}

#[tokio::test]
async fn a_dead_engine_ends_streams_and_turns_health() {
    let (frontend, mut inbox) = support::frontend(4);
    let served = open(frontend, None).await;
    let mut health = watch(&served).await;
    let mut client = served.client();
    let stream = client.generate_stream(continuing(&[5], 3)).await.unwrap();
    let mut stream = stream.into_inner();
    let request = inbox.recv().await.unwrap();
    request.events.send(event(5, None)).await.unwrap();
    stream.message().await.unwrap().unwrap();

    drop((request, inbox));
    assert_eq!(stream.message().await.unwrap_err().code(), Code::Internal);
    let next = health.message().await.unwrap().unwrap();
    assert_eq!(next.status(), ServingStatus::NotServing);
    assert_eq!(served.health().await, [ServingStatus::NotServing; 2]);
    let refused = unary(&served, continuing(&[5], 3)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
}

#[tokio::test]
async fn a_draining_server_says_so_and_finishes_what_it_has() {
    let (frontend, mut inbox) = support::frontend(4);
    let mut served = open(frontend, None).await;
    let mut health = watch(&served).await;
    let mut client = served.client();
    let stream = client.generate_stream(continuing(&[5], 3)).await.unwrap();
    let mut stream = stream.into_inner();
    let request = inbox.recv().await.unwrap();

    served.shut_down.take().unwrap().send(()).unwrap();
    let next = health.message().await.unwrap().unwrap();
    assert_eq!(next.status(), ServingStatus::NotServing);
    assert_eq!(served.health().await, [ServingStatus::NotServing; 2]);
    let refused = unary(&served, continuing(&[5], 3)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);

    let last = event(5, Some(Finish::Length));
    request.events.send(last).await.unwrap();
    drop(request);
    let answer = stream.message().await.unwrap().unwrap();
    assert_eq!(answer.outputs.unwrap().token_ids, [5]);
    assert!(stream.message().await.unwrap().is_none());
    // A watcher does not keep the server.
    assert!(health.message().await.unwrap().is_none());
    served.ended.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_dead_engine_ends_every_stream_and_the_server() {
    dies_of(
        || candle_core::bail!("out of luck"),
        "the engine has failed: out of luck",
    )
    .await;
    dies_of(|| panic!("out of mind"), "the engine has failed").await;
}

#[expect(clippy::disallowed_methods, reason = "a test's own engine and server")]
async fn dies_of(death: fn() -> candle_core::Result<()>, last_words: &str) {
    let (frontend, inbox) = support::frontend(4);
    // Says one token, then dies; as the engine's, its inbox closes before its requests end.
    let thread = std::thread::spawn(move || {
        let request;
        let mut inbox = inbox;
        request = inbox.blocking_recv().unwrap();
        request.events.try_send(event(5, None)).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        death()
    });
    let doors = Doors {
        http: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        grpc: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        api_key: None,
        allowed_origins: Vec::new(),
        shutdown_timeout: Duration::ZERO,
    };
    let (http, grpc) = (
        doors.http.local_addr().unwrap(),
        doors.grpc.local_addr().unwrap(),
    );
    let serving = tokio::spawn(serve::serve(
        doors,
        Launched { frontend, thread },
        std::future::pending(),
    ));

    let channel = Channel::from_shared(format!("http://{grpc}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let stream = InferenceClient::new(channel)
        .generate_stream(continuing(&[5], 3))
        .await
        .unwrap();
    let mut stream = stream.into_inner();
    stream.message().await.unwrap().unwrap();
    assert_eq!(stream.message().await.unwrap_err().code(), Code::Internal);
    let health = reqwest::get(format!("http://{http}/health")).await.unwrap();
    assert_eq!(health.status().as_u16(), 503);
    // The binary turns an error here into an exit code that is not zero.
    let error = serving.await.unwrap().unwrap_err();
    assert!(format!("{error:#}").starts_with(last_words), "{error:#}");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test's own engine")]
async fn a_server_that_is_asked_to_stop_waits_no_longer_than_it_should() {
    let (frontend, inbox) = support::frontend(4);
    // An engine that never ends a request, but lets go of those that nobody waits for.
    let thread = std::thread::spawn(move || {
        let mut inbox = inbox;
        while let Some(request) = inbox.blocking_recv() {
            request.events.try_send(event(5, None)).unwrap();
            while !request.events.is_closed() {
                std::thread::yield_now();
            }
        }
        Ok(())
    });
    let doors = Doors {
        http: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        grpc: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        api_key: None,
        allowed_origins: Vec::new(),
        shutdown_timeout: Duration::from_millis(50),
    };
    let address = format!("http://{}", doors.grpc.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = serve::serve(doors, Launched { frontend, thread }, async {
        stopped.await.unwrap();
    });
    let client = async {
        let channel = Channel::from_shared(address).unwrap().connect().await;
        let mut client = InferenceClient::new(channel.unwrap());
        let stream = client.generate_stream(continuing(&[5], 3)).await.unwrap();
        let mut stream = stream.into_inner();
        stream.message().await.unwrap().unwrap();
        stop.send(()).unwrap();
        stream.message().await.unwrap_err().code()
    };
    let (served, code) = tokio::join!(serving, client);
    served.unwrap();
    assert_eq!(code, Code::Unavailable);
}
