//! The command line of vx: a thin client of the orchestrator.
//!
//! It is responsible for the terminal, the arguments and the exit code. It must not read
//! manifests, touch the store, or run compilers: everything it knows of a build it was told
//! by the orchestrator, and everything the orchestrator knows of the caller it was sent.

mod app;
mod args;
mod commands;
mod connect;
mod error;
mod exit_code;
mod home;
mod output;
mod report;
mod request;
mod signals;
mod version;

fn main() -> std::process::ExitCode {
    app::run(std::env::args_os()).into()
}
