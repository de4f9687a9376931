//! What goes in arrives, and what comes out is complete.

use std::collections::BTreeMap;
use std::time::Duration;

use foretoken_model::SamplingParams;
use foretoken_proto::v1::finish_info::{FinishReason, StopReason};
use foretoken_proto::v1::{
    DecodingParameters, FinishInfo, GenerateRequest, KvCacheParameters, PromptInfo, RandomSampling,
    ResponseOptions, SequenceOutput, SpeculationOptions, SpeculationStats, StoppingCriteria,
    generate_request,
};
use foretoken_server::request::{Finish, Speculation, Stopping};

use crate::{continuing, event, serve, streamed, support, unary};

#[tokio::test]
async fn a_stream_strung_together_is_the_unary_answer() {
    let (frontend, inbox) = support::frontend(4);
    support::echo(inbox, Duration::ZERO);
    let served = serve(frontend, None).await;
    let mut text = continuing(&[], 30);
    text.prompt = Some(generate_request::Prompt::Text("Once upon a time".into()));
    let mut stop = text.clone();
    stop.stopping.as_mut().unwrap().stop_strings = vec![" time".into()];
    for mut request in [text, stop, continuing(&[5, 6, 7, 8], 1)] {
        request.sampling.get_or_insert_default().seed = Some(7);
        let whole = unary(&served, request.clone()).await.unwrap();
        let pieces = streamed(&served, request).await.unwrap();

        let outputs: Vec<SequenceOutput> = (pieces.iter())
            .map(|piece| piece.outputs.clone().unwrap())
            .collect();
        let joined = SequenceOutput {
            text: outputs.iter().map(|output| &*output.text).collect(),
            num_tokens: outputs.iter().map(|output| output.num_tokens).sum(),
            token_ids: outputs.iter().flat_map(|o| &o.token_ids).copied().collect(),
            finish_info: outputs.last().unwrap().finish_info.clone(),
            ..Default::default()
        };
        assert_eq!(Some(joined), whole.outputs);
        assert_eq!(pieces[0].prompt_info, whole.prompt_info);
        assert!(whole.prompt_info.is_some());
        assert!(pieces[1..].iter().all(|piece| piece.prompt_info.is_none()));
        let (last, before) = outputs.split_last().unwrap();
        assert!(last.finish_info.is_some());
        assert!(before.iter().all(|output| output.finish_info.is_none()));
    }
}

#[tokio::test]
async fn text_goes_as_far_as_asked() {
    let (frontend, inbox) = support::frontend(4);
    support::echo(inbox, Duration::ZERO);
    let served = serve(frontend, None).await;
    let all = "Once upon a time<|im_end|>";
    type Ask = fn(&mut StoppingCriteria, &mut ResponseOptions);
    let cases: [(Ask, &str); 5] = [
        (|_, _| {}, "Once upon a time"),
        (
            |_, response| response.skip_special_tokens = Some(false),
            all,
        ),
        (|_, response| response.output_text = Some(false), ""),
        (
            |stopping, _| stopping.stop_strings = vec!["pon a".into()],
            "Once u",
        ),
        (
            |stopping, _| {
                stopping.stop_strings = vec!["pon a".into()];
                stopping.include_stop_strings = true;
            },
            "Once upon a",
        ),
    ];
    for (ask, text) in cases {
        let mut request = continuing(&[], 5);
        request.prompt = Some(generate_request::Prompt::Text(all.into()));
        let GenerateRequest {
            stopping, response, ..
        } = &mut request;
        ask(stopping.as_mut().unwrap(), response.as_mut().unwrap());
        let output = unary(&served, request).await.unwrap().outputs.unwrap();
        assert_eq!(output.text, text);
    }
}

