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
/// reports every variable that `env!` names; a proc macro, a wrapper or another compiler can read
/// one without a word, and so can a linker of the user's: where one of them runs there are none.
///
/// The host's own `cc` and rustc's linkers do read variables, which `[env]` may set, but none that
/// cargo makes of a manifest. So where nothing else links, a new description links nothing anew.
pub fn soft_env(plan: &Plan, unit: usize) -> Vec<(String, String)> {
    let this = &plan.units[unit];
    let foreign = is_wrapped(plan, unit)
        || flags_load_programs(plan, unit)
        || !needs(plan, unit).dylib.is_empty();
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

/// Whether a unit's compiler loads or runs something that the user chose: a linker, what a linker
/// is told to run (`-fuse-ld`, `-B`, plugins), which a build script may say too, or a plugin.
fn flags_load_programs(plan: &Plan, unit: usize) -> bool {
    let this = &plan.units[unit];
    let mut flags = this.rustflags.iter().chain(&this.profile.rustflags);
    let plugs = |flag: &String| {
        // What a file of flags says is not known here.
        flag.starts_with('@') || flag.contains("codegen-backend") || flag.contains("llvm-plugins")
    };
    // Also `linker`, `link-arg`, `pre-link-args` and `link-self-contained`.
    let links = |flag: &String| flag.contains("link") || flag.contains("dlltool");
    if flags.any(|flag| plugs(flag) || (this.links() && links(flag))) {
        return true;
    }
    let has_linker = plan.platform(this).linker.is_some();
    this.links() && (has_linker || needs(plan, unit).own_build_script.is_some())
}

/// Whether a variable may change what a compiler does although no code names it.
fn steers(name: &str) -> bool {
    const PREFIXES: &[&str] = &["RUST", "CARGO", "LD_", "LC_"];
    const NAMES: &[&str] = &[
        "PATH",
        "LANG",
        "TMPDIR",
        "TERM",
        "SOURCE_DATE_EPOCH",
        "SDKROOT",
    ];
    // For Apple's systems rustc takes the least version from `MACOSX_DEPLOYMENT_TARGET` and its
    // like, and metadata and objects hold it.
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || name.ends_with("_DEPLOYMENT_TARGET")
        || NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::steers;

    #[test]
    fn what_rustc_reads_for_apple_steers_it() {
        for name in [
            "MACOSX_DEPLOYMENT_TARGET",
            "IPHONEOS_DEPLOYMENT_TARGET",
            "SDKROOT",
        ] {
            assert!(steers(name), "{name}");
        }
        assert!(!steers("GREETING"));
    }
}
