//! The files a compile writes: their names, where dependents expect them, and what the user
//! gets to see of them.

use vx_core::places;

use crate::model::{Mode, Plan, Platform, TargetKind, Unit};
use crate::needs::crate_type_is_linkable;

/// A file that a compile writes below [`places::OUT`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFile {
    /// Its name there.
    pub name: String,
    /// What it is.
    pub kind: OutputKind,
    /// Where other actions expect it, below [`places::TARGET`].
    pub place: String,
    /// Its name in the directory of final outputs (`rg`, `examples/demo`), if the user asked
    /// for the unit and gets this file.
    pub final_name: Option<String>,
    /// Whether a successful compile may leave it out.
    pub optional: bool,
}

/// What an output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputKind {
    /// Metadata alone: what dependent libraries wait for.
    Rmeta,
    /// A Rust library with its objects.
    Rlib,
    /// A shared library for Rust: a `dylib` or a proc macro.
    Dylib,
    /// A shared library for others.
    Cdylib,
    /// A static library for others.
    Staticlib,
    /// A program.
    Executable,
    /// Debug information beside a program or shared library.
    DebugInfo,
    /// The dep-info file.
    DepInfo,
}

impl OutputKind {
    /// Whether `--extern` may name it.
    pub fn is_linkable(self) -> bool {
        matches!(self, Self::Rlib | Self::Dylib)
    }
}

/// The files a unit's compile writes; none for the run of a build script.
pub fn outputs(plan: &Plan, unit: usize) -> Vec<OutputFile> {
    let this = &plan.units[unit];
    if this.mode != Mode::Compile {
        return Vec::new();
    }
    let platform = plan.platform(this);
    let mut files = Vec::new();
    for crate_type in this.target.crate_types() {
        add_crate_type(plan, unit, platform, crate_type, &mut files);
    }
    if !this.requires_upstream_objects() {
        files.push(file(
            plan,
            this,
            format!("lib{}.rmeta", stem(this)),
            OutputKind::Rmeta,
            None,
            false,
        ));
    }
    files.push(file(
        plan,
        this,
        dep_info_name(this),
        OutputKind::DepInfo,
        None,
        false,
    ));
    files
}

/// The output for which dependents that need no objects wait; the unit's end if there is none.
pub fn pipelined_output(plan: &Plan, unit: usize) -> Option<OutputFile> {
    outputs(plan, unit)
        .into_iter()
        .find(|file| file.kind == OutputKind::Rmeta)
}

/// Where the run of a build script finds its program: the place of its executable.
pub fn build_script_program(plan: &Plan, unit: usize) -> Option<String> {
    outputs(plan, unit)
        .into_iter()
        .find(|file| file.kind == OutputKind::Executable)
        .map(|file| file.place)
}

/// The `OUT_DIR` of a run of a build script.
pub fn out_dir(plan: &Plan, unit: usize) -> String {
    format!("{}/out", build_dir(plan, &plan.units[unit]))
}

fn add_crate_type(
    plan: &Plan,
    unit: usize,
    platform: &Platform,
    crate_type: &str,
    files: &mut Vec<OutputFile>,
) {
    let this = &plan.units[unit];
    let known = if crate_type == "lib" {
        "rlib"
    } else {
        crate_type
    };
    let Some((_, prefix, suffix)) = platform.file_names.iter().find(|(name, ..)| name == known)
    else {
        return;
    };
    let kind = match known {
        "rlib" => OutputKind::Rlib,
        "dylib" | "proc-macro" => OutputKind::Dylib,
        "cdylib" => OutputKind::Cdylib,
        "staticlib" => OutputKind::Staticlib,
        _ => OutputKind::Executable,
    };
    debug_assert_eq!(kind.is_linkable(), crate_type_is_linkable(known));
    let shown = is_shown(plan, unit, known);
    let mut add = |suffix: &str, kind: OutputKind, optional: bool| {
        let name = format!("{prefix}{}{suffix}", stem(this));
        let last = shown.then(|| final_name(this, known, prefix, suffix));
        files.push(file(plan, this, name, kind, last, optional));
    };
    add(suffix, kind, false);
    if matches!(known, "bin" | "dylib" | "cdylib" | "proc-macro") && has_dwp(&platform.triple) {
        add(&format!("{suffix}.dwp"), OutputKind::DebugInfo, true);
    }
}

