//! The drafter `model`: a target that drafts for itself is always right, so a key or a value that is not the sequence's
//! own would be found out here; and a draft model that is broken costs its drafts, nothing else.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;

use candle_core::{Device, Tensor};
use foretoken_draft::{Drafter, ModelDrafter, Shape};
use foretoken_model::{Dtype, LoadOptions, LoadedModel, ModelSource, SamplingParams, Token};
use foretoken_server::config::{self, Command};
use foretoken_server::engine::BLOCK_SIZE;
use foretoken_server::launch::drafters_of;

use crate::support::{Answer, Ask, Prophecy, Prophet, Setup, answers, stories};

/// What the model that drafts for itself says comes, and nothing else.
const CHAIN: Shape = Shape::Fixed(&[&[1], &[1], &[1], &[1], &[1]]);
const BUDGET: usize = 5;
const NUM_TOKENS: usize = 40;
const TEMPERATURES: [f32; 4] = [0.0, 0.7, 1.0, 1.3];

fn model(source: &ModelSource, max_model_len: Option<usize>) -> LoadedModel {
    let options = LoadOptions {
        dtype: Dtype::Float32,
        max_model_len,
        ..LoadOptions::default()
    };
    LoadedModel::load(source, options, &Device::Cpu).unwrap()
}

fn drafter(source: &ModelSource, max_model_len: Option<usize>, shape: Shape) -> Box<dyn Drafter> {
    let llama = model(source, max_model_len).llama;
    Box::new(ModelDrafter::with_shape(llama, BLOCK_SIZE, shape))
}

fn itself() -> Box<dyn Drafter> {
    drafter(&stories(), None, CHAIN)
}

fn setup() -> Setup {
    Setup::new(stories(), Dtype::Float32)
}

/// Prompts of 1 to 100 tokens; the second half begins as the first does.
fn asks(temperature: f32) -> Vec<Ask> {
    let token = |index: usize| 260 + (index * index % 211) as Token;
    let prompts = [1, 2, 17, 33, 100, 16, 34, 17].map(|len| (0..len).map(token).collect());
    let ask = |(seed, prompt): (u64, Vec<Token>)| {
        let sampling = SamplingParams {
            temperature,
            seed,
            ..SamplingParams::greedy()
        };
        Ask::new(prompt, sampling, NUM_TOKENS)
    };
    (0..).zip(prompts).map(ask).collect()
}

/// What plain decoding says to each.
fn plain(asks: &[Ask]) -> Vec<Answer> {
    let mut engine = setup().engine(Vec::new());
    (asks.iter())
        .map(|ask| answers(&mut engine, vec![ask.clone()]).remove(0))
        .collect()
}

fn drafted(asks: &[Ask], budget: usize) -> Vec<Ask> {
    let drafted = |ask: &Ask| ask.clone().drafted(Some("model"), budget);
    asks.iter().map(drafted).collect()
}

fn assert_same(got: &[Answer], plain: &[Answer], case: &str) {
    for (index, (got, plain)) in got.iter().zip(plain).enumerate() {
        assert_eq!(got.tokens, plain.tokens, "{case}, request {index}");
    }
}

/// Every draft is kept, and as many are drafted as there may be.
fn assert_always_right(got: &Answer, case: &str) {
    let stats = &got.stats;
    assert_eq!(stats.num_accepted_tokens, stats.num_draft_tokens, "{case}");
    assert_eq!(stats.num_steps, NUM_TOKENS.div_ceil(BUDGET + 1), "{case}");
}

#[test]
fn a_target_that_drafts_for_itself_is_always_right() {
    for temperature in TEMPERATURES {
        let asks = asks(temperature);
        let plain = plain(&asks);
        let few_blocks = Setup {
            num_blocks: 30,
            ..setup()
        };
        let chunks = Setup {
            max_prefill_chunk: 7,
            ..setup()
        };
        let no_cache = Setup {
            enable_prefix_caching: false,
            ..setup()
        };
        for (name, setup) in [
            ("plenty", setup()),
            ("preempted", few_blocks),
            ("chunked", chunks),
            ("no cache", no_cache),
        ] {
            let mut engine = setup.engine(vec![itself()]);
            // The second time, prompts are found in the cache.
            for round in 0..2 {
                let case = format!("{name} at {temperature}, round {round}");
                let got = answers(&mut engine, drafted(&asks, BUDGET));
                assert_same(&got, &plain, &case);
                got.iter().for_each(|got| assert_always_right(got, &case));
            }
        }
    }
}

#[test]
fn what_others_left_in_the_blocks_is_not_taken_for_its_own() {
    let asks = asks(1.0);
    let plain = plain(&asks);
    let whole = |(ask, answer): (&Ask, &Answer)| [&ask.prompt[..], &answer.tokens].concat();
    let sequences: Vec<Vec<Token>> = asks.iter().zip(&plain).map(whole).collect();
    // Its paths stand among decoys, so that accepted rows are moved, in the draft model's layers too.
    let hidden = Prophet {
        name: "hidden",
        prophecy: Prophecy::Hidden,
        sequences,
        vocab_size: 512,
    };
    let setup = Setup {
        num_blocks: 16,
        ..setup()
    };
    let mut engine = setup.engine(vec![itself(), Box::new(hidden)]);
    let drafters = [Some("model"), Some("hidden"), None];
    for round in 0..60 {
        let pick = |place: usize| (round * 5 + place * 3 + round * round % 7) % asks.len();
        let picked = [pick(0), pick(1)];
        let drafter = |place: usize| drafters[(round / 2 + place + round % 2 * 2) % 3];
        let asks = (0..2).map(|place| {
            let budget = if drafter(place).is_some() { BUDGET } else { 0 };
            asks[picked[place]].clone().drafted(drafter(place), budget)
        });
        let got = answers(&mut engine, asks.collect());
        for (place, got) in got.iter().enumerate() {
            let case = format!("round {round}, request {}", picked[place]);
            assert_eq!(got.tokens, plain[picked[place]].tokens, "{case}");
            if drafter(place) == Some("model") {
                assert_always_right(got, &case);
            }
        }
    }
}

