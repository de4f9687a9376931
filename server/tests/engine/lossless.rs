//! Promise 1: the same prompt, parameters and seed give the same tokens and log probabilities, whatever drafts, however
//! much, whoever else is in the batch, and however the prompt is cut. Lists and bits are equal; there is no tolerance.

use crate::cells::{BUDGETS, CHUNKS, Cell, DRAFTERS, DTYPES, TEMPERATURES};
use crate::chimera::{NETWORKS, chimera};
use crate::support::{Answer, Ask, Prophecy, Prophet, Setup, answers, demo, stories};
use foretoken_draft::infini::{Corpus, SuffixArrayBuilder};
use foretoken_draft::trigram::{Search, StaticTable, TrigramOptions};
use foretoken_draft::{Auto, Drafter, Infini, Lookup, ModelDrafter, Trigram};
use foretoken_model::{
    Dtype, LoadOptions, LoadedModel, Logprobs, ModelSource, SamplingParams, Token, Tokenizer,
};
use foretoken_server::engine::BLOCK_SIZE;

/// A token's log probability and rank, and the likeliest tokens with theirs, as bits.
type Bits = (u32, usize, Vec<(Token, u32)>);

/// All bits of the log probabilities that an answer tells.
fn told(answer: &Answer) -> Vec<Option<Bits>> {
    let logprobs = (answer.emitted.iter()).map(|emitted| emitted.logprobs.as_deref());
    let bits = |logprobs: &Logprobs| {
        let top = logprobs.top.iter().map(|&(id, l)| (id, l.to_bits()));
        (logprobs.chosen.to_bits(), logprobs.rank, top.collect())
    };
    logprobs.map(|logprobs| logprobs.map(bits)).collect()
}

/// Prompts of a model, and what plain decoding, each request alone, says to them.
struct Bench {
    source: ModelSource,
    prompts: Vec<Vec<Token>>,
    num_tokens: usize,
    vocab_size: usize,
}

impl Bench {
    fn stories() -> Self {
        let texts = [
            "Once upon a time",
            "Tom had a ball. Tom had a ball. Tom had a",
            "The big red dog was very sad because",
            "One day, a",
            "Lily and Ben",
            "\"Can I",
        ];
        Self::new(stories(), &texts, 24)
    }

    fn demo() -> Self {
        let texts = [
            "<|im_start|>user\nI want to find a restaurant in San Jose.<|im_end|>\n<|im_start|>assistant\n",
            "<|im_start|>user\nWhat is 12 plus 30?<|im_end|>\n<|im_start|>assistant\n",
            "Once upon a time there was",
            "fn main() {\n    let x = 1;\n    let y = 2;\n    println!(\"{}\", x",
            "<|im_start|>user\nBook me a hotel in Paris, please. Book me a hotel in Paris.<|im_end|>\n\
             <|im_start|>assistant\n",
            "The",
        ];
        Self::new(demo(), &texts, 32)
    }

    fn new(source: ModelSource, texts: &[&str], num_tokens: usize) -> Self {
        let model =
            LoadedModel::load(&source, LoadOptions::default(), &candle_core::Device::Cpu).unwrap();
        let prompts = texts
            .iter()
            .map(|text| model.tokenizer.encode(text, true).unwrap())
            .collect();
        Self {
            source,
            prompts,
            num_tokens,
            vocab_size: model.llama.config().vocab_size,
        }
    }

    /// The bench's requests under a cell's temperature and filters, each with a seed of its own.
    fn asks(&self, cell: Cell) -> Vec<Ask> {
        let ask = |(index, prompt): (usize, &Vec<Token>)| {
            let mut sampling = SamplingParams {
                temperature: TEMPERATURES[cell.temperature],
                seed: 1000 + index as u64,
                ..SamplingParams::greedy()
            };
            if cell.filters == 1 {
                sampling.top_k = 40;
                sampling.top_p = 0.9;
                sampling.min_p = 0.02;
                sampling.presence_penalty = 0.5;
                sampling.frequency_penalty = 0.3;
                sampling.repetition_penalty = 1.2;
                sampling.logit_bias = vec![(5, 2.0), (7, -3.0)];
            }
            Ask {
                logprobs: [Some(5), Some(0), None, Some(20)][index % 4],
                ..Ask::new(prompt.clone(), sampling, self.num_tokens)
            }
        };
        self.prompts.iter().enumerate().map(ask).collect()
    }

    fn plain(&self, cell: Cell) -> Vec<Answer> {
        self.alone(cell, self.asks(cell))
    }

    /// What plain decoding says to each request by itself.
    fn alone(&self, cell: Cell, asks: Vec<Ask>) -> Vec<Answer> {
        let mut engine = Setup::new(self.source.clone(), DTYPES[cell.dtype]).engine(Vec::new());
        let alone = |ask| answers(&mut engine, vec![ask]).remove(0);
        asks.into_iter().map(alone).collect()
    }

