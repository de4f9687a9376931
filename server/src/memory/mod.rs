//! How many blocks the KV cache gets: what the machine has, less what the rest of the engine takes.

mod machine;

use std::path::Path;

use foretoken_draft::DraftTree;
use foretoken_model::{Activations, DeviceMemory, LoadedModel};
use thiserror::Error;

use crate::config::EngineOptions;
use crate::engine::{BLOCK_SIZE, Drafters};

/// Why there is no room for a cache.
#[derive(Debug, Error, PartialEq)]
pub enum MemoryError {
    /// Not even one sequence fits.
    #[error(
        "the KV cache of one sequence of {max_model_len} tokens takes {needed} bytes, more than the {limit} there are \
         for it beside weights and {step_bytes} bytes of activations; {}", advice(*.fitting)
    )]
    TooSmall {
        /// Tokens of a sequence.
        max_model_len: usize,
        /// Bytes that they take.
        needed: u64,
        /// Bytes for the whole cache.
        limit: u64,
        /// Bytes of the largest step's activations.
        step_bytes: u64,
        /// Tokens of a sequence that would fit; may be 0.
        fitting: usize,
    },
    /// More was asked for than there is.
    #[error(
        "--kv-cache-memory-bytes is {asked}, but only {available} bytes are available beside weights and activations"
    )]
    TooLarge {
        /// As asked for.
        asked: u64,
        /// What the machine or the GPU has.
        available: u64,
    },
}

fn advice(fitting: usize) -> String {
    match fitting {
        0 => "no --max-model-len is short enough; a smaller --max-num-batched-tokens leaves more"
            .to_owned(),
        fitting => format!("--max-model-len {fitting} would fit"),
    }
}

/// What decides about the cache's size.
#[derive(Clone, Copy, Debug)]
struct Needs {
    max_model_len: usize,
    max_num_seqs: usize,
    /// Bytes that a slot takes in all layers.
    slot_bytes: u64,
    /// Bytes that the largest step takes beside weights and cache.
    step_bytes: u64,
}

/// Where nobody says how much memory there is.
const FALLBACK: u64 = 4 << 30;

/// Memory that is left, the weights being loaded.
#[derive(Clone, Copy, Debug)]
enum Room {
    /// The machine's, where it is known: the rest of the machine lives in it too.
    Machine(Option<u64>),
    /// What is left of our share of a GPU.
    Share(u64),
}

impl Room {
    /// Others use a GPU, too: what they take is not ours.
    fn share(memory: DeviceMemory, utilization: f64) -> Self {
        let share = (memory.total as f64 * utilization) as u64;
        Self::Share(share.saturating_sub(memory.total - memory.free))
    }

    fn without(self, bytes: u64) -> Self {
        match self {
            Self::Machine(left) => Self::Machine(left.map(|left| left.saturating_sub(bytes))),
            Self::Share(left) => Self::Share(left.saturating_sub(bytes)),
        }
    }

    /// Bytes, if they are known.
    fn bytes(self) -> Option<u64> {
        match self {
            Self::Machine(left) => left,
            Self::Share(left) => Some(left),
        }
    }

    /// Bytes that a cache takes if nobody says how many.
    fn default_limit(self) -> u64 {
        match self {
            // A tenth is left for requests, their texts and the rest of the machine.
            Self::Machine(left) => left.map_or(FALLBACK, |left| left / 10 * 9),
            Self::Share(left) => left,
        }
    }
}

/// Blocks for a loaded model and its drafters: as many as asked for, or as all running sequences may fill if there is
/// room. `memory` is the device's, if it has its own.
pub(crate) fn num_blocks(
    model: &LoadedModel,
    drafters: &Drafters,
    memory: Option<DeviceMemory>,
    options: &EngineOptions,
) -> Result<usize, MemoryError> {
    let (config, dtype) = (model.llama.config(), model.llama.dtype());
    // Buffers grow by doubling, and every row of a step may have logits.
    let num_rows = options.rows_per_step().next_power_of_two();
    let row_bytes = Activations::row_bytes(config, dtype)
        + config.vocab_size * size_of::<f32>()
        + drafters.row_bytes();
    let needs = Needs {
        max_model_len: model.max_model_len,
        max_num_seqs: options.max_num_seqs,
        slot_bytes: (model.llama.kv_shape().slot_bytes() + drafters.slot_bytes()) as u64,
        step_bytes: num_rows as u64 * row_bytes as u64,
    };
    let room = match memory {
        Some(memory) => Room::share(memory, options.gpu_memory_utilization),
        None => Room::Machine(machine::available(Path::new("/"))),
    };
    needs.num_blocks(options.kv_cache_memory_bytes, room)
}

