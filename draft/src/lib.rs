//! Who guesses: the `Drafter` trait, and one file or folder per drafter.
//!
//! - *draft token*: a guess at a token that the target model may say;
//! - *draft tree*: guesses that branch; its *root* is the last committed token, its rows are checked in one forward;
//! - *accepted path*: the nodes that the target agreed with, from the root down;
//! - *bonus token*: the target's own token after the path;
//! - *acceptance length*: tokens emitted per verify, bonus token included.

mod accept;
mod auto;
mod bytes;
pub mod chimera;
mod drafter;
mod file_head;
mod grow;
pub mod infini;
mod lookup;
mod maker;
mod mixture;
mod model_drafter;
mod parallel;
mod parts;
mod ranking;
mod suffix_automaton;
mod tree;
pub mod trigram;

pub use accept::{Accepted, accept};
pub use auto::Auto;
pub use chimera::Chimera;
pub use drafter::{Context, Costs, Drafter, Finished, Hints, Verified, VerifiedRows};
pub use file_head::{FileError, Vocabulary};
pub use grow::Shape;
pub use infini::Infini;
pub use lookup::{Lookup, PREDICTION};
pub use model_drafter::ModelDrafter;
pub use parts::PartsError;
pub use ranking::Successor;
pub use tree::{DraftTree, Node};
pub use trigram::Trigram;
