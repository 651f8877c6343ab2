//! What Cargo does not build by itself: the CUDA kernels, and how a program with loadable backends finds llama.cpp's libraries.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let has = |feature: &str| env::var_os(format!("CARGO_FEATURE_{feature}")).is_some();
    if has("CUDA") {
        compile_kernels(Path::new("kernels/cuda"));
    }
    if has("CUDA") || has("VULKAN") {
        // Cargo leaves the libraries beside the program, which is one folder above tests and examples.
        println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN,-rpath,$ORIGIN/..");
    }
}

/// One file with the kernels for all devices, which the program carries and hands to the driver.
fn compile_kernels(folder: &Path) {
    for file in fs::read_dir(folder).expect("the kernels' folder").flatten() {
        println!("cargo:rerun-if-changed={}", file.path().display());
    }
    for variable in ["CUDACXX", "CUDA_PATH"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("Cargo sets it")).join("merge.fatbin");
    let status = Command::new("sh").arg(folder.join("build.sh")).arg(out).status();
    assert!(status.is_ok_and(|status| status.success()), "the CUDA kernels did not compile; the reason is above");
}