impl Needs {
    fn num_blocks(self, asked: Option<u64>, room: Room) -> Result<usize, MemoryError> {
        let room = room.without(self.step_bytes);
        let limit = match (asked, room.bytes()) {
            (Some(asked), Some(left)) if asked > left => {
                return Err(MemoryError::TooLarge {
                    asked,
                    available: left,
                });
            }
            (Some(asked), _) => asked,
            (None, _) => room.default_limit(),
        };
        let block_bytes = BLOCK_SIZE as u64 * self.slot_bytes;
        // A slot's number has 32 bits.
        let affordable =
            (limit / block_bytes).min(u64::from(u32::MAX) / BLOCK_SIZE as u64) as usize;
        let per_sequence = (self.max_model_len + DraftTree::MAX_NODES).div_ceil(BLOCK_SIZE);
        if affordable < per_sequence {
            return Err(MemoryError::TooSmall {
                max_model_len: self.max_model_len,
                needed: per_sequence as u64 * block_bytes,
                limit,
                step_bytes: self.step_bytes,
                fitting: (affordable * BLOCK_SIZE).saturating_sub(DraftTree::MAX_NODES),
            });
        }
        Ok(match asked {
            Some(_) => affordable,
            None => affordable.min(per_sequence.saturating_mul(self.max_num_seqs)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_takes_what_is_asked_for_or_what_is_useful_and_there() {
        // 16 bytes a slot are 256 a block; 100 tokens and a tree of 64 take 11 blocks.
        let needs = Needs {
            max_model_len: 100,
            max_num_seqs: 4,
            slot_bytes: 16,
            step_bytes: 1000,
        };
        let too_small = |limit, fitting| {
            Err(MemoryError::TooSmall {
                max_model_len: 100,
                needed: 2816,
                limit,
                step_bytes: 1000,
                fitting,
            })
        };
        let too_large = Err(MemoryError::TooLarge {
            asked: 9001,
            available: 9000,
        });
        for (asked, available, want) in [
            (None, None, Ok(44)),
            (None, Some(1 << 20), Ok(44)),
            (None, Some(11_000), Ok(35)),
            (None, Some(1000), too_small(0, 0)),
            (None, Some(3500), too_small(2250, 64)),
            (Some(2816), None, Ok(11)),
            (Some(2815), None, too_small(2815, 96)),
            (Some(25_600), Some(1 << 20), Ok(100)),
            (Some(9000), Some(10_000), Ok(35)),
            (Some(9001), Some(10_000), too_large),
            (Some(u64::MAX), None, Ok(u32::MAX as usize / 16)),
        ] {
            assert_eq!(
                needs.num_blocks(asked, Room::Machine(available)),
                want,
                "{asked:?} {available:?}"
            );
        }
        assert_eq!(needs.num_blocks(None, Room::Share(3816)), Ok(11));
        assert_eq!(
            needs.num_blocks(None, Room::Share(3815)),
            too_small(2815, 96)
        );
    }

    #[test]
    fn a_share_of_a_gpu_is_less_what_is_in_use() {
        for (free, utilization, want) in [
            (1000, 0.5, 500),
            (700, 0.5, 200),
            (400, 0.5, 0),
            (1000, 1.0, 1000),
        ] {
            let memory = DeviceMemory { free, total: 1000 };
            let room = Room::share(memory, utilization);
            assert_eq!(room.bytes(), Some(want), "{free} {utilization}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        let error = |fitting| MemoryError::TooSmall {
            max_model_len: 100,
            needed: 2816,
            limit: 2000,
            step_bytes: 3000,
            fitting,
        };
        let text = error(32).to_string();
        assert!(text.contains("2816") && text.contains("2000"), "{text}");
        assert!(text.ends_with("--max-model-len 32 would fit"), "{text}");
        assert!(text.contains("3000 bytes of activations"), "{text}");
        let hopeless = error(0).to_string();
        assert!(
            hopeless.contains("no --max-model-len is short enough"),
            "{hopeless}"
        );
    }
}
