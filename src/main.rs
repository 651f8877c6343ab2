//! The `ggraft` program: runs a command, prints what went wrong, and says so by its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    share_cores();
    ggraft::cli::main()
}

/// Starts the program again with a limit on how long llama.cpp's threads wait for each other by spinning.
///
/// libgomp's own limit is some 14 ms a wait. Alone on a machine that is never reached; beside another busy process it is reached at every
/// one of the hundreds of waits of a token, and work takes ten times as long or worse. The variable is read before `main`, hence the
/// new start; whoever sets one of the two variables is left alone.
#[cfg(target_os = "linux")]
fn share_cores() {
    use std::env;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    const SPINS: (&str, &str) = ("GOMP_SPINCOUNT", "1000");
    if env::var_os(SPINS.0).is_some() || env::var_os("OMP_WAIT_POLICY").is_some() {
        return;
    }
    // By its path and not as /proc/self/exe, which `ps` and `pkill` would show as `exe`.
    let Ok(program) = env::current_exe() else { return };
    let mut arguments = env::args_os();
    let mut again = Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // Only comes back if it fails, and then the program runs as it is.
    let _ = again.args(arguments).env(SPINS.0, SPINS.1).exec();
}
