//! The whole program on the carried model, through its real doors.

#![cfg(test)]

mod answers;
mod endings;
mod support;
