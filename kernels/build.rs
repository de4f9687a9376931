//! With the feature `cuda`: compiles kernels/cuda/*.cu, and stands in for NVIDIA's libraries while linking.

#![expect(
    clippy::disallowed_methods,
    reason = "cargo speaks to build scripts through the environment"
)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Machine code for Ampere, Ada and Hopper; newer cards translate the last, which is PTX.
const CARDS: [&str; 4] = [
    "arch=compute_80,code=sm_80",
    "arch=compute_89,code=sm_89",
    "arch=compute_90a,code=sm_90a",
    "arch=compute_90,code=compute_90",
];

/// What candle asks the linker for, and is opened when it is first called instead; see kernels/cuda/config.toml.
const OPENED_LATER: [&str; 5] = ["cuda", "nvrtc", "curand", "cublas", "cublasLt"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=cuda");
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(());
    }
    let toolkit = PathBuf::from(
        env::var_os("CUDA_HOME")
            .ok_or("CUDA_HOME is not set; build with `cargo --config kernels/cuda/config.toml`")?,
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    for entry in fs::read_dir("cuda")? {
        let source = entry?.path();
        if source
            .extension()
            .is_some_and(|extension| extension == "cu")
        {
            compile(&toolkit, &source, &out)?;
        }
    }
    stand_in(&toolkit, &out)
}

/// Compiles a file's kernels for all cards into one.
fn compile(toolkit: &Path, source: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let nvcc = toolkit.join("bin/nvcc");
    let name = source.file_stem().ok_or("a kernel's file has no name")?;
    let mut command = Command::new(&nvcc);
    command.args([
        "-fatbin",
        "-O3",
        "-std=c++17",
        "-Icuda",
        "-Werror=all-warnings",
    ]);
    command.args(CARDS.map(|card| format!("-gencode={card}")));
    command.arg(source).arg("-o");
    command.arg(out.join(name).with_extension("fatbin"));
    let status = command.status().map_err(|error| {
        let nvcc = nvcc.display();
        format!("{nvcc}: {error}; kernels/cuda/get-nvcc.sh fetches it, or set CUDA_HOME")
    })?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("nvcc failed on {}: {status}", source.display()).into()),
    }
}

/// Empty archives for libraries that are opened later; the CUDA runtime is linked in as a whole.
fn stand_in(toolkit: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let runtime = toolkit.join("lib64/libcudart_static.a");
    fs::copy(&runtime, out.join("libcudart.a"))
        .map_err(|error| format!("{}: {error}", runtime.display()))?;
    for library in OPENED_LATER {
        fs::write(out.join(format!("lib{library}.a")), b"!<arch>\n")?;
    }
    println!("cargo:rustc-link-search=native={}", out.display());
    Ok(())
}
