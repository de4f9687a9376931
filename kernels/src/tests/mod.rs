//! Every op against double precision, and every row against itself in other company: nasty inputs, odd sizes.

mod attention;
#[cfg(feature = "cuda")]
mod cuda;
mod emulated;
mod linear;
mod rows;
mod support;
