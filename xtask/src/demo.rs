//! `cargo xtask demo`: the programs, and with them a real project, cold, again, and from a
//! second checkout. What is shown is read from the reports.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::report::{self, Report};
use crate::{programs, workspace};

#[derive(Args)]
pub(crate) struct Options {
    /// A project of `harness/corpus.toml`.
    #[arg(long, default_value = "ripgrep")]
    project: String,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let project = vx_corpus::project(&options.project)?;
    println!("== building vx");
    let bin = programs::release()?;

    println!("== fetching {} {}", project.name, project.version);
    let scratch = tempfile::Builder::new().prefix("vx-demo-").tempdir()?;
    let fetcher = vx_corpus::Fetcher {
        cargo: workspace::cargo_program(),
        cargo_home: workspace::cargo_home()?,
    };
    let first = scratch.path().join("first").join(&project.name);
    let second = scratch.path().join("second").join(&project.name);
    for checkout in [&first, &second] {
        std::fs::create_dir_all(checkout.parent().expect("a joined path has a parent"))?;
        fetcher.unpack(&project, checkout)?;
    }
    fetcher.dependencies(&first)?;

    let vx = Vx {
        bin,
        home: scratch.path().join("home"),
    };
    let outcome = show(&vx, &project, &first, &second);
    // The daemons live in the temporary directory: they end before it goes.
    let stopped = workspace::run(&mut vx.command(scratch.path(), &["stop"]));
    outcome.and(stopped)
}

fn show(vx: &Vx, project: &vx_corpus::Project, first: &Path, second: &Path) -> Result<()> {
    println!("== vx build");
    let mut rows = Vec::new();
    for (what, checkout) in [
        ("cold: an empty store", first),
        ("again", first),
        ("a second checkout", second),
    ] {
        rows.push((what, vx.build(checkout)?));
    }
    println!();
    println!(
        "{:24} {:>9} {:>8} {:>6} {:>6} {:>10} {:>10}",
        project.name, "seconds", "actions", "built", "hits", "streamed", "placed"
    );
    for (what, (seconds, report)) in &rows {
        let streamed = report.transfer.direct_bytes + report.transfer.relayed_bytes;
        println!(
            "{what:24} {seconds:>9.3} {:>8} {:>6} {:>6} {:>7} MB {:>7} MB",
            report.totals.actions,
            report.totals.built,
            report.totals.hit,
            streamed / 1_000_000,
            report.transfer.placed_bytes / 1_000_000
        );
        println!(
            "{:24} {:>9.3} of them from the request to its end",
            "",
            report.duration_ms / 1e3
        );
    }
    for (what, (_, report)) in &rows[1..] {
        ensure!(
            report.totals.built == 0,
            "{what}: {} actions were built, none was expected",
            report.totals.built
        );
    }
    for checkout in [first, second] {
        let program = checkout
            .join(".vx/build")
            .join(host()?)
            .join("debug")
            .join(&project.bin);
        let version = workspace::read(Command::new(&program).arg("--version"))?;
        println!(
            "{}: {}",
            program.display(),
            version.lines().next().unwrap_or_default()
        );
    }
    println!(
        "\nThat was in a temporary directory. In a project of yours: `vx build`, then `vx explain`."
    );
    Ok(())
}

/// The machine's target triple, as the compiler says it.
pub(crate) fn host() -> Result<String> {
    let text = workspace::read(workspace::program("rustc").arg("-vV"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc -vV named no host")?.to_owned())
}

/// A vx with a home of its own.
pub(crate) struct Vx {
    pub(crate) bin: PathBuf,
    pub(crate) home: PathBuf,
}

impl Vx {
    pub(crate) fn command(&self, directory: &Path, arguments: &[&str]) -> Command {
        let mut command = workspace::program(self.bin.join("vx"));
        command
            .args(arguments)
            .current_dir(directory)
            .env("VX_HOME", &self.home);
        for name in ["VX_CASS", "VX_RHEA", "VX_CASS_SECRET_FILE"] {
            command.env_remove(name);
        }
        command
    }

    /// Builds and gives the seconds it took, process start to end, and the report.
    fn build(&self, checkout: &Path) -> Result<(f64, Report)> {
        let start = Instant::now();
        workspace::run(&mut self.command(checkout, &["build"]))?;
        let seconds = start.elapsed().as_secs_f64();
        let report = report::latest(checkout)?;
        ensure!(
            report.success,
            "the report in {} says the build failed",
            checkout.display()
        );
        Ok((seconds, report))
    }
}