#[tokio::test]
async fn an_answer_tells_what_was_asked_for() {
    let (frontend, inbox) = support::frontend(4);
    support::echo(inbox, Duration::ZERO);
    let served = serve(frontend, None).await;
    // Prompt ids, output ids.
    for (prompt, output) in [(false, false), (true, false), (false, true)] {
        let mut request = continuing(&[5, 6], 3);
        request.sampling.get_or_insert_default().seed = Some(u64::MAX);
        request.response = Some(ResponseOptions {
            prompt_token_ids: prompt,
            output_token_ids: output,
            output_text: Some(false),
            ..Default::default()
        });
        let answer = unary(&served, request).await.unwrap();
        let prompt_ids: &[u32] = if prompt { &[5, 6] } else { &[] };
        let output_ids: &[u32] = if output { &[5, 6, 5] } else { &[] };
        assert_eq!(
            answer.prompt_info.unwrap(),
            PromptInfo {
                num_prompt_tokens: 2,
                token_ids: prompt_ids.to_vec(),
                seed: u64::MAX,
            }
        );
        let output = answer.outputs.unwrap();
        assert_eq!((output.num_tokens, &*output.text), (3, ""));
        assert_eq!(output.token_ids, output_ids);
    }
}

#[tokio::test]
async fn an_answer_tells_who_drafted() {
    let (frontend, inbox) = support::frontend(4);
    support::echo(inbox, Duration::ZERO);
    let served = serve(frontend, None).await;
    let drafted = |drafter: &str| SpeculationStats {
        drafter: drafter.to_owned(),
        drafts: 3,
        draft_tokens: 6,
        accepted_tokens: 6,
        accepted_per_pos: vec![3, 3],
        mean_acceptance_length: 3.0,
        ..Default::default()
    };
    let plain = SpeculationStats {
        drafter: "none".to_owned(),
        accepted_per_pos: vec![0, 0],
        mean_acceptance_length: 1.0,
        ..Default::default()
    };
    for (drafter, stats) in [
        (None, drafted("trigram")),
        (Some("lookup"), drafted("lookup")),
        (Some("none"), plain),
    ] {
        let mut request = continuing(&[5, 6], 9);
        request.speculation.get_or_insert_default().drafter = drafter.map(str::to_owned);
        request.sampling.get_or_insert_default().seed = Some(7);
        let output = unary(&served, request).await.unwrap().outputs.unwrap();
        let finish_info = FinishInfo {
            num_output_tokens: 9,
            finish_reason: FinishReason::Length.into(),
            stop_reason: None,
            num_cached_tokens: Some(0),
            speculation: Some(stats),
            seed: 7,
        };
        assert_eq!(output.finish_info, Some(finish_info));
    }
}

#[tokio::test]
async fn an_answer_tells_why_it_ended() {
    let (frontend, mut inbox) = support::frontend(4);
    let served = serve(frontend, None).await;
    for (finish, reason, stop) in [
        (Finish::Length, FinishReason::Length, None),
        (
            Finish::Eos(2),
            FinishReason::Stop,
            Some(StopReason::EosTokenId(2)),
        ),
        (
            Finish::StopToken(9),
            FinishReason::Stop,
            Some(StopReason::StopTokenId(9)),
        ),
        (
            Finish::StopString("end".into()),
            FinishReason::Stop,
            Some(StopReason::StopString("end".into())),
        ),
    ] {
        let engine = async {
            let request = inbox.recv().await.unwrap();
            request.events.send(event(9, Some(finish))).await.unwrap();
        };
        let (answer, ()) = tokio::join!(unary(&served, continuing(&[5], 3)), engine);
        let info = answer.unwrap().outputs.unwrap().finish_info.unwrap();
        assert_eq!(info.finish_reason(), reason);
        assert_eq!(info.stop_reason, stop);
        assert_eq!(info.num_output_tokens, 1);
    }
}

