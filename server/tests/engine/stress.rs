//! The engine under stress: clients that leave, drafters that fail, blocks that run out, outputs that end inside an
//! accepted path. Nobody's neighbours notice, and every block comes back.

use crate::support::{Answer, Ask, Prophecy, Prophet, Setup, answer, answers, finish, stories};
use candle_core::{Result, bail};
use foretoken_draft::{Context, DraftTree, Drafter};
use foretoken_model::{Dtype, SamplingParams, Token};
use foretoken_server::request::Finish;
use proptest::prelude::*;

fn setup() -> Setup {
    Setup::new(stories(), Dtype::Float32)
}

fn sampling(seed: u64) -> SamplingParams {
    SamplingParams {
        temperature: 0.8,
        seed,
        ..SamplingParams::greedy()
    }
}

fn prompt(len: usize) -> Vec<Token> {
    (0..len)
        .map(|index| 300 + (index * 37 % 200) as Token)
        .collect()
}

fn plain(setup: &Setup, ask: &Ask) -> Answer {
    answers(&mut setup.engine(Vec::new()), vec![ask.clone()]).remove(0)
}

fn right(asks: &[Ask], answers: &[Answer]) -> Box<dyn Drafter> {
    let whole =
        |(ask, answer): (&Ask, &Answer)| [ask.prompt.clone(), answer.tokens.clone()].concat();
    let sequences = asks.iter().zip(answers).map(whole).collect();
    Box::new(Prophet {
        name: "right",
        prophecy: Prophecy::Hidden,
        sequences,
        vocab_size: 512,
    })
}

#[test]
fn a_client_that_leaves_frees_its_blocks_wherever_it_is() {
    let setup = Setup {
        max_num_seqs: 2,
        max_prefill_chunk: 8,
        ..setup()
    };
    let asks = [
        Ask::new(prompt(9), sampling(1), 40),
        Ask::new(prompt(100), sampling(2), 40),
        Ask::new(prompt(5), sampling(3), 40),
    ];
    let alone = plain(&setup, &asks[0]);
    // Which of the two others leave, and after how many steps: the second is prefilling until step 13, the third waits.
    for (leaver, num_steps) in [(1, 0), (1, 1), (1, 5), (1, 20), (2, 0), (2, 5), (2, 50)] {
        let mut engine = setup.engine(Vec::new());
        let mut receivers: Vec<_> = asks
            .iter()
            .map(|ask| Some(ask.clone().send(&mut engine)))
            .collect();
        for _ in 0..num_steps {
            engine.step().unwrap();
        }
        receivers[leaver] = None;
        finish(&mut engine);
        assert_eq!(answer(receivers[0].take().unwrap()).tokens, alone.tokens);
        let other = answer(receivers[3 - leaver].take().unwrap());
        assert_eq!(
            (other.tokens.len(), other.finish),
            (40, Some(Finish::Length))
        );
    }
}

