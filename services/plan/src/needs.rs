//! Which outputs of which units an action reads, by role.
//!
//! rustc looks a crate's dependencies up in its metadata, all the way down, so direct
//! dependencies are never enough; and it loads proc macros but does not look into them.

use crate::model::{Mode, Plan, TargetKind, Unit};

/// What one unit needs of others. All are indices into [`Plan::units`], sorted but where an
/// order is said to matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Libraries whose `.rmeta` is read.
    pub rmeta: Vec<usize>,
    /// Libraries whose linkable files are read (`.rlib`, and `.so` of crate type `dylib`).
    pub rlib: Vec<usize>,
    /// Proc macros that are loaded.
    pub dylib: Vec<usize>,
    /// The run of the package's own build script: its `OUT_DIR` and what it said.
    pub own_build_script: Option<usize>,
    /// Runs of build scripts whose search paths and libraries are on the command line, in
    /// cargo's order. Their `OUT_DIR` is read where what they said names a directory in it.
    pub native_out_dirs: Vec<usize>,
    /// Runs of build scripts that proc macros were built with: their dynamic libraries have
    /// to be found when the macro is loaded.
    pub plugin_out_dirs: Vec<usize>,
    /// The compiled build script, for its run.
    pub build_script_binary: Option<usize>,
    /// Runs whose `metadata` the build script is given as `DEP_*`, and those that told these
    /// something in the same way. What that says can name files in their `OUT_DIR`, and is often
    /// passed on.
    pub links_metadata: Vec<usize>,
}

/// What a unit needs.
pub fn needs(plan: &Plan, unit: usize) -> Needs {
    let this = &plan.units[unit];
    match this.mode {
        Mode::RunBuildScript => needs_of_run(plan, this),
        Mode::Compile => needs_of_compile(plan, this),
    }
}

fn needs_of_run(plan: &Plan, this: &Unit) -> Needs {
    let mut needs = Needs {
        plugin_out_dirs: this.plugin_scripts.clone(),
        ..Needs::default()
    };
    for dep in &this.deps {
        match plan.units[dep.unit].mode {
            Mode::RunBuildScript => add_run(plan, dep.unit, &mut needs.links_metadata),
            Mode::Compile => needs.build_script_binary = Some(dep.unit),
        }
    }
    needs.links_metadata.sort_unstable();
    needs
}

/// Adds a run and all whose metadata came to it.
fn add_run(plan: &Plan, run: usize, runs: &mut Vec<usize>) {
    let mut stack = vec![run];
    while let Some(run) = stack.pop() {
        if runs.contains(&run) {
            continue;
        }
        runs.push(run);
        let deps = plan.units[run].deps.iter().map(|dep| dep.unit);
        stack.extend(deps.filter(|&dep| plan.units[dep].mode == Mode::RunBuildScript));
    }
}

fn needs_of_compile(plan: &Plan, this: &Unit) -> Needs {
    let mut needs = Needs {
        own_build_script: own_build_script(plan, this),
        native_out_dirs: this.link_scripts.clone(),
        plugin_out_dirs: this.plugin_scripts.clone(),
        ..Needs::default()
    };
    let wants_objects = this.requires_upstream_objects();
    let mut seen = vec![false; plan.units.len()];
    let mut stack: Vec<usize> = this.deps.iter().map(|dep| dep.unit).collect();
    while let Some(index) = stack.pop() {
        if std::mem::replace(&mut seen[index], true) {
            continue;
        }
        let dep = &plan.units[index];
        if dep.mode != Mode::Compile || !dep.target.is_linkable() {
            continue;
        }
        if dep.target.is_proc_macro() {
            needs.dylib.push(index);
            continue;
        }
        // A library that links (a dylib, or one with a cdylib beside it) has no `.rmeta`.
        if wants_objects || dep.requires_upstream_objects() {
            needs.rlib.push(index);
        } else {
            needs.rmeta.push(index);
        }
        stack.extend(dep.deps.iter().map(|dep| dep.unit));
    }
    needs.rmeta.sort_unstable();
    needs.rlib.sort_unstable();
    needs.dylib.sort_unstable();
    needs
}

pub(crate) fn own_build_script(plan: &Plan, this: &Unit) -> Option<usize> {
    this.deps
        .iter()
        .map(|dep| dep.unit)
        .find(|dep| plan.units[*dep].mode == Mode::RunBuildScript)
}

impl Unit {
    /// Whether this compile reads objects of its dependencies, and not only metadata.
    pub fn requires_upstream_objects(&self) -> bool {
        match &self.target.kind {
            TargetKind::Lib(types) | TargetKind::ExampleLib(types) => {
                types.iter().any(|name| name != "lib" && name != "rlib")
            }
            _ => true,
        }
    }

    /// Whether this compile ends in a linker.
    pub fn links(&self) -> bool {
        self.mode == Mode::Compile
            && match &self.target.kind {
                TargetKind::Lib(types) | TargetKind::ExampleLib(types) => types
                    .iter()
                    .any(|name| !matches!(name.as_str(), "lib" | "rlib" | "staticlib")),
                _ => true,
            }
    }
}

impl crate::model::Target {
    /// The crate's name as rustc is told.
    pub fn crate_name(&self) -> String {
        self.name.replace('-', "_")
    }

    /// The crate types rustc is told.
    pub fn crate_types(&self) -> Vec<&str> {
        match &self.kind {
            TargetKind::Lib(types) | TargetKind::ExampleLib(types) => {
                types.iter().map(String::as_str).collect()
            }
            _ => vec!["bin"],
        }
    }

    /// Whether it is a library of the package.
    pub fn is_lib(&self) -> bool {
        matches!(self.kind, TargetKind::Lib(_))
    }

    /// Whether Rust crates can depend on it.
    pub fn is_linkable(&self) -> bool {
        self.is_lib() && self.crate_types().into_iter().any(crate_type_is_linkable)
    }

    /// Whether it is a proc macro.
    pub fn is_proc_macro(&self) -> bool {
        self.is_lib() && self.crate_types().contains(&"proc-macro")
    }

    /// Whether it is always for the host: proc macros and build scripts.
    pub fn for_host(&self) -> bool {
        self.is_proc_macro() || self.kind == TargetKind::BuildScript
    }

    /// Whether it is a program, or an example that is one.
    pub fn is_executable(&self) -> bool {
        matches!(self.kind, TargetKind::Bin | TargetKind::ExampleBin)
    }
}

pub(crate) fn crate_type_is_linkable(name: &str) -> bool {
    matches!(name, "lib" | "rlib" | "dylib" | "proc-macro")
}
