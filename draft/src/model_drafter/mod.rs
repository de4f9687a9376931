//! The drafter `model`: a smaller model of the same vocabulary grows the likeliest tree.

mod progress;

use candle_core::{Result, bail};
use foretoken_model::{Activations, Batch, KvCache, KvShape, Llama, SeqId, SequenceRows, Token};

use crate::drafter::{Context, Drafter, Verified};
use crate::grow::{Frontier, Manner, Shape, grow};
use crate::tree::DraftTree;
use progress::Progress;

/// Levels of a tree; each takes a forward.
const MAX_LEVELS: usize = 8;

/// Rows that one forward may have of tokens that were not read yet, such as prompts.
const MAX_PENDING_ROWS: usize = 256;

/// Drafts by a second model, whose keys and values lie in layers of its own under the sequences' block tables.
///
/// It reads a sequence when it is to draft for it, and then all that it has not read yet: nothing is computed for those
/// who draft by other means, or where no drafts pay. A prompt that was drafted for before need not be read again:
/// [`Progress`] knows which blocks hold what.
#[derive(Debug)]
pub struct ModelDrafter {
    llama: Llama,
    activations: Activations,
    cache: Option<KvCache>,
    block_size: usize,
    shape: Shape,
    progress: Progress,
}

/// What to do about a context.
#[derive(Clone, Copy, Debug)]
struct Task {
    /// Tokens that were read.
    start: usize,
    /// Tokens to be read now.
    num_rows: usize,
    /// Levels of its tree: none where the root is not reached.
    num_levels: usize,
}

impl ModelDrafter {
    /// A drafter for sequences in blocks of `block_size` slots.
    pub fn new(llama: Llama, block_size: usize) -> Self {
        Self::with_shape(llama, block_size, Shape::Dynamic)
    }

    /// The same, with trees of another shape.
    pub fn with_shape(llama: Llama, block_size: usize, shape: Shape) -> Self {
        Self {
            activations: llama.activations(),
            llama,
            cache: None,
            block_size,
            shape,
            progress: Progress::new(block_size),
        }
    }

    /// What to do about each context. All of them read no more together than a forward may have; who cannot read all
    /// reads on in the next step, and does not draft in this one.
    fn tasks(&mut self, contexts: &[Context<'_>]) -> Vec<Task> {
        let mut room = MAX_PENDING_ROWS.saturating_sub(contexts.len());
        let Self {
            llama, progress, ..
        } = self;
        let task = |context: &Context<'_>| {
            let start = progress.num_read(context);
            let num_tokens = context.tokens.len();
            let num_pending = match can_read(llama, &context.tokens[start..], num_tokens) {
                true => num_tokens - start,
                false => 0,
            };
            // One row is everybody's: those who keep up do not wait for those who are behind.
            let num_rows = num_pending.min(room + 1);
            room -= num_rows.saturating_sub(1);
            let num_levels = match num_rows > 0 && num_rows == num_pending {
                true => MAX_LEVELS.min(llama.num_positions() + 1 - num_tokens),
                false => 0,
            };
            Task {
                start,
                num_rows,
                num_levels,
            }
        };
        contexts.iter().map(task).collect()
    }

    /// Rows of what is read now of those who get no tree.
    fn prompts(&self, contexts: &[Context<'_>], tasks: &[Task]) -> Batch {
        let mut batch = Batch::new(self.block_size);
        for (context, task) in contexts.iter().zip(tasks) {
            if task.num_rows > 0 && task.num_levels == 0 {
                batch.push(committed(context, task));
            }
        }
        batch
    }
}

impl Drafter for ModelDrafter {
    fn name(&self) -> &'static str {
        "model"
    }

    fn layers(&self) -> Option<KvShape> {
        Some(self.llama.kv_shape())
    }

    fn attach(&mut self, layers: KvCache) {
        self.cache = Some(layers);
    }

    fn row_bytes(&self) -> usize {
        let config = self.llama.config();
        Activations::row_bytes(config, self.llama.dtype()) + config.vocab_size * size_of::<f32>()
    }

    fn reserve(&mut self, num_rows: usize) -> Result<()> {
        self.activations.reserve(num_rows)
    }

    fn propose(&mut self, contexts: &[Context<'_>]) -> Result<Vec<DraftTree>> {
        let tasks = self.tasks(contexts);
        let prompts = self.prompts(contexts, &tasks);
        let num_levels: Vec<usize> = tasks.iter().map(|task| task.num_levels).collect();
        let block_size = self.block_size;
        let manner = Manner {
            source: self.name(),
            shape: self.shape,
            draft_vocab: None,
        };
        let (llama, activations) = (&self.llama, &mut self.activations);
        let Some(cache) = &mut self.cache else {
            bail!("the draft model has no layers in the cache");
        };
        if prompts.num_rows() > 0 {
            llama.compute(&prompts, cache, activations)?;
        }
        let trees = grow(contexts, manner, &num_levels, |frontiers, look| {
            let mut batch = Batch::new(block_size);
            for frontier in frontiers {
                batch.push(rows(frontier, &tasks[frontier.index]));
            }
            let output = llama.forward(&batch, cache, activations)?;
            look(&output.logits.read_all()?.rows());
            Ok(())
        })?;
        for (context, task) in contexts.iter().zip(tasks) {
            let num_tokens = task.start + task.num_rows;
            self.progress.advance(context, num_tokens);
        }
        Ok(trees)
    }

    fn observe(&mut self, verified: &Verified<'_>) -> Result<()> {
        self.progress.observe(verified);
        Ok(())
    }

    fn forget(&mut self, seq: SeqId) {
        self.progress.forget(seq);
    }
}

/// True if a model has places for all tokens of a sequence, and knows those that are pending.
fn can_read(llama: &Llama, pending: &[Token], num_tokens: usize) -> bool {
    let vocab_size = llama.config().vocab_size;
    num_tokens <= llama.num_positions()
        && pending.iter().all(|&token| (token as usize) < vocab_size)
}

/// Rows of committed tokens, the root being the last if they reach it.
fn committed<'a>(context: &Context<'a>, task: &Task) -> SequenceRows<'a> {
    let &Task {
        start, num_rows, ..
    } = task;
    SequenceRows {
        table: context.table,
        context_len: context.tokens.len() - 1,
        start,
        tokens: &context.tokens[start..start + num_rows],
        first_node: 1,
        draft_tokens: &[],
        ancestors: &[],
    }
}

/// Rows of a level: below the root, everything else has been read.
fn rows<'a>(frontier: &Frontier<'a>, task: &Task) -> SequenceRows<'a> {
    let root = committed(frontier.context, task);
    if frontier.nodes.start == DraftTree::ROOT {
        return root;
    }
    SequenceRows {
        start: root.context_len,
        tokens: &[],
        first_node: frontier.nodes.start,
        draft_tokens: &frontier.tree.tokens()[frontier.nodes.clone()],
        ancestors: &frontier.tree.ancestors()[frontier.nodes.clone()],
        ..root
    }
}
