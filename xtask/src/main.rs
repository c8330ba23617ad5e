//! Install, demo, test, codegen, ci and bench of vx: `cargo xtask <command>`.

mod bench;
mod ci;
mod codegen;
mod demo;
mod install;
mod programs;
mod report;
mod test;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The tasks of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the four programs, optimised, and put them into a directory's `bin`.
    Install {
        /// The directory; cargo's own when not given.
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
    },
    /// Build vx, and with it a real project: cold, again, and from a second checkout.
    Demo(demo::Options),
    /// Run the whole test suite.
    Test {
        /// Passed on to `cargo test`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Make the bindings of `schema/*.capnp` again.
    Codegen {
        /// Change nothing; fail when what is committed differs.
        #[arg(long)]
        check: bool,
    },
    /// Check the format, lints, bindings, layers, rules of the repository, and documentation.
    Ci,
    /// Measure vx beside cargo, and the store alone.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Install { root } => install::run(root),
        Task::Demo(options) => demo::run(&options),
        Task::Test { arguments } => test::run(&arguments),
        Task::Codegen { check: false } => codegen::write(),
        Task::Codegen { check: true } => codegen::check(),
        Task::Ci => ci::run(),
        Task::Bench(options) => bench::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
