//! `ggraft serve`: models in, a server until it is told to stop.

use std::time::Duration;

use serde_json::json;

use super::args::ServeArgs;
use super::output::print_json;
use crate::serve::{Options, serve as run};

/// Sequences side by side in each live model.
const PARALLEL: u32 = 8;

pub(super) fn serve(args: &ServeArgs, as_json: bool) -> anyhow::Result<()> {
    let options = Options {
        models: args.models.clone(),
        host: args.host.clone(),
        port: args.port,
        api_key: args.api_key.clone(),
        cors_origins: args.cors_origins.clone(),
        study: args.study.clone(),
        max_live: args.max_live,
        max_waiting: args.max_waiting,
        max_body: args.max_body,
        timeout: Duration::from_secs(args.timeout.into()),
        context: args.compute.ctx_size,
        parallel: args.compute.parallel.unwrap_or(PARALLEL),
        settings: args.compute.settings(),
    };
    let keyless = options.api_key.is_none();
    let mut printed = Ok(());
    run(options, |address, catalog| {
        for revision in catalog.all() {
            revision.warnings().iter().for_each(|warning| eprintln!("warning: {warning}"));
            eprintln!("serving `{}`: {} {}", revision.id, revision.template().architecture(), revision.fingerprint);
        }
        if keyless && !address.ip().is_loopback() {
            eprintln!("warning: anybody who reaches {address} can use this server; `--api-key` keeps others out");
        }
        let url = format!("http://{address}");
        eprintln!("listening on {url}");
        if as_json {
            printed = print_json(&json!({ "url": url }));
        }
    })?;
    printed
}
