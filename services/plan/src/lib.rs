//! What cargo would build, as an action graph.
//!
//! Cargo's meaning is asked of the toolchain's own cargo; from its units to command lines
//! we do what cargo does.

mod build_output;
mod dep_info;
mod error;
mod invocation;
mod model;
mod needs;
mod outputs;
mod request;

pub use build_output::{BuildOutput, LinkArgTarget};
pub use dep_info::{DepInfo, DepInfoError, parse_dep_info};
pub use error::PlanError;
pub use invocation::{CompileInputs, Invocation};
pub use model::*;
pub use needs::{Needs, needs};
pub use outputs::{
    OutputFile, OutputKind, build_script_program, dep_info_name, out_dir, outputs, pipelined_output,
};
pub use request::{PlanRequest, Selection, plan_env};
