//! What does not fit is refused, with the numbers.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use foretoken_model::{Dtype, Llama};
use tempfile::TempDir;

use super::{ChimeraConfig, Form, config, load, target, weights, write};
use crate::grow::Shape;

type Weights = HashMap<String, Tensor>;

fn zeros(shape: &[usize], dtype: DType) -> Tensor {
    Tensor::zeros(shape, dtype, &Device::Cpu).unwrap()
}

/// Asserts that such a directory is refused, and that this is said of it.
fn assert_refused(target: &Llama, config: &ChimeraConfig, weights: &Weights, problem: &str) {
    let directory = TempDir::new().unwrap();
    write(directory.path(), config, weights);
    let error = load(&directory, target, Shape::Dynamic)
        .unwrap_err()
        .to_string();
    assert!(error.contains(problem), "{error}");
}

#[test]
fn another_shape_or_target_is_refused() {
    type Change = fn(&mut ChimeraConfig);
    let target = target(Dtype::Auto);
    let cases: [(Change, &str); 9] = [
        (
            |c| c.hidden_size = 65,
            "`hidden_size` is 65, expected the target's 64",
        ),
        (
            |c| c.vocab_size = 500,
            "`vocab_size` is 500, expected the target's 512",
        ),
        (|c| c.head_dim = 16, "`head_dim` is 16"),
        (|c| c.num_key_value_heads = 4, "`num_key_value_heads` is 4"),
        (|c| c.num_heads = 0, "`num_heads` is 0"),
        (
            |c| c.draft_vocab_size = Some(513),
            "`draft_vocab_size` is 513, expected 1 to 512",
        ),
        (
            |c| c.target_fingerprint = "f00".to_owned(),
            "`target_fingerprint` is f00",
        ),
        (
            |c| c.trigram_size = usize::MAX,
            "`trigram_size` is 18446744073709551615",
        ),
        (
            |c| c.trigram_size = 25,
            "tensor `trigram.first.weight` is [24, 64], expected [25, 64]",
        ),
    ];
    for (change, problem) in cases {
        let mut config = config(&target, Form::Lean, None);
        let weights = weights(&config);
        change(&mut config);
        assert_refused(&target, &config, &weights, problem);
    }
}

#[test]
fn tensors_that_lack_or_differ_or_have_no_place_are_refused() {
    let target = target(Dtype::Auto);
    let tokens = |tokens: Vec<u32>| Tensor::new(tokens, &Device::Cpu).unwrap();
    let cases: [(&str, Option<Tensor>, &str); 8] = [
        (
            "layer.v_proj.weight",
            None,
            "tensor `layer.v_proj.weight` is missing, expected [16, 64]",
        ),
        (
            "layer.v_proj.weight",
            Some(zeros(&[16, 63], DType::F32)),
            "tensor `layer.v_proj.weight` is [16, 63], expected [16, 64]",
        ),
        (
            "heads.1.weight",
            Some(zeros(&[64, 128], DType::U8)),
            "tensor `heads.1.weight` is U8, expected F32, F16 or BF16",
        ),
        (
            "heads.2.weight",
            Some(zeros(&[64, 128], DType::F32)),
            "tensor `heads.2.weight` has no place",
        ),
        (
            "draft_vocab",
            Some(zeros(&[3], DType::I64)),
            "tensor `draft_vocab` is I64, expected U32",
        ),
        (
            "draft_vocab",
            Some(tokens(vec![1, 2])),
            "tensor `draft_vocab` is [2], expected [3]",
        ),
        (
            "draft_vocab",
            Some(tokens(vec![511, 512, 2])),
            "names token 512, but the target has 512",
        ),
        (
            "draft_vocab",
            Some(tokens(vec![7, 5, 7])),
            "names token 7 twice",
        ),
    ];
    for (name, tensor, problem) in cases {
        let config = config(&target, Form::Lean, Some(3));
        let mut weights = weights(&config);
        match tensor {
            Some(tensor) => _ = weights.insert(name.to_owned(), tensor),
            None => _ = weights.remove(name),
        }
        assert_refused(&target, &config, &weights, problem);
    }
}

#[test]
fn files_that_lack_or_are_cut_or_are_no_such_files_are_refused() {
    let target = target(Dtype::Auto);
    let config = config(&target, Form::Lean, None);
    let weights = weights(&config);
    for file in ["config.json", "model.safetensors"] {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join(file);
        write(directory.path(), &config, &weights);
        let whole = std::fs::read(&path).unwrap();
        let refused = |bytes: Option<&[u8]>| {
            match bytes {
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let error = load(&directory, &target, Shape::Dynamic)
                .unwrap_err()
                .to_string();
            assert!(error.contains(file), "{error}");
        };
        refused(None);
        for len in [0, 7, whole.len() / 2, whole.len() - 1] {
            refused(Some(&whole[..len]));
        }
        refused(Some(&[0xff; 64]));
        std::fs::write(&path, whole).unwrap();
        load(&directory, &target, Shape::Dynamic).unwrap();
    }
}

#[test]
fn what_is_stored_as_float32_or_bfloat16_is_served_as_the_target_is() {
    for dtype in [Dtype::Float32, Dtype::Bfloat16] {
        let target = target(dtype);
        for stored in [DType::F32, DType::BF16] {
            for form in [Form::Lean, Form::Faithful] {
                let config = config(&target, form, None);
                let store =
                    |(name, weight): (String, Tensor)| (name, weight.to_dtype(stored).unwrap());
                let weights: Weights = weights(&config).into_iter().map(store).collect();
                let directory = TempDir::new().unwrap();
                write(directory.path(), &config, &weights);
                let chimera = load(&directory, &target, Shape::Dynamic).unwrap();
                assert_eq!(chimera.network.kv_shape().dtype, target.dtype());
            }
        }
    }
}
