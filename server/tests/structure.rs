//! Rules of the tree that the tree can check by itself.

#![cfg(test)]

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Every Rust source below a folder, with its text.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

fn refuse(folder: &str, words: &[&str]) {
    for (path, text) in sources(folder) {
        for word in words {
            assert!(!text.contains(word), "{} names `{word}`", path.display());
        }
    }
}

#[test]
fn the_engine_knows_no_wire() {
    refuse(
        "server/src/engine",
        &["tonic", "axum", "prost", "foretoken_proto", "async "],
    );
}

#[test]
fn imports_run_down_only() {
    let rooms = [
        "foretoken_kernels",
        "foretoken_model",
        "foretoken_draft",
        "foretoken_server",
    ];
    for (level, folder) in ["kernels", "model", "draft"].into_iter().enumerate() {
        refuse(&format!("{folder}/src"), &rooms[level + 1..]);
        refuse(&format!("{folder}/src"), &["foretoken_proto"]);
    }
    refuse("proto/src", &rooms);
}

#[test]
fn the_feature_cuda_is_the_kernels_business() {
    for folder in ["proto", "model", "draft", "server/src", "benches"] {
        refuse(folder, &["feature = \"cuda\""]);
    }
}

#[test]
fn unsafe_code_lives_in_the_kernels_and_the_mapped_file() {
    for folder in ["proto/src", "model/src", "draft/src", "server/src"] {
        for (path, text) in sources(folder) {
            let is_mapped_file = path.ends_with("model/src/mapped_file.rs");
            assert!(
                is_mapped_file || !text.contains("unsafe "),
                "{}",
                path.display()
            );
        }
    }
}
