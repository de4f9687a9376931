//! Every op against double precision, and every row against itself in other company: nasty inputs, odd sizes.

mod attention;
mod emulated;
mod linear;
mod rows;
mod support;
