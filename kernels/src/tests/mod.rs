//! Every op against double precision, and every row against itself in other company: nasty inputs, odd sizes.

mod attention;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "cuda")]
mod cuda_graphs;
mod emulated;
mod linear;
mod padding;
mod rows;
mod support;
