//! The device's draws against the host's.

use candle_core::{Device, Tensor};

use super::Emulator;
use crate::sampling::launches::{self, Args, ChangeArgs, Row};
use crate::{LogitChange, Noise, RowSampling, sample_rows};

fn sampled(emulator: &Emulator, logits: &[f32], rows: &[RowSampling], backwards: bool) -> Vec<u32> {
    let vocab = logits.len() / rows.len();
    let places: Vec<Row> = rows.iter().map(Row::from).collect();
    let mut tokens = vec![u32::MAX; rows.len()];
    let args = Args {
        logits: logits.as_ptr() as u64,
        rows: places.as_ptr() as u64,
        tokens: tokens.as_mut_ptr() as u64,
        stride: vocab as i64,
        vocab: vocab as u32,
        unused: 0,
    };
    emulator.run(launches::sample(rows.len()), &args, backwards);
    tokens
}

/// Logits by a rule: spread out, or out of few values so that there are ties, or with what is no number among them.
fn row(kind: usize, vocab: usize) -> Vec<f32> {
    let value = |token: usize| (token as f32 * 12.9898 + kind as f32).sin() * 43_758.547 % 1.0;
    let logit = |token: usize| match kind % 4 {
        0 => value(token) * 9.0,
        1 => (value(token) * 4.0).round(),
        2 if token % 11 == 3 => f32::NAN,
        2 if token % 7 == 3 => f32::NEG_INFINITY,
        2 => value(token) * 30.0,
        _ => 1.0,
    };
    (0..vocab).map(logit).collect()
}

#[test]
fn tokens_are_the_hosts() {
    let Some(emulator) = Emulator::new("sample_rows") else {
        return;
    };
    let filters = [
        (0.0, 0.0, 0, 1.0),
        (1.0, 0.0, 0, 1.0),
        (0.7, 0.1, 0, 1.0),
        (1.3, 0.0, 5, 1.0),
        (1.0, 0.0, 0, 0.9),
        (1.0, 0.0, 0, 0.3),
        (0.8, 0.02, 40, 0.5),
        (1.0, 0.0, 1, 1.0),
        (2.0, 0.0, 10_000, 0.95),
        (1.0, 1.0, 0, 0.5),
    ];
    for (vocab, backwards) in [(1, false), (3, true), (1500, false)] {
        let mut rows = Vec::new();
        let mut logits = Vec::new();
        for (number, (temperature, min_p, top_k, top_p)) in filters.into_iter().enumerate() {
            for kind in 0..4 {
                rows.push(RowSampling {
                    noise: Noise::new(0x0123_4567_89ab_cdef * (number as u64 + 1)),
                    position: kind * 1000 + (number << 33),
                    temperature,
                    min_p,
                    top_k,
                    top_p,
                });
                logits.extend(row(kind, vocab));
            }
        }
        let tensor = Tensor::from_slice(&logits, (rows.len(), vocab), &Device::Cpu).unwrap();
        let want = sample_rows(&tensor, &rows, &[]).unwrap();
        let got = sampled(&emulator, &logits, &rows, backwards);
        for (index, (got, want)) in got.iter().zip(&want).enumerate() {
            assert_eq!(
                got,
                want,
                "{vocab} tokens, {:?}, kind {}",
                rows[index],
                index % 4
            );
        }
    }
}

#[test]
fn changed_logits_are_the_hosts() {
    let Some(emulator) = Emulator::new("sample_rows") else {
        return;
    };
    let vocab = 700;
    let (mut logits, before) = (row(0, 2 * vocab), row(0, 2 * vocab));
    let changes: Vec<LogitChange> = (0..600)
        .map(|index| LogitChange {
            row: index % 2,
            token: index,
            bias: index as f32 * 0.01 - 3.0,
            repetition: 1.0 + (index % 3) as f32 * 0.1,
            frequency: (index % 5) as f32 * 0.2,
            presence: (index % 7) as f32 * 0.3,
        })
        .collect();
    let args = ChangeArgs {
        logits: logits.as_mut_ptr() as u64,
        changes: changes.as_ptr() as u64,
        stride: vocab as i64,
        num_changes: changes.len() as u32,
        unused: 0,
    };
    emulator.run(launches::change(changes.len()), &args, false);
    let rows = [RowSampling {
        noise: Noise::new(1),
        position: 4,
        temperature: 0.0,
        min_p: 0.0,
        top_k: 0,
        top_p: 1.0,
    }; 2];
    let tensor = Tensor::from_slice(&before, (2, vocab), &Device::Cpu).unwrap();
    let want = sample_rows(&tensor, &rows, &changes).unwrap();
    assert_eq!(sampled(&emulator, &logits, &rows, false), want);
    assert_ne!(want, sample_rows(&tensor, &rows, &[]).unwrap());
}
