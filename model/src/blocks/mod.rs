//! Who owns which part of the KV cache.
//!
//! - *block*: `block_size` slots of the cache, the unit that is owned;
//! - *slot*: room for one row's keys and values, in every layer;
//! - *block table*: the blocks of one sequence, in the order of its slots.
//!
//! A block is free, private to one table, or cached: then it is full, nobody writes it any more, and every table whose
//! sequence begins with the same tokens may read it. free + private + cached = all.

mod pool;
mod prefix_cache;
mod table;

pub use pool::BlockPool;
pub use table::BlockTable;

/// A block of the cache.
pub type BlockId = u32;
