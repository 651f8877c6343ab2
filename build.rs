//! Lets the program find llama.cpp's shared libraries, which builds for accelerators have: beside itself, or else where they were built.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Said by llama-cpp-sys-2's build, of a folder next to that of the libraries, and only where there are any.
    let Some(backends) = env::var_os("DEP_LLAMA_BACKENDS_DIR") else { return };
    let built = Path::new(&backends).with_file_name("lib");
    let beside = match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("windows") => return,
        Ok("macos") => "@loader_path",
        _ => "$ORIGIN",
    };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{beside},-rpath,{}", built.display());
}
