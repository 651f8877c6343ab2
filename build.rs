//! What Cargo does not build by itself: the CUDA kernels, and the way to llama.cpp's shared libraries, which builds for accelerators have.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        compile_kernels(Path::new("kernels/cuda"));
    }
    // Said by llama-cpp-sys-2's build, of a folder next to that of the libraries, and only where there are any.
    if let Some(backends) = env::var_os("DEP_LLAMA_BACKENDS_DIR") {
        let backends = Path::new(&backends);
        link_libraries(&backends.with_file_name("lib"));
        lay_beside_program(backends);
    }
}

/// Lets the program find the libraries beside itself, or else where they were built.
fn link_libraries(built: &Path) {
    let beside = match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("windows") => return,
        Ok("macos") => "@loader_path",
        _ => "$ORIGIN",
    };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{beside},-rpath,{}", built.display());
}

/// Copies the backends to where the other libraries are copied to already, so that the program's folder is all that it needs.
fn lay_beside_program(backends: &Path) {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("Cargo sets it"));
    let program = out.ancestors().nth(3).expect("target/release/build/ggraft-.../out");
    for library in fs::read_dir(backends).expect("the backends' folder").flatten() {
        let to = program.join(library.file_name());
        // What a running program has mapped must not be written to.
        let _ = fs::remove_file(&to);
        fs::copy(library.path(), &to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
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
