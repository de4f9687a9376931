//! What does not get in, and with which code.

use std::time::Duration;

use foretoken_proto::v1::{GenerateRequest, SpeculationOptions, generate_request};
use tonic::{Code, Request};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::{Served, continuing, serve, streamed, support, unary};

/// Both calls refuse `request` with this code, and say this.
async fn assert_refused(served: &Served, request: GenerateRequest, code: Code, says: &str) {
    for refused in [
        unary(served, request.clone()).await.unwrap_err(),
        streamed(served, request).await.unwrap_err(),
    ] {
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(says), "{refused}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    let (frontend, _inbox) = support::frontend(4);
    let served = serve(frontend, None).await;
    type Spoil = fn(&mut GenerateRequest);
    let cases: [(Spoil, Code, &str); 20] = [
        (
            |r| r.temperature = Some(-1.0),
            Code::InvalidArgument,
            "`temperature`: is -1",
        ),
        (
            |r| {
                r.speculation = Some(SpeculationOptions {
                    max_draft_tokens: Some(1000),
                    ..Default::default()
                })
            },
            Code::InvalidArgument,
            "`max_draft_tokens`: is 1000, expected 0 to 63",
        ),
        (
            |r| r.kv.get_or_insert_default().cache_salt = Some(String::new()),
            Code::InvalidArgument,
            "`cache_salt`: is empty",
        ),
        (
            |r| r.kv.get_or_insert_default().cache_salt = Some("x".repeat(1025)),
            Code::InvalidArgument,
            "`cache_salt`: has 1025 bytes, expected at most 1024",
        ),
        (
            |r| r.model = "other".into(),
            Code::NotFound,
            "the model `other` does not exist; this server serves `demo`",
        ),
        (
            |r| r.model = "\u{1f40c}".repeat(100_000),
            Code::NotFound,
            "the model `\u{1f40c}\u{1f40c}",
        ),
        (
            |r| r.prompt = None,
            Code::InvalidArgument,
            "prompt is empty",
        ),
        (
            |r| r.prompt = Some(generate_request::Prompt::Text(String::new())),
            Code::InvalidArgument,
            "prompt is empty",
        ),
        (
            |r| *r = continuing(&[8192], 1),
            Code::InvalidArgument,
            "`prompt`: token id 8192 is outside the vocabulary of 8192",
        ),
        (
            |r| *r = continuing(&[5], support::MAX_MODEL_LEN as u32),
            Code::InvalidArgument,
            "256 tokens, but the request needs 257 (1 in the prompt, 256 for the output)",
        ),
        (
            |r| *r = continuing(&[5], 0),
            Code::InvalidArgument,
            "`max_new_tokens`: is 0",
        ),
        (
            |r| r.stopping.as_mut().unwrap().stop_strings = vec![String::new()],
            Code::InvalidArgument,
            "`stop_strings`: holds an empty string",
        ),
        (
            |r| r.temperature = Some(f32::NAN),
            Code::InvalidArgument,
            "`temperature`: is NaN",
        ),
        (
            |r| {
                r.speculation = Some(SpeculationOptions {
                    drafter: Some("oracle".into()),
                    ..Default::default()
                });
            },
            Code::InvalidArgument,
            "`drafter`: is `oracle`, expected `none` or one of: trigram, lookup",
        ),
        (
            |r| r.prediction = Some(" the".repeat(300)),
            Code::InvalidArgument,
            "`prediction`: has 300 tokens, expected at most 256",
        ),
        (
            |r| r.prediction = Some("x".repeat(1 << 20)),
            Code::InvalidArgument,
            "`prediction`: has at least ",
        ),
        (
            |r| r.request_id = "a\nb".into(),
            Code::InvalidArgument,
            r#"`request_id`: is "a\nb""#,
        ),
        (
            |r| r.request_id = "a".repeat(257),
            Code::InvalidArgument,
            "`request_id`: has 257 bytes, expected at most 256",
        ),
        (
            |r| r.request_id = "ü".into(),
            Code::InvalidArgument,
            "`request_id`: is \"ü\", expected printable ASCII",
        ),
        (
            |r| r.prompt = Some(generate_request::Prompt::Text("a".repeat(16 << 20))),
            Code::OutOfRange,
            "the limit is: 16777216 bytes",
        ),
    ];
    for (spoil, code, says) in cases {
        let mut request = continuing(&[5, 6], 3);
        spoil(&mut request);
        assert_refused(&served, request, code, says).await;
    }
}

#[tokio::test]
async fn a_malformed_timeout_is_refused() {
    let (frontend, _inbox) = support::frontend(4);
    let served = serve(frontend, None).await;
    let mut call = Request::new(continuing(&[5], 3));
    let metadata = call.metadata_mut();
    metadata.insert("grpc-timeout", "soon".parse().unwrap());
    let refused = served.client().generate(call).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("soon"), "{refused}");
}

