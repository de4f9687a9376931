//! What log probabilities say, apart from being the same whatever drafts, which is the lossless matrix's business.

use crate::support::{Answer, Ask, Setup, answers, stories};
use foretoken_draft::{Drafter, Lookup};
use foretoken_model::{Dtype, Logprobs, SamplingParams, Token};

const BIASED: Token = 300;

fn ask(sampling: SamplingParams, logprobs: Option<usize>) -> Ask {
    Ask {
        logprobs,
        ..Ask::new(vec![1, 403, 407, 261], sampling, 12)
    }
}

fn told(answer: &Answer) -> Vec<Logprobs> {
    let logprobs = answer.emitted.iter().flat_map(|emitted| &emitted.logprobs);
    logprobs.map(|logprobs| (**logprobs).clone()).collect()
}

fn engine() -> foretoken_server::engine::Engine {
    let drafters: Vec<Box<dyn Drafter>> = vec![Box::new(Lookup::default())];
    Setup::new(stories(), Dtype::Float32).engine(drafters)
}

#[test]
fn only_who_asks_is_told_and_as_much_as_asked() {
    let mut engine = engine();
    let asks = [None, Some(0), Some(3), Some(20)];
    let got = answers(
        &mut engine,
        asks.map(|asked| ask(SamplingParams::greedy(), asked))
            .to_vec(),
    );
    for (asked, answer) in asks.iter().zip(&got) {
        let told = told(answer);
        assert_eq!(answer.tokens, got[0].tokens);
        assert_eq!(told.len(), asked.map_or(0, |_| answer.tokens.len()));
        for (token, logprobs) in answer.tokens.iter().zip(&told) {
            // The best token is taken here, so it is the first of the likeliest.
            assert_eq!(Some(logprobs.top.len()), *asked);
            assert_eq!(logprobs.rank, 1);
            let first = (*token, logprobs.chosen);
            assert!(logprobs.top.first().is_none_or(|&top| top == first));
            let total: f32 = logprobs.top.iter().map(|&(_, logprob)| logprob.exp()).sum();
            assert!((0.0..1.0001).contains(&total), "{total}");
        }
    }
}

/// They are the model's, however the request draws: the place of the first token is the same in all.
#[test]
fn neither_bias_nor_penalties_nor_temperature_nor_filters_change_them() {
    let greedy = SamplingParams::greedy();
    let ways = [
        greedy.clone(),
        SamplingParams {
            logit_bias: vec![(BIASED, 100.0)],
            ..greedy.clone()
        },
        SamplingParams {
            temperature: 1.5,
            top_k: 2,
            seed: 3,
            ..greedy.clone()
        },
        SamplingParams {
            repetition_penalty: 1.9,
            presence_penalty: 2.0,
            ..greedy
        },
    ];
    let mut engine = engine();
    let asks = ways.map(|way| ask(way, Some(20)));
    let got = answers(&mut engine, asks.to_vec());
    let first: Vec<Logprobs> = got.iter().map(|answer| told(answer).remove(0)).collect();
    for (answer, logprobs) in got.iter().zip(&first) {
        assert_eq!(logprobs.top, first[0].top);
        assert!(logprobs.rank == 1 || answer.tokens[0] != got[0].tokens[0]);
    }
    assert_eq!(got[1].tokens, [BIASED; 12]);
    assert!(told(&got[1]).iter().all(|logprobs| logprobs.chosen < -1.0));
}
