//! What determines an action but the content of sources and dependencies: the part of its key
//! that is known from the plan alone.

use serde::Serialize;

use crate::build_script::run_build_script;
use crate::command::compile;
use crate::compiler::is_wrapped;
use crate::invocation::{CompileInputs, Invocation};
use crate::model::{Mode, PLAN_VERSION, PackageRoot, Plan};
use crate::needs::needs;

#[derive(Serialize)]
struct StaticPart<'a> {
    version: u32,
    mode: Mode,
    package: (&'a str, &'a str, &'a str),
    /// With the archive's checksum.
    root: &'a PackageRoot,
    rustc: &'a str,
    invocation: Invocation,
}

/// The static part of a unit's action, as bytes to be hashed.
///
/// The command line is the one before build scripts said anything; what they say enters a key
/// as their runs' output. Whether a compile is incremental is the caller's to add.
pub fn static_part(plan: &Plan, unit: usize) -> Vec<u8> {
    let this = &plan.units[unit];
    let package = &plan.packages[this.package];
    let nothing = CompileInputs::default();
    let mut invocation = match this.mode {
        Mode::Compile => compile(plan, unit, &nothing),
        Mode::RunBuildScript => run_build_script(plan, unit, &nothing),
    };
    for (name, _) in soft_env(plan, unit) {
        invocation.env.remove(&name);
    }
    let part = StaticPart {
        version: PLAN_VERSION,
        mode: this.mode,
        package: (&package.name, &package.version, &package.id),
        root: &package.root,
        rustc: &plan.rustc_version,
        invocation,
    };
    serde_json::to_vec(&part).expect("strings, numbers and lists always serialise")
}

/// Variables of a compile that only count if the compiled code names them: what a manifest says
/// for people, such as its description, and the `[env]` tables of the configuration. rustc
/// reports every variable that `env!` names; a proc macro or a wrapper can read one without a word,
/// and a linker too, so where one of them runs there are fewer of these, or none.
pub fn soft_env(plan: &Plan, unit: usize) -> Vec<(String, String)> {
    let this = &plan.units[unit];
    let foreign = is_wrapped(plan, unit) || !needs(plan, unit).dylib.is_empty();
    if this.mode != Mode::Compile || foreign {
        return Vec::new();
    }
    let mut soft = plan.packages[this.package].metadata_env.clone();
    if !this.links() {
        let of_configuration = plan.env.iter().filter(|(name, _)| !steers(name));
        soft.extend(of_configuration.cloned());
    }
    soft
}

/// Whether a variable may change what a compiler does although no code names it.
fn steers(name: &str) -> bool {
    const PREFIXES: &[&str] = &["RUST", "CARGO", "LD_", "LC_"];
    const NAMES: &[&str] = &["PATH", "LANG", "TMPDIR", "TERM", "SOURCE_DATE_EPOCH"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
}