/// Elsewhere debug information is a directory or a database, which vx does not handle.
fn has_dwp(triple: &str) -> bool {
    !triple.contains("-apple-") && !triple.ends_with("-msvc") && !triple.ends_with("-uefi")
}

/// Cargo's rule: programs and dylibs always, everything else when it was asked for.
fn is_shown(plan: &Plan, unit: usize, crate_type: &str) -> bool {
    let this = &plan.units[unit];
    this.target.kind != TargetKind::BuildScript
        && (this.target.kind == TargetKind::Bin
            || crate_type == "dylib"
            || plan.roots.contains(&unit))
}

fn final_name(this: &Unit, crate_type: &str, prefix: &str, suffix: &str) -> String {
    let name = if crate_type == "bin" {
        this.target.name.clone()
    } else {
        this.target.crate_name()
    };
    let file = format!("{prefix}{name}{suffix}");
    match this.target.kind {
        TargetKind::ExampleBin | TargetKind::ExampleLib(_) => format!("examples/{file}"),
        _ => file,
    }
}

/// The name of the dep-info file.
pub fn dep_info_name(this: &Unit) -> String {
    format!("{}.d", stem(this))
}

fn stem(this: &Unit) -> String {
    let name = this.target.crate_name();
    if this.hashed_names {
        format!("{name}-{}", this.identity)
    } else {
        name
    }
}

fn file(
    plan: &Plan,
    this: &Unit,
    name: String,
    kind: OutputKind,
    final_name: Option<String>,
    optional: bool,
) -> OutputFile {
    // Cargo runs a build script under its target's name, without the hash.
    let placed = match (&this.target.kind, kind) {
        (TargetKind::BuildScript, OutputKind::Executable) => this.target.name.as_str(),
        _ => name.as_str(),
    };
    let place = format!("{}/{placed}", artifact_dir(plan, this));
    OutputFile {
        name,
        kind,
        place,
        final_name,
        optional,
    }
}

/// Where cargo has a unit's artifacts.
pub(crate) fn artifact_dir(plan: &Plan, this: &Unit) -> String {
    match this.target.kind {
        TargetKind::BuildScript => build_dir(plan, this),
        TargetKind::ExampleBin | TargetKind::ExampleLib(_) => {
            format!("{}/examples", profile_dir(plan, this.platform.as_deref()))
        }
        _ => deps_dir(plan, this.platform.as_deref()),
    }
}

pub(crate) fn deps_dir(plan: &Plan, platform: Option<&str>) -> String {
    format!("{}/deps", profile_dir(plan, platform))
}

pub(crate) fn profile_dir(plan: &Plan, platform: Option<&str>) -> String {
    match platform {
        None => format!("{}/{}", places::TARGET, plan.profile_dir),
        Some(triple) => format!("{}/{triple}/{}", places::TARGET, plan.profile_dir),
    }
}

/// Build scripts are compiled and run in a directory of their own; a compile is the host's.
fn build_dir(plan: &Plan, this: &Unit) -> String {
    let platform = match this.mode {
        Mode::Compile => None,
        Mode::RunBuildScript => this.platform.as_deref(),
    };
    let name = &plan.packages[this.package].name;
    format!(
        "{}/build/{name}-{}",
        profile_dir(plan, platform),
        this.identity
    )
}

impl Plan {
    /// What is known of a unit's platform.
    pub fn platform(&self, unit: &Unit) -> &Platform {
        self.platforms
            .iter()
            .find(|platform| platform.target == unit.platform)
            .unwrap_or(&self.platforms[0])
    }

    /// The triple that final outputs of a unit are filed under.
    pub fn triple<'a>(&'a self, unit: &'a Unit) -> &'a str {
        unit.platform.as_deref().unwrap_or(&self.host)
    }
}
