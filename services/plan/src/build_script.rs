//! The run of a build script.

use crate::environment;
use crate::invocation::{CompileInputs, Invocation, at_real_places};
use crate::model::{Mode, Plan};
use crate::needs::needs;
use crate::outputs::build_script_program;

/// The run of a build script. A run that the configuration replaces
/// ([`crate::Unit::overridden`]) has no program and is not to be run.
pub fn run_build_script(plan: &Plan, unit: usize, inputs: &CompileInputs) -> Invocation {
    let this = &plan.units[unit];
    debug_assert_eq!(this.mode, Mode::RunBuildScript, "a compile is `compile`'s");
    let program = needs(plan, unit)
        .build_script_binary
        .and_then(|unit| build_script_program(plan, unit));
    let invocation = Invocation {
        argv: program.into_iter().collect(),
        env: environment::of_run(plan, unit, inputs),
        cwd: plan.packages[this.package].dir.clone(),
    };
    at_real_places(invocation, &inputs.moved)
}
