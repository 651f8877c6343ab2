//! The terminal: arguments in, one of the stages' results out as text or JSON. No logic that a library user would miss.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use rayon::ThreadPoolBuilder;

mod args;
mod bench;
mod evolve;
mod export;
mod inspect;
mod output;
mod progress;
mod run;
mod score;
mod serve;
mod study;

use args::{Cli, Command};

/// Parses the command line, runs it, and turns the result into an exit code: 0 done, 1 the work failed, 2 bad usage or bad input.
pub fn main() -> ExitCode {
    let cli = match Cli::command()
        .after_long_help(args::methods_help())
        .try_get_matches_from(args::arguments())
        .and_then(|m| Cli::from_arg_matches(&m))
    {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    crate::model::log_to_stderr(cli.verbose);
    crate::disk::survive_size_limit();
    if let Some(isa) = cli.isa {
        isa.select();
    }
    match run(&cli.command, cli.json) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Every message of ours has its cause in it; the chain would say it twice.
            eprintln!("error: {error}");
            ExitCode::from(if output::is_bad_input(&error) { 2 } else { 1 })
        }
    }
}

fn run(command: &Command, as_json: bool) -> anyhow::Result<()> {
    if let Some(threads) = command.compute().and_then(|compute| compute.threads) {
        ThreadPoolBuilder::new().num_threads(threads as usize).build_global()?;
    }
    match command {
        Command::Inspect(args) => inspect::inspect(args, as_json),
        Command::Run(args) => run::run(args, as_json),
        Command::Score(args) => score::score(args, as_json),
        Command::Evolve(args) => evolve::evolve(args, as_json),
        Command::Bench(args) => bench::bench(args, as_json),
        Command::Export(args) => export::export(args, as_json),
        Command::Serve(args) => serve::serve(args, as_json),
        Command::Study(args) => study::study(&args.command, as_json),
    }
}
