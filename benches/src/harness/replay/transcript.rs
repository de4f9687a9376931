//! What a target said, and what else it thought of at each place.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use foretoken_model::{SamplingParams, Token};
use serde::{Deserialize, Serialize};

/// One answer, token by token. A file holds one in each line, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// Where the question is from.
    pub workload: String,
    /// What kind of question it is.
    pub category: String,
    /// The question's id in its workload.
    pub id: String,
    /// The request's sampling, filters beside these being off.
    pub temperature: f32,
    /// As above.
    pub top_p: f32,
    /// Keys the noise.
    pub seed: u64,
    /// The prompt as the model saw it.
    pub prompt: Vec<Token>,
    /// The answer.
    pub tokens: Vec<Token>,
    /// By token of the answer: the model's likeliest tokens at its place, best first, and their log probabilities in
    /// hundredths of a nat, below zero left out: token, hundredths, token, hundredths and so on.
    pub top: Vec<Vec<u32>>,
}

impl Transcript {
    /// The request's sampler as drafters see it.
    pub fn sampling(&self) -> SamplingParams {
        SamplingParams {
            temperature: self.temperature,
            top_p: self.top_p,
            seed: self.seed,
            ..SamplingParams::greedy()
        }
    }

    /// The likeliest tokens at a place of the answer and their probabilities, best first.
    pub fn top(&self, place: usize) -> Vec<(Token, f32)> {
        let probability = |hundredths: u32| (-(hundredths as f32) / 100.0).exp();
        let pairs = self
            .top
            .get(place)
            .map_or(&[][..], Vec::as_slice)
            .as_chunks::<2>()
            .0;
        pairs
            .iter()
            .map(|&[token, hundredths]| (token, probability(hundredths)))
            .collect()
    }

    /// True if most of the answer's second half copies what stands before it in the answer: the model has fallen into
    /// a loop, which is a copier's best case and nobody's wish.
    pub fn is_looping(&self) -> bool {
        const PHRASE: usize = 8;
        let tokens = &self.tokens;
        let repeats = |&end: &usize| {
            let phrase = &tokens[end - PHRASE..end];
            tokens[..end - 1]
                .windows(PHRASE)
                .any(|window| window == phrase)
        };
        let second_half = tokens.len().div_ceil(2).max(PHRASE)..tokens.len() + 1;
        let num_places = second_half.len();
        num_places > PHRASE && 2 * second_half.filter(repeats).count() > num_places
    }

    fn check(&self) -> Result<()> {
        ensure!(!self.prompt.is_empty(), "the prompt is empty");
        ensure!(!self.tokens.is_empty(), "the answer is empty");
        Ok(())
    }
}

/// Reads a file of transcripts.
pub fn read(path: &Path) -> Result<Vec<Transcript>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parse = |(index, line): (usize, std::io::Result<String>)| {
        let place = || format!("{}, line {}", path.display(), index + 1);
        let transcript: Transcript =
            serde_json::from_str(&line.with_context(place)?).with_context(place)?;
        transcript.check().with_context(place)?;
        Ok(transcript)
    };
    BufReader::new(file)
        .lines()
        .enumerate()
        .map(parse)
        .collect()
}

/// Writes a file of transcripts.
pub fn write(path: &Path, transcripts: &[Transcript]) -> Result<()> {
    let place = || format!("cannot write {}", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(place)?);
    for transcript in transcripts {
        serde_json::to_writer(&mut file, transcript)?;
        file.write_all(b"\n").with_context(place)?;
    }
    file.flush().with_context(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(tokens: &[Token]) -> Transcript {
        Transcript {
            workload: "test".to_owned(),
            category: String::new(),
            id: "1".to_owned(),
            temperature: 0.7,
            top_p: 0.9,
            seed: 3,
            prompt: vec![1, 2],
            tokens: tokens.to_vec(),
            top: vec![vec![5, 0, 6, 230]],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("transcripts.jsonl");
        let written = [transcript(&[5, 6]), transcript(&[7])];
        write(&path, &written).unwrap();
        assert_eq!(read(&path).unwrap(), written);
        let top = written[0].top(0);
        assert_eq!(top[0], (5, 1.0));
        assert!((top[1].1 - 0.1).abs() < 0.001 && written[0].top(1).is_empty());
        std::fs::write(&path, "{}\n").unwrap();
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains("line 1"), "{error}");
    }

    #[test]
    fn loops_are_told_from_answers() {
        let period: Vec<Token> = (0..60).map(|i| i % 5).collect();
        let fresh: Vec<Token> = (0..60).collect();
        let late: Vec<Token> = (0..30).chain((0..30).map(|i| i % 3)).collect();
        let once: Vec<Token> = (0..50).chain(40..50).collect();
        for (tokens, want) in [
            (period, true),
            (fresh, false),
            (late, true),
            (once, false),
            (vec![1; 4], false),
        ] {
            assert_eq!(transcript(&tokens).is_looping(), want, "{tokens:?}");
        }
    }
}