/// Breaks its promises in one way.
struct Faulty(&'static str);

impl Drafter for Faulty {
    fn name(&self) -> &'static str {
        self.0
    }

    fn propose(&mut self, contexts: &[Context<'_>]) -> Result<Vec<DraftTree>> {
        let chain = |root: Token, token: Token, len: usize| {
            let mut tree = DraftTree::new(root);
            (0..len).for_each(|node| _ = tree.push(node, token, f32::NAN, self.0));
            tree
        };
        let root = |context: &Context<'_>| *context.tokens.last().unwrap();
        Ok(match self.0 {
            "panics" => panic!("a drafter that panics"),
            "errs" => bail!("a drafter that errs"),
            "none at all" => Vec::new(),
            "too many" => vec![DraftTree::new(0); 2 * contexts.len()],
            "no such token" => contexts
                .iter()
                .map(|context| chain(root(context), 1 << 30, 3))
                .collect(),
            "another root" => contexts
                .iter()
                .map(|context| chain(root(context) + 1, 5, 3))
                .collect(),
            _ => contexts
                .iter()
                .map(|context| chain(root(context), 5, 63))
                .collect(),
        })
    }

    fn forget(&mut self, _seq: foretoken_model::SeqId) {
        assert_ne!(self.0, "panics on forget");
    }
}

#[test]
fn a_drafter_that_fails_costs_its_drafts_and_nothing_else() {
    let faults = [
        "panics",
        "errs",
        "none at all",
        "too many",
        "no such token",
        "another root",
        "too deep",
        "panics on forget",
    ];
    let asks = [
        Ask::new(prompt(9), sampling(1), 20),
        Ask::new(prompt(30), sampling(2), 20),
    ];
    let alone: Vec<Answer> = asks.iter().map(|ask| plain(&setup(), ask)).collect();
    for fault in faults {
        let mut engine = setup().engine(vec![Box::new(Faulty(fault)), right(&asks, &alone)]);
        for _ in 0..2 {
            let drafted = [
                asks[0].clone().drafted(Some(fault), 4),
                asks[1].clone().drafted(Some("right"), 4),
            ];
            let got = answers(&mut engine, drafted.to_vec());
            for (got, alone) in got.iter().zip(&alone) {
                assert_eq!(got.tokens, alone.tokens, "{fault}");
            }
            assert!(
                got[1].stats.num_accepted_tokens > 0,
                "{fault}: the other drafter goes on"
            );
        }
    }
}

#[test]
fn sequences_that_lose_their_blocks_are_computed_again_and_say_the_same() {
    let asks: Vec<Ask> = (0..5)
        .map(|seed| Ask::new(prompt(20 + 7 * seed), sampling(seed as u64), 150))
        .collect();
    let alone: Vec<Answer> = asks.iter().map(|ask| plain(&setup(), ask)).collect();
    // Room for two whole sequences and a little: the others lose theirs again and again.
    let tight = Setup {
        num_blocks: 30,
        ..setup()
    };
    for drafter in [None, Some("right")] {
        let num_rows = [false, true].map(|enable_prefix_caching| {
            let tight = Setup {
                enable_prefix_caching,
                ..tight.clone()
            };
            let mut engine = tight.engine(vec![right(&asks, &alone)]);
            let drafted = asks
                .iter()
                .map(|ask| ask.clone().drafted(drafter, 8))
                .collect();
            for (got, alone) in answers(&mut engine, drafted).iter().zip(&alone) {
                assert_eq!(got.tokens, alone.tokens, "drafted by {drafter:?}");
            }
            engine.num_rows()
        });
        let [computed, cached] = num_rows;
        assert!(
            cached < computed,
            "{cached} rows with the cache, {computed} without"
        );
    }
}

#[test]
fn outputs_end_at_the_first_reason_to_even_inside_an_accepted_path() {
    let ask = Ask::new(prompt(9), sampling(4), 40);
    let whole = plain(&setup(), &ask).tokens;
    let first = |token: Token| whole.iter().position(|&t| t == token).unwrap();
    // A token that comes late, and for the first time there.
    let late = (10..30).find(|&at| first(whole[at]) == at).unwrap();
    let mut by_stop = ask.clone();
    by_stop.stopping.stop_token_ids = vec![whole[late], 511];
    let mut by_length = ask.clone();
    by_length.stopping.max_tokens = 7;
    let cases = [
        (by_stop, late + 1, Finish::StopToken(whole[late])),
        (by_length, 7, Finish::Length),
        (ask.clone(), 40, Finish::Length),
    ];
    for (ask, len, reason) in cases {
        let known = Answer {
            tokens: whole.clone(),
            ..Answer::default()
        };
        for (drafter, budget) in [(None, 0), (Some("right"), 3), (Some("right"), 63)] {
            let mut engine = setup().engine(vec![right(
                std::slice::from_ref(&ask),
                std::slice::from_ref(&known),
            )]);
            let got = answers(&mut engine, vec![ask.clone().drafted(drafter, budget)]).remove(0);
            assert_eq!(got.tokens, whole[..len]);
            assert_eq!(got.finish, Some(reason.clone()));
            let accepted = got
                .emitted
                .iter()
                .filter(|emitted| emitted.source.is_some())
                .count();
            assert_eq!(
                got.stats.num_accepted_tokens, accepted,
                "what lies behind the end is not counted"
            );
        }
    }
}

#[test]
fn the_models_own_end_ends_an_output_unless_asked_otherwise() {
    let mut ask = Ask::new(vec![1], SamplingParams::greedy(), 400);
    ask.stopping.ignore_eos = false;
    let got = plain(&setup(), &ask);
    let Some(Finish::Eos(eos)) = got.finish else {
        panic!("{:?}", got.finish)
    };
    assert_eq!(got.tokens.last(), Some(&eos));
    ask.stopping.ignore_eos = true;
    assert_eq!(plain(&setup(), &ask).tokens.len(), 400);
}

/// A request of the storm: prompt length, tokens, drafter, budget, and the step at which its client leaves.
type Storm = (usize, usize, usize, usize, Option<usize>);

/// Salts of the storm: some share their prefixes.
const SALTS: [Option<&str>; 3] = [None, Some("a"), Some("b")];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn in_any_storm_blocks_come_back_and_texts_stay(
        storm in prop::collection::vec((1usize..60, 1usize..30, 0usize..4, 1usize..64, prop::option::of(0usize..30)), 1..10),
        max_num_seqs in 1usize..5,
        max_prefill_chunk in 1usize..40,
        num_blocks in 12usize..40,
    ) {
        let storm: Vec<Storm> = storm;
        let asks: Vec<Ask> = storm
            .iter()
            .enumerate()
            .map(|(seed, &(len, num_tokens, ..))| Ask {
                priority: seed as i32 % 2,
                cache_salt: SALTS[seed % 3],
                ..Ask::new(prompt(len), sampling(seed as u64), num_tokens)
            })
            .collect();
        let mut calm = setup().engine(Vec::new());
        let alone: Vec<Answer> = asks.iter().map(|ask| answers(&mut calm, vec![ask.clone()]).remove(0)).collect();
        let setup = Setup { max_num_seqs, max_prefill_chunk, num_blocks, ..setup() };
        let mut engine = setup.engine(vec![right(&asks, &alone), Box::new(Faulty("errs")), Box::new(Faulty("too deep"))]);
        let mut receivers: Vec<_> = asks
            .iter()
            .zip(&storm)
            .map(|(ask, &(.., drafter, budget, _))| {
                let drafter = [None, Some("right"), Some("errs"), Some("too deep")][drafter];
                Some(ask.clone().drafted(drafter, budget).send(&mut engine))
            })
            .collect();
        for step in 0..30 {
            for (receiver, (.., leaves)) in receivers.iter_mut().zip(&storm) {
                if *leaves == Some(step) {
                    *receiver = None;
                }
            }
            engine.step().unwrap();
        }
        finish(&mut engine);
        for (receiver, alone) in receivers.into_iter().zip(&alone) {
            if let Some(receiver) = receiver {
                prop_assert_eq!(&answer(receiver).tokens, &alone.tokens);
            }
        }
    }
}
