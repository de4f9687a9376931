//! Compiles the .proto files without protoc.

use std::error::Error;
use std::path::PathBuf;

use protox::prost::Message;

const FILES: [&str; 1] = ["proto/foretoken/v1/inference.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    std::fs::write(
        out_dir()?.join("foretoken_descriptor.bin"),
        descriptors.encode_to_vec(),
    )?;
    tonic_prost_build::configure()
        // Maps in the order of their keys: the same request is the same request each time.
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is how cargo tells a build script its folder"
)]
fn out_dir() -> Result<PathBuf, std::env::VarError> {
    std::env::var("OUT_DIR").map(PathBuf::from)
}