#[tokio::test]
async fn a_full_queue_a_draining_server_and_a_dead_engine_refuse() {
    let (frontend, mut inbox) = support::frontend(1);
    let served = serve(frontend.clone(), None).await;
    let mut client = served.client();
    let waiting = client.generate_stream(continuing(&[5], 3)).await.unwrap();
    assert_refused(
        &served,
        continuing(&[5], 3),
        Code::ResourceExhausted,
        "the queue is full: 0 of 1 places are free",
    )
    .await;

    drop((waiting, inbox.recv().await));
    frontend.drain();
    let says = "shutting down";
    assert_refused(&served, continuing(&[5], 3), Code::Unavailable, says).await;

    drop(inbox);
    let says = "the engine has failed";
    assert_refused(&served, continuing(&[5], 3), Code::Internal, says).await;
}

#[tokio::test]
async fn inference_asks_for_the_key_and_nothing_else_does() {
    let (frontend, inbox) = support::frontend(4);
    support::echo(inbox, Duration::ZERO);
    let served = serve(frontend, Some("geheim")).await;
    for (authorization, code) in [
        (None, Code::Unauthenticated),
        (Some("Bearer falsch"), Code::Unauthenticated),
        (Some("geheim"), Code::Unauthenticated),
        (Some("Bearer geheim"), Code::Ok),
    ] {
        let mut call = Request::new(continuing(&[5], 3));
        if let Some(authorization) = authorization {
            let metadata = call.metadata_mut();
            metadata.insert("authorization", authorization.parse().unwrap());
        }
        let answer = served.client().generate(call).await;
        let answered = answer.map_or_else(|status| status.code(), |_| Code::Ok);
        assert_eq!(answered, code, "{authorization:?}");
    }
    assert_eq!(served.health().await, [ServingStatus::Serving; 2]);
    assert_eq!(
        services(&served).await,
        [
            "foretoken.v1.Inference",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
        ]
    );
}

/// What reflection lists, sorted.
async fn services(served: &Served) -> Vec<String> {
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut responses = ServerReflectionClient::new(served.channel.clone())
        .server_reflection_info(tokio_stream::once(list))
        .await
        .unwrap()
        .into_inner();
    let response = responses.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = response.message_response else {
        panic!("{response:?}");
    };
    let mut names: Vec<String> = list.service.into_iter().map(|s| s.name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn every_outcome_carries_the_request_id() {
    let (frontend, inbox) = support::frontend(4);
    support::echo(inbox, Duration::ZERO);
    let served = serve(frontend, None).await;
    let refused = continuing(&[5], 0);
    for (field, metadata, echoed) in [
        ("", None, None),
        ("", Some("from-metadata"), Some("from-metadata")),
        ("from-field", None, Some("from-field")),
        ("from-field", Some("from-metadata"), Some("from-field")),
    ] {
        for request in [&refused, &continuing(&[5], 3)] {
            let mut call = Request::new(request.clone());
            call.get_mut().request_id = field.to_owned();
            if let Some(id) = metadata {
                let metadata = call.metadata_mut();
                metadata.insert("x-request-id", id.parse().unwrap());
            }
            let outcome = served.client().generate(call).await;
            let metadata = match &outcome {
                Ok(response) => response.metadata(),
                Err(status) => status.metadata(),
            };
            let id = metadata.get("x-request-id").unwrap().to_str().unwrap();
            match echoed {
                Some(echoed) => assert_eq!(id, echoed),
                None => assert!(uuid::Uuid::parse_str(id).is_ok(), "{id}"),
            }
        }
    }
}
