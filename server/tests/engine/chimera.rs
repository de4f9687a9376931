//! The drafter `chimera` with networks that were never trained: they cost speed and nothing else.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor, safetensors};
use foretoken_draft::chimera::{ChimeraConfig, Form};
use foretoken_draft::{Chimera, Drafter, Shape};
use foretoken_model::{Dtype, Llama, LoadOptions, LoadedModel, ModelSource, SamplingParams, Token};
use foretoken_server::config::{Command, parse};
use foretoken_server::launch::drafters_of;
use tempfile::TempDir;

use crate::support::{Answer, Ask, Setup, answers, stories};

/// What a network's weights are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Network {
    /// Arbitrary, of the lean form.
    Lean,
    /// Arbitrary, of the published form, over a part of the vocabulary.
    Faithful,
    /// No numbers.
    Spoilt,
}

pub(crate) const NETWORKS: [Network; 3] = [Network::Lean, Network::Faithful, Network::Spoilt];

/// A drafter for a model that is loaded with this dtype.
pub(crate) fn chimera(source: &ModelSource, dtype: Dtype, network: Network) -> Chimera {
    let target = load(source, dtype);
    let directory = TempDir::new().expect("a folder");
    write(directory.path(), &target, network);
    let shape = match network {
        Network::Faithful => Shape::PUBLISHED,
        _ => Shape::Dynamic,
    };
    let folder = ModelSource::Directory(directory.path().to_owned());
    Chimera::load(&folder, &target, shape).expect("the network loads")
}

fn load(source: &ModelSource, dtype: Dtype) -> Llama {
    let options = LoadOptions {
        dtype,
        ..LoadOptions::default()
    };
    let model = LoadedModel::load(source, options, &Device::Cpu);
    model.expect("the model loads").llama
}

fn write(directory: &Path, target: &Llama, network: Network) {
    let form = match network {
        Network::Faithful => Form::Faithful,
        Network::Lean | Network::Spoilt => Form::Lean,
    };
    let mut config = ChimeraConfig::of_target(target.config(), target.fingerprint(), form, 2);
    config.trigram_size = 32;
    config.draft_vocab_size = matches!(network, Network::Faithful).then_some(200);
    let mut state = 1_u32;
    let mut value = |scale: f32| {
        state = state.wrapping_mul(0x9e37_79b1).wrapping_add(0x7f4a_7c15);
        match network {
            Network::Spoilt => f32::NAN,
            _ => scale * (state as f32 / (1_u32 << 31) as f32 - 1.0),
        }
    };
    let weight = |(name, shape): (String, Vec<usize>)| {
        let scale = 1.5 / (shape[shape.len() - 1] as f32).sqrt();
        let len = shape.iter().product();
        let values: Vec<f32> = (0..len).map(|_| value(scale)).collect();
        (
            name,
            Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor"),
        )
    };
    let mut weights: HashMap<_, _> = config.shapes().into_iter().map(weight).collect();
    if let Some(len) = config.draft_vocab_size {
        let tokens = Tensor::arange(5, 5 + len as Token, &Device::Cpu).expect("a tensor");
        weights.insert("draft_vocab".to_owned(), tokens);
    }
    let json = serde_json::to_string(&config).expect("JSON");
    std::fs::write(directory.join("config.json"), json).expect("a file");
    let path = directory.join("model.safetensors");
    safetensors::save(&weights, path).expect("a file");
}

#[test]
fn sequences_that_lose_their_blocks_say_the_same() {
    let ask = |seed: usize| {
        let sampling = SamplingParams {
            temperature: 0.8,
            seed: seed as u64,
            ..SamplingParams::greedy()
        };
        let prompt = (0..20 + 7 * seed).map(|index| 300 + (index * 37 % 200) as Token);
        Ask::new(prompt.collect(), sampling, 150)
    };
    let asks: Vec<Ask> = (0..5).map(ask).collect();
    let roomy = Setup::new(stories(), Dtype::Float32);
    let mut plain = roomy.engine(Vec::new());
    let alone: Vec<Answer> = (asks.iter())
        .map(|ask| answers(&mut plain, vec![ask.clone()]).remove(0))
        .collect();
    for network in NETWORKS {
        for enable_prefix_caching in [false, true] {
            let tight = Setup {
                num_blocks: 30,
                enable_prefix_caching,
                ..roomy.clone()
            };
            let drafter: Box<dyn Drafter> = Box::new(chimera(&tight.source, tight.dtype, network));
            let mut engine = tight.engine(vec![drafter]);
            let drafted: Vec<Ask> = (asks.iter())
                .map(|ask| ask.clone().drafted(Some("chimera"), 8))
                .collect();
            let got = answers(&mut engine, drafted);
            let mut num_draft_tokens = 0;
            for (got, alone) in got.iter().zip(&alone) {
                assert_eq!(got.tokens, alone.tokens, "{network:?}");
                num_draft_tokens += got.stats.num_draft_tokens;
            }
            let drafts = num_draft_tokens > 0;
            assert_eq!(drafts, !matches!(network, Network::Spoilt), "{network:?}");
        }
    }
}

/// The drafters of a server that is started like this, or why there is none.
fn drafters(line: &str) -> Result<Vec<&'static str>, String> {
    let args = ["foretoken"].into_iter().chain(line.split_whitespace());
    match parse(args.map(Into::into)) {
        Ok(Command::Serve(config)) => match drafters_of(&config.engine) {
            Ok(drafters) => Ok(drafters.iter().map(|drafter| drafter.name()).collect()),
            Err(error) => Err(error.to_string()),
        },
        other => panic!("`{line}`: {other:?}"),
    }
}

#[test]
fn a_network_is_named_or_lies_beside_the_model() {
    let ModelSource::Directory(stories) = stories() else {
        panic!("the test's model is a folder");
    };
    let folder = TempDir::new().expect("a folder");
    let copy = folder.path();
    for file in std::fs::read_dir(&stories).expect("the model's files") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), copy.join(file.file_name())).expect("a copy");
    }
    let model = copy.display();
    let refused = |line: String, want: &str| {
        let error = drafters(&line).expect_err(want);
        assert!(error.contains(want), "`{line}`: {error}");
    };
    let drafts = |line: String| drafters(&line).map(|names| names.contains(&"chimera"));
    assert_eq!(drafts(format!("--model {model}")), Ok(false));
    refused(
        format!("--model {model} --drafter chimera"),
        "--chimera DIR",
    );

    let beside = copy.join("chimera");
    std::fs::create_dir(&beside).expect("a folder");
    let missing = "config.json: not found in";
    refused(format!("--model {model} --drafter chimera"), missing);
    let target = load(&ModelSource::Directory(stories.clone()), Dtype::Auto);
    write(&beside, &target, Network::Lean);
    for (line, is_there) in [
        ("--dtype bfloat16", false),
        ("--drafter chimera", true),
        (
            "--drafter chimera --quantization int8 --chimera-tree fixed",
            true,
        ),
    ] {
        assert_eq!(drafts(format!("--model {model} {line}")), Ok(is_there));
    }
    assert_eq!(drafts("--drafter chimera".to_owned()), Ok(true), "carried");
    let (stories, beside) = (stories.display(), beside.display());
    assert_eq!(
        drafts(format!("--model {stories} --chimera {beside}")),
        Ok(true)
    );
    refused(format!("--chimera {model}/nowhere"), missing);
    refused(
        format!("--chimera {beside}"),
        "`hidden_size` is 64, expected the target's 256",
    );
}
