//! The `ggraft` program: runs a command, prints what went wrong, and says so by its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ggraft::cli::main()
}
