//! `cargo xtask bench`: vx beside cargo on a real project, interleaved, and the store alone.

mod project;
mod stats;
mod store;
mod table;
mod tools;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::workspace;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// A project of `harness/corpus.toml`.
    #[arg(long, default_value = "ripgrep")]
    project: String,
    /// Interleaved pairs of each row but the first.
    #[arg(long, default_value_t = 7)]
    pairs: usize,
    /// Pairs of the row "from nothing".
    #[arg(long, default_value_t = 3)]
    cold_pairs: usize,
    /// Leave the store's own figures out.
    #[arg(long)]
    no_store: bool,
    /// Leave out what other caches answer where a macro looks around by itself.
    #[arg(long)]
    no_answers: bool,
    /// Write the figures to this file too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut result = project::measure(options)?;
    if !options.no_store {
        result.store = Some(store::measure()?);
    }
    print!("{}", table::render(&result));
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&result)?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    }
    if !options.no_answers {
        println!("\nwhere a macro looks around by itself");
        let arguments = [
            "test",
            "--quiet",
            "-p",
            "vx-harness",
            "--test",
            "other_caches",
        ];
        let shown = ["--", "--ignored", "--nocapture"];
        workspace::run(workspace::cargo().args(arguments).args(shown))?;
    }
    Ok(())
}
