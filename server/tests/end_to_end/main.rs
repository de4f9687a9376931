//! The whole program on the carried model, through its real doors.

#![cfg(test)]

mod answers;
mod collector;
mod endings;
mod support;
mod tls;
mod watching;
