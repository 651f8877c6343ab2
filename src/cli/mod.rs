//! The terminal: arguments in, one of the stages' results out as text or JSON. No logic that a library user would miss.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

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
    let result = match &cli.command {
        Command::Inspect(args) => inspect::inspect(args, cli.json),
        Command::Run(args) => run::run(args, cli.json),
        Command::Score(args) => score::score(args, cli.json),
        Command::Evolve(args) => evolve::evolve(args, cli.json),
        Command::Bench(args) => bench::bench(args, cli.json),
        Command::Export(args) => export::export(args, cli.json),
        Command::Serve(args) => serve::serve(args, cli.json),
        Command::Study(args) => study::study(&args.command, cli.json),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Every message of ours has its cause in it; the chain would say it twice.
            eprintln!("error: {error}");
            ExitCode::from(if output::is_bad_input(&error) { 2 } else { 1 })
        }
    }
}
