//! What cargo would build, as an action graph.
//!
//! Cargo's meaning (resolver, features, profiles, targets) is asked of the toolchain's own
//! cargo; from its units to command lines we do what cargo does. The way is
//!
//! 1. [`locate()`]: which workspace, checkout and toolchain a request means; cheap.
//! 2. [`plan()`]: what cargo would build, as values without a place on the host; worth keeping,
//!    under [`memo_static`] and what was looked at for it, [`inputs()`].
//! 3. [`needs()`], [`outputs()`], [`static_part()`], [`compile`], [`run_build_script`]: what each unit
//!    is as an action. They look at the plan alone.
//!
//! Nothing here talks to other services, stores anything, or has other programs run than cargo
//! and rustc; and no environment but the request's reaches those. Files and programs are looked at
//! through [`host`] alone, which notes each look.

mod ask;
mod build_output;
mod build_script;
mod build_script_error;
mod cargo_json;
mod command;
mod compiler;
mod config;
mod declared;
mod dep_info;
mod environment;
mod error;
mod flags;
mod globs;
pub mod host;
mod identity;
mod inputs;
mod invocation;
mod lints;
mod locate;
mod lto;
mod model;
mod named;
mod needs;
mod outputs;
mod overrides;
mod packages;
mod parse_build_output;
mod paths;
mod place_bound;
mod plan;
mod process;
mod processor;
mod remap;
mod request;
mod static_part;
mod toolchain;
mod units;
mod vendored;

pub use build_output::{BuildOutput, LinkArgTarget};
pub use build_script::run_build_script;
pub use build_script_error::BuildScriptError;
pub use command::compile;
pub use compiler::{Compiler, is_wrapped};
pub use dep_info::{DepInfo, DepInfoError, parse_dep_info};
pub use environment::loads_by_variables;
pub use error::PlanError;
pub use host::{Host, Look, Looks, Outside, Ran};
pub use inputs::{Inputs, inputs, unpacked_by_path};
pub use invocation::{CompileInputs, Invocation};
pub use locate::{Workspace, locate, locate_root};
pub use model::*;
pub use named::{flags_read_files, named_by_variables, named_paths};
pub use needs::{Needs, needs};
pub use outputs::{
    OutputFile, OutputKind, build_script_program, dep_info_name, out_dir, outputs, pipelined_output,
};
pub use parse_build_output::{parse_build_output, parse_failed_output};
pub use paths::{HostSource, package_files, unpacked};
pub use plan::{describe, memo_static, messages, plan};
pub use processor::{asks_for_native, is_for_native};
pub use request::{PlanRequest, Selection, plan_env};
pub use static_part::{soft_env, static_part};
pub use toolchain::Toolchain;
pub use vendored::verify_vendored;