#[tokio::test]
async fn every_field_reaches_the_engine_and_zero_is_not_absent() {
    let (frontend, mut inbox) = support::frontend(4);
    let predicted = (frontend.model().tokenizer)
        .encode("Once upon a time", false)
        .unwrap();
    let served = serve(frontend, None).await;
    let full = GenerateRequest {
        model: "demo".into(),
        temperature: Some(0.5),
        sampling: Some(RandomSampling {
            top_k: Some(4),
            top_p: Some(0.75),
            min_p: Some(0.25),
            seed: Some(0),
            num_sequences: Some(1),
        }),
        decoding: Some(DecodingParameters {
            presence_penalty: Some(1.0),
            frequency_penalty: Some(-1.0),
            repetition_penalty: Some(1.5),
            logit_bias: BTreeMap::from([(8, 1.0), (3, -2.0)]),
        }),
        stopping: Some(StoppingCriteria {
            max_new_tokens: Some(3),
            stop_token_ids: vec![11],
            ignore_eos: true,
            ..Default::default()
        }),
        priority: Some(-3),
        kv: Some(KvCacheParameters {
            cache_salt: Some("s".into()),
        }),
        speculation: Some(SpeculationOptions {
            drafter: Some("lookup".into()),
            max_draft_tokens: Some(8),
            min_draft_tokens: Some(2),
            max_draft_depth: Some(5),
        }),
        prediction: Some("Once upon a time".into()),
        ..continuing(&[5, 6], 0)
    };
    let mut zero = continuing(&[5, 6], 3);
    zero.speculation.get_or_insert_default().max_draft_tokens = Some(0);
    zero.sampling.get_or_insert_default().seed = Some(0);
    let stopping = Stopping {
        max_tokens: 3,
        stop_token_ids: Vec::new(),
        ignore_eos: false,
    };
    let speculation = Speculation {
        drafter: None,
        max_draft_tokens: 0,
        min_draft_tokens: 0,
        max_draft_depth: 63,
    };
    for (wire, rank, predicted, sampling, stopping, speculation) in [
        (
            full,
            (-3, Some("s")),
            predicted,
            SamplingParams {
                temperature: 0.5,
                top_k: 4,
                top_p: 0.75,
                min_p: 0.25,
                presence_penalty: 1.0,
                frequency_penalty: -1.0,
                repetition_penalty: 1.5,
                logit_bias: vec![(3, -2.0), (8, 1.0)],
                seed: 0,
            },
            Stopping {
                stop_token_ids: vec![11],
                ignore_eos: true,
                ..stopping.clone()
            },
            Speculation {
                drafter: Some("lookup"),
                max_draft_tokens: 8,
                min_draft_tokens: 2,
                max_draft_depth: 5,
            },
        ),
        (
            zero,
            (0, None),
            Vec::new(),
            SamplingParams::greedy(),
            stopping,
            speculation,
        ),
    ] {
        let engine = async {
            let request = inbox.recv().await.unwrap();
            let last = event(5, Some(Finish::Length));
            request.events.send(last).await.unwrap();
            request
        };
        let (answer, request) = tokio::join!(unary(&served, wire), engine);
        answer.unwrap();
        assert_eq!(request.prompt, [5, 6]);
        assert_eq!((request.priority, request.cache_salt.as_deref()), rank);
        assert_eq!(request.prediction[..], predicted);
        assert_eq!(request.sampling, sampling);
        assert_eq!(request.stopping, stopping);
        assert_eq!(request.speculation, speculation);
    }
}

#[tokio::test]
async fn a_request_without_a_seed_is_told_the_one_it_got() {
    let (frontend, mut inbox) = support::frontend(4);
    let served = serve(frontend, None).await;
    let engine = async {
        let request = inbox.recv().await.unwrap();
        let last = event(5, Some(Finish::Length));
        request.events.send(last).await.unwrap();
        request.sampling.seed
    };
    let (answer, seed) = tokio::join!(unary(&served, continuing(&[5], 3)), engine);
    assert_eq!(answer.unwrap().prompt_info.unwrap().seed, seed);
}