    fn drafters(&self, cell: Cell, plain: &[Answer]) -> Vec<Box<dyn Drafter>> {
        let whole =
            |(prompt, answer): (&Vec<Token>, &Answer)| [prompt.as_slice(), &answer.tokens].concat();
        let sequences: Vec<Vec<Token>> = self.prompts.iter().zip(plain).map(whole).collect();
        let prophet = |name, prophecy| -> Box<dyn Drafter> {
            Box::new(Prophet {
                name,
                prophecy,
                sequences: sequences.clone(),
                vocab_size: self.vocab_size,
            })
        };
        // Its slow search in a quarter of the cells.
        let search = match (CHUNKS[cell.chunk], DTYPES[cell.dtype]) {
            (7, Dtype::Float32) => Search::Mcts,
            _ => Search::BestFirst,
        };
        let trigram = TrigramOptions {
            search,
            ..TrigramOptions::default()
        };
        let infini = || Infini::new(self.corpus(&sequences));
        let auto = Auto::new(Trigram::new(self.table()), Lookup::new(), Some(infini()));
        let mut drafters: Vec<Box<dyn Drafter>> = vec![
            Box::new(auto),
            Box::new(Trigram::with_options(self.table(), trigram)),
            Box::new(Lookup::default()),
            Box::new(infini()),
            prophet("right", Prophecy::Right),
            prophet("wrong", Prophecy::Wrong),
            prophet("hidden", Prophecy::Hidden),
        ];
        // It computes in every step of an engine that has it.
        if ["chimera", "mix"].contains(&DRAFTERS[cell.drafter]) {
            let network = NETWORKS[(cell.budget + cell.temperature) % NETWORKS.len()];
            let chimera = chimera(&self.source, DTYPES[cell.dtype], network);
            drafters.push(Box::new(chimera));
        }
        if ["model", "mix"].contains(&DRAFTERS[cell.drafter]) {
            drafters.push(Box::new(self.draft_model(cell)));
        }
        drafters
    }

    /// The model itself, in the other format.
    fn draft_model(&self, cell: Cell) -> ModelDrafter {
        let options = LoadOptions {
            dtype: DTYPES[1 - cell.dtype],
            ..LoadOptions::default()
        };
        let model = LoadedModel::load(&self.source, options, &candle_core::Device::Cpu).unwrap();
        ModelDrafter::new(model.llama, BLOCK_SIZE)
    }

    /// A corpus that knows every other sequence, and the halves of the others in the wrong order.
    fn corpus(&self, sequences: &[Vec<Token>]) -> Corpus {
        let mut builder = SuffixArrayBuilder::new(self.vocab_size, 0).unwrap();
        for (index, sequence) in sequences.iter().enumerate() {
            let mut document = sequence.clone();
            document.rotate_left(index % 2 * sequence.len() / 2);
            builder.push_document(&document).unwrap();
        }
        let mut bytes = Vec::new();
        builder.write(&mut bytes).unwrap();
        Corpus::new(bytes, self.vocab_size, 0).unwrap()
    }

    /// The table beside the model, if it has one.
    fn table(&self) -> Option<StaticTable> {
        let bytes = self.source.find("trigram.ftt").unwrap()?;
        let tokenizer =
            Tokenizer::from_bytes(&self.source.read("tokenizer.json").unwrap()).unwrap();
        Some(StaticTable::new(bytes, self.vocab_size, tokenizer.fingerprint()).unwrap())
    }

    /// Answers as a cell says and compares with plain decoding.
    fn check(&self, cell: Cell, plain: &[Answer]) {
        let setup = Setup {
            max_prefill_chunk: CHUNKS[cell.chunk],
            ..Setup::new(self.source.clone(), DTYPES[cell.dtype])
        };
        let mut engine = setup.engine(self.drafters(cell, plain));
        let budget = BUDGETS[cell.budget];
        let drafter = |index: usize| match DRAFTERS[cell.drafter] {
            "none" => None,
            "mix" => [
                None,
                Some("auto"),
                Some("lookup"),
                Some("infini"),
                Some("model"),
                Some("chimera"),
            ][index % 6],
            name => Some(name),
        };
        let asks = self.asks(cell).into_iter().enumerate();
        let asks: Vec<Ask> = asks
            .map(|(index, ask)| ask.drafted(drafter(index), budget))
            .collect();
        let few = asks[..2].to_vec();
        let got: Vec<Answer> = match cell.crowd {
            0 => (few.iter())
                .flat_map(|ask| answers(&mut engine, vec![ask.clone()]))
                .collect(),
            _ => answers(&mut engine, asks),
        };
        // Asked a second time, nothing of the prompts is computed but their last blocks.
        let again = answers(&mut engine, few);
        let num_cached: Vec<usize> = (again.iter())
            .map(|got| got.stats.num_cached_tokens)
            .collect();
        let whole_blocks = |prompt: &Vec<Token>| (prompt.len() - 1) / BLOCK_SIZE * BLOCK_SIZE;
        let wanted: Vec<usize> = self.prompts[..2].iter().map(whole_blocks).collect();
        assert_eq!(num_cached, wanted, "{cell:?}");
        assert_ne!(num_cached, [0, 0], "no prompt is long enough");
        for (index, got) in got.iter().enumerate().chain(again.iter().enumerate()) {
            let plain = &plain[index];
            assert_eq!(got.tokens, plain.tokens, "{cell:?}, request {index}");
            assert_eq!(got.finish, plain.finish, "{cell:?}, request {index}");
            assert_eq!(told(got), told(plain), "{cell:?}, request {index}");
            self.check_counters(drafter(index), budget, got);
        }
        // Something repeats in the crowd's prompts.
        if cell.crowd == 1
            && ["auto", "trigram", "lookup", "infini", "model"].contains(&DRAFTERS[cell.drafter])
        {
            let num_draft_tokens: usize = got.iter().map(|got| got.stats.num_draft_tokens).sum();
            assert!(num_draft_tokens > 0, "{cell:?}: nothing was drafted");
        }
    }

