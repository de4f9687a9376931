//! Several sequences for one request, and how likely their tokens were.

use std::time::Duration;

use foretoken_proto::v1::{
    CandidateTokenInfo, CandidateTokens, GenerateRequest, SequenceOutput, TokenInfo,
};
use foretoken_server::choices::choice_seed;
use tonic::Code;

use crate::{Served, continuing, serve, streamed, support, unary};

async fn echoing() -> Served {
    let (frontend, inbox) = support::frontend(8);
    support::echo(inbox, Duration::ZERO);
    serve(frontend, None).await
}

fn asking(num_sequences: Option<u32>, seed: u64) -> GenerateRequest {
    let mut request = continuing(&[5, 6, 7, 8], 7);
    let sampling = request.sampling.get_or_insert_default();
    (sampling.num_sequences, sampling.seed) = (num_sequences, Some(seed));
    request
}

#[tokio::test]
async fn sequences_are_told_apart_by_index() {
    let served = echoing().await;
    for (asked, num_sequences) in [(None, 1), (Some(1), 1), (Some(3), 3)] {
        let whole = unary(&served, asking(asked, 9)).await.unwrap();
        let whole: Vec<SequenceOutput> = whole
            .outputs
            .into_iter()
            .chain(whole.more_outputs)
            .collect();
        assert_eq!(whole.len(), num_sequences);
        let pieces = streamed(&served, asking(asked, 9)).await.unwrap();
        assert!(pieces[0].prompt_info.is_some());
        assert!(pieces[1..].iter().all(|piece| piece.prompt_info.is_none()));
        assert!(pieces.iter().all(|piece| piece.more_outputs.is_empty()));
        for (index, whole) in whole.iter().enumerate() {
            let pieces = pieces.iter().flat_map(|piece| &piece.outputs);
            let mut pieces = pieces.filter(|output| output.index as usize == index);
            let tokens: Vec<u32> = pieces
                .clone()
                .flat_map(|output| output.token_ids.clone())
                .collect();
            assert_eq!((whole.index as usize, &whole.token_ids), (index, &tokens));
            let finish = pieces.next_back().unwrap().finish_info.clone();
            assert_eq!(finish, whole.finish_info);
            let finish = finish.unwrap();
            assert_eq!(
                (finish.num_output_tokens, finish.seed),
                (7, choice_seed(9, index))
            );
        }
    }
}

#[tokio::test]
async fn log_probabilities_stand_beside_their_tokens() {
    let served = echoing().await;
    let info = |token: u32, num_top: usize| {
        let top = support::logprobs(token, num_top).top;
        let tokens = top.into_iter().zip(1..);
        CandidateTokenInfo {
            tokens: tokens
                .map(|((id, logprob), rank)| TokenInfo { id, logprob, rank })
                .collect(),
        }
    };
    for (output_logprobs, candidates) in [
        (false, None),
        (true, None),
        (false, Some(3)),
        (true, Some(20)),
    ] {
        let mut request = asking(None, 9);
        let options = request.response.get_or_insert_default();
        options.output_logprobs = output_logprobs;
        options.output_candidates = candidates.map(|top_n| CandidateTokens { top_n: Some(top_n) });
        let whole = unary(&served, request.clone())
            .await
            .unwrap()
            .outputs
            .unwrap();
        let mut pieces = streamed(&served, request).await.unwrap();
        pieces.push(foretoken_proto::v1::GenerateResponse {
            outputs: Some(whole),
            ..Default::default()
        });
        for output in pieces.into_iter().flat_map(|piece| piece.outputs) {
            let num_told = if output_logprobs {
                output.token_ids.len()
            } else {
                0
            };
            assert_eq!(output.logprobs, vec![-1.0; num_told]);
            assert_eq!(output.ranks, vec![1; num_told]);
            let expected: Vec<CandidateTokenInfo> = match candidates {
                None => Vec::new(),
                Some(num_top) => (output.token_ids.iter())
                    .map(|&token| info(token, num_top as usize))
                    .collect(),
            };
            assert_eq!(output.candidate_tokens, expected);
        }
    }
}

#[tokio::test]
async fn too_much_is_refused() {
    let served = echoing().await;
    for (num_sequences, top_n, says) in [
        (Some(0), 0, "`num_sequences`: is 0, expected 1 to 128"),
        (Some(129), 0, "`num_sequences`: is 129, expected 1 to 128"),
        (
            Some(9),
            0,
            "needs 9 places, one for each answer, but there are 8",
        ),
        (Some(1), 21, "`top_n`: is 21, expected 0 to 20"),
    ] {
        let mut request = asking(num_sequences, 9);
        let options = request.response.get_or_insert_default();
        options.output_candidates = Some(CandidateTokens { top_n: Some(top_n) });
        let refused = unary(&served, request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(says), "{refused}");
    }
}
