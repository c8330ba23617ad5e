//! Isolated environments, projects as text, daemons, and assertions on reports: what the
//! integration tests of vx are written with.
//!
//! A test makes an [`Env`], writes a [`Project`] into it, runs `vx` there and looks at the
//! [`Run`], its [`Report`], and the compilers that really started, which a shim in the
//! environment's own toolchain counts: vx's word is not taken for it. Whatever a test starts
//! ends with it, also when the test's process is killed.
//!
//! Failures of the harness itself are panics: there is nobody to handle them but the reader
//! of the test's output.

mod case;
mod compare;
mod daemon;
mod env;
mod fixture;
mod gate;
mod git;
mod locate;
pub mod magic;
pub mod plan_property;
mod process;
pub mod property;
mod reap;
mod report;
mod run;
mod sysroot;
mod toolchain;

pub use case::{Cases, Done, Step};
pub use compare::{assert_same_behaviour, program_output};
pub use daemon::Daemon;
pub use env::{Build, CargoHome, Env};
pub use fixture::Project;
pub use gate::Gate;
pub use process::ProcessInfo;
pub use report::{Action, Report, Totals, Transfer};
pub use run::{Run, Running};
pub use toolchain::{Compile, Hold, Toolchain};
