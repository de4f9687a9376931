//! `chimera`: a trigram encoder, a full-context encoder and residual heads on the frozen target.

mod config;
pub mod train;

pub use config::{ChimeraConfig, ConfigError, Form};