    /// An engine that ignored its trees, or followed them where it should not, would be found out here.
    fn check_counters(&self, drafter: Option<&str>, budget: usize, got: &Answer) {
        let stats = &got.stats;
        assert_eq!(stats.num_steps + stats.num_accepted_tokens, self.num_tokens);
        assert_eq!(
            stats.accepted_per_pos.iter().sum::<usize>(),
            stats.num_accepted_tokens
        );
        match drafter {
            None => assert_eq!((stats.num_drafts, stats.num_draft_tokens), (0, 0)),
            Some("wrong") => {
                assert_eq!(stats.num_accepted_tokens, 0);
                assert!(stats.num_draft_tokens >= self.num_tokens - 1);
            }
            Some("right") => assert_eq!(stats.num_steps, self.num_tokens.div_ceil(budget + 1)),
            // Half of the nodes are decoys.
            Some("hidden") => assert_eq!(
                stats.num_steps,
                self.num_tokens.div_ceil(budget.div_ceil(2) + 1)
            ),
            Some(_) => assert!(stats.num_accepted_tokens <= stats.num_draft_tokens),
        }
    }

    /// Checks cells, computing plain answers once for all cells that share them.
    fn check_all(&self, mut cells: Vec<[usize; 7]>) {
        let shared = |cell: &[usize; 7]| (cell[6], cell[2], cell[3]);
        cells.sort_by_key(shared);
        for cells in cells.chunk_by(|a, b| shared(a) == shared(b)) {
            let plain = self.plain(Cell::new(cells[0]));
            cells
                .iter()
                .for_each(|&cell| self.check(Cell::new(cell), &plain));
        }
    }
}

#[test]
fn every_cell_on_a_tiny_model_says_what_plain_decoding_says() {
    Bench::stories().check_all(Cell::all());
}

#[test]
fn a_pairwise_cover_on_the_carried_model_says_what_plain_decoding_says() {
    let cells = Cell::pairwise();
    println!("{} cells", cells.len());
    Bench::demo().check_all(cells);
}

/// As on a GPU. Every other request asks for what its rows tell alone, so that they are drawn ahead.
#[test]
fn drawn_ahead_a_step_says_what_it_says_drawn_as_the_path_comes_to_its_nodes() {
    let bench = Bench::stories();
    for (index, cell) in Cell::all().into_iter().map(Cell::new).enumerate() {
        if index % 7 != 0 {
            continue;
        }
        let mut asks = bench.asks(cell);
        for ask in asks.iter_mut().step_by(2) {
            ask.logprobs = None;
            ask.sampling = SamplingParams {
                temperature: ask.sampling.temperature,
                seed: ask.sampling.seed,
                top_k: ask.sampling.top_k,
                top_p: ask.sampling.top_p,
                min_p: ask.sampling.min_p,
                ..SamplingParams::greedy()
            };
        }
        let plain = bench.alone(cell, asks.clone());
        let setup = Setup::new(bench.source.clone(), DTYPES[cell.dtype]);
        let mut engine = setup.engine(bench.drafters(cell, &plain));
        engine.draw_ahead();
        let drafter = match DRAFTERS[cell.drafter] {
            "none" => None,
            "mix" => Some("auto"),
            name => Some(name),
        };
        let asks = asks.into_iter();
        let asks = asks.map(|ask| ask.drafted(drafter, BUDGETS[cell.budget]));
        let got = answers(&mut engine, asks.collect());
        for (index, (got, plain)) in got.iter().zip(&plain).enumerate() {
            assert_eq!(got.tokens, plain.tokens, "{cell:?}, request {index}");
            assert_eq!(told(got), told(plain), "{cell:?}, request {index}");
        }
    }
}

#[test]
fn seeds_matter_above_temperature_zero_and_only_there() {
    let bench = Bench::stories();
    for (temperature, expect_equal) in [(0, true), (1, false), (2, false)] {
        let cell = Cell::new([0, 0, temperature, 0, 0, 0, 0]);
        let mut engine = Setup::new(bench.source.clone(), Dtype::Float32).engine(Vec::new());
        let asks = (0..4).map(|seed| {
            let mut ask = bench.asks(cell).remove(0);
            ask.sampling.seed = seed;
            ask
        });
        let got = answers(&mut engine, asks.collect());
        for pair in got.windows(2) {
            assert_eq!(
                pair[0].tokens == pair[1].tokens,
                expect_equal,
                "at {}",
                TEMPERATURES[temperature]
            );
        }
    }
}
