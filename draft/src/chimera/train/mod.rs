//! Trains a Chimera drafter for a frozen target.
//!
//! The target's own forward gives its hidden rows and what it would say after them; only the drafter is computed with
//! gradients. In each text a random stretch of rows are *anchors*: drafting begins there, `num_steps` steps deep, each
//! step reading the text's next token and learning the target's chances for the one after it.
//!
//! # How to train
//!
//! ```text
//! foretoken train chimera --model ./my-model --data chats.jsonl --output ./answers --answers 20000 --epochs 0
//! foretoken train chimera --model ./my-model --data ./answers/answers.jsonl chats.jsonl --output ./drafter --epochs 3
//! foretoken --model ./my-model --drafter chimera ...
//! ```
//!
//! 1. *Texts.* A drafter has to guess what the target says, so the target's own answers teach best: `--answers N` lets it
//!    answer N prompts out of the data, at temperature 1, and trains on these alone. Texts like those it will be asked
//!    about come next. A record is a text or a chat, as for `foretoken table build`.
//! 2. *Length.* The learning rate falls to nearly nothing at the end of the run, so the number of `--epochs` has to be
//!    known at its start. A run that was cut off goes on with the same options and `--resume`, and ends with the same
//!    weights to the bit (on a CPU).
//! 3. *What to watch.* One text in a hundred is held out. Every `--validate-every` updates its loss, the likeliest
//!    guesses' accuracy by step, and two acceptance lengths are printed and written to `log.jsonl`: of one branch, for a
//!    target at temperature 0, and at temperature 1 if noise is shared as well as can be. Trees accept more.
//!    `--eval-data` names other texts to look at instead; a comparison wants the same ones for all.
//! 4. *What comes out.* `config.json` and `model.safetensors` for the server, written at each validation;
//!    `checkpoint.safetensors` for `--resume`; `curves.svg`.
//! 5. *Draft vocabulary.* `--draft-vocabulary N` lets the drafter draft the N commonest tokens of the texts alone, which
//!    takes most of the LM head's time away. Training is the same; only what is written differs.
//! 6. *Comparisons.* `--without-trigram`, `--without-context`, `--without-residual`, `--heads 1 --steps 1
//!    --validation-steps 4` (the first step alone), `--unroll guesses` (as published) and `--faithful` (the published
//!    heads) change one thing each; the files that they write serve as they were trained. `benches/ablation.py` trains
//!    and compares them all.

mod attention;
mod checkpoint;
mod example;
mod files;
mod network;
mod objective;
mod optimizer;
mod options;
mod parameters;
mod scores;
mod teacher;
mod texts;
mod trainer;
mod validation;

pub use example::{Anchor, Example};
pub use network::Network;
pub use options::{Ablation, TrainOptions, Unroll};
pub use texts::Texts;
pub use trainer::{Trainer, Update};
pub use validation::{StepAccuracy, Validation};