#[test]
fn a_prompt_that_is_too_long_for_one_step_is_read_in_several() {
    let mut ask = asks(0.7).remove(4);
    ask.prompt = ask.prompt.repeat(4);
    let plain = plain(std::slice::from_ref(&ask));
    let mut engine = setup().engine(vec![itself()]);
    let got = answers(&mut engine, drafted(&[ask], BUDGET));
    assert_same(&got, &plain, "400 tokens");
    let stats = &got[0].stats;
    // Nothing is drafted at the first token, which the draft model has not come to yet.
    assert_eq!(stats.num_steps, 1 + (NUM_TOKENS - 1).div_ceil(BUDGET + 1));
    assert_eq!(stats.num_accepted_tokens, stats.num_draft_tokens);
}

#[test]
fn trees_hold_what_comes_and_more() {
    for temperature in TEMPERATURES {
        let asks = asks(temperature);
        let plain = plain(&asks);
        for budget in [1, 4, 16, 63] {
            let mut engine = setup().engine(vec![drafter(&stories(), None, Shape::Dynamic)]);
            let got = answers(&mut engine, drafted(&asks, budget));
            let case = format!("{budget} nodes at {temperature}");
            assert_same(&got, &plain, &case);
            for got in got {
                let stats = got.stats;
                // What the sampler would say stands first below the root.
                assert_eq!(stats.accepted_per_pos[0], stats.num_drafts, "{case}");
                assert!(stats.num_draft_tokens >= stats.num_accepted_tokens);
            }
        }
    }
}

#[test]
fn a_draft_model_of_a_shorter_context_drafts_as_far_as_it_goes() {
    let asks = asks(0.7);
    let plain = plain(&asks);
    let mut engine = setup().engine(vec![drafter(&stories(), Some(50), CHAIN)]);
    let got = answers(&mut engine, drafted(&asks, BUDGET));
    assert_same(&got, &plain, "50 positions");
    for (got, ask) in got.iter().zip(&asks) {
        let stats = &got.stats;
        assert_eq!(stats.num_accepted_tokens, stats.num_draft_tokens);
        let is_short = ask.prompt.len() <= 50;
        assert_eq!(stats.num_draft_tokens > 0, is_short, "{}", ask.prompt.len());
        // Position 50 can be guessed, since the one before it is in the draft model's reach.
        let num_drafted = 51_usize.saturating_sub(ask.prompt.len());
        assert!(stats.num_draft_tokens <= num_drafted);
    }
}

/// The tiny model with its weights changed, in a folder.
fn changed(folder: &Path, change: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> ModelSource {
    let ModelSource::Directory(from) = stories() else {
        unreachable!("it lies in a folder")
    };
    for file in ["config.json", "tokenizer.json"] {
        std::fs::copy(from.join(file), folder.join(file)).unwrap();
    }
    let weights = from.join("model.safetensors");
    let weights = candle_core::safetensors::load(weights, &Device::Cpu).unwrap();
    let weights: HashMap<String, Tensor> = (weights.into_iter())
        .map(|(name, tensor)| (name, change(&tensor).unwrap()))
        .collect();
    candle_core::safetensors::save(&weights, folder.join("model.safetensors")).unwrap();
    ModelSource::Directory(folder.to_owned())
}

#[test]
fn a_draft_model_can_cost_its_drafts_and_nothing_else() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let not_a_number = changed(folders[0].path(), |tensor| tensor * f64::NAN);
    let infinite = changed(folders[1].path(), |tensor| tensor * f64::from(f32::MAX));
    let random = changed(folders[2].path(), |tensor| tensor.randn_like(0.0, 0.1));
    for (name, source, drafts) in [
        ("NaN", not_a_number, false),
        ("infinite", infinite, false),
        ("random", random, true),
    ] {
        for temperature in [0.0, 1.0] {
            let asks = asks(temperature);
            let mut engine = setup().engine(vec![drafter(&source, None, Shape::Dynamic)]);
            let got = answers(&mut engine, drafted(&asks, 16));
            assert_same(&got, &plain(&asks), name);
            let num_drafts: usize = got.iter().map(|got| got.stats.num_drafts).sum();
            assert_eq!(num_drafts > 0, drafts, "{name}");
        }
    }
}

#[test]
fn a_draft_model_of_another_vocabulary_is_refused_with_the_first_token_that_differs() {
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/stories260K");
    let drafters = |line: &str| {
        let line = ["foretoken", "serve", "--draft-model"]
            .into_iter()
            .chain(line.split(' '));
        let Ok(Command::Serve(config)) = config::parse(line.map(OsString::from)) else {
            panic!("a line that serves");
        };
        drafters_of(&config.engine).map_err(|error| error.to_string())
    };
    let Err(error) = drafters(tiny) else {
        panic!("its vocabulary is another");
    };
    let tokens = r#"token 0 is "<unk>", the model's is "<|endoftext|>""#;
    assert!(error.contains(tiny) && error.contains(tokens), "{error}");
    let Err(error) = drafters("/not/there") else {
        panic!("there is no such model");
    };
    assert!(error.contains("/not/there"), "{error}");
    let named = drafters(&format!("{tiny} --model {tiny}")).expect("its own vocabulary");
    assert!(named.iter().any(|drafter| drafter.name() == "model"));
}
