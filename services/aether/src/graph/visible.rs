//! What of a plan's declarations and packages each action sees.

use std::collections::{BTreeSet, HashMap};

use vx_plan::{Declared, Mode, PackageRoot, Plan, TargetKind};

/// What of its package's declarations an action gets: files where it runs foreign code,
/// variables where that code is the package's or a macro's, the network for a build script.
pub(crate) fn declared(plan: &Plan, unit: usize) -> Declared {
    let this = &plan.units[unit];
    let declared = &plan.packages[this.package].declared;
    let runs_script = this.mode == Mode::RunBuildScript;
    let runs_code = runs_script || !vx_plan::needs(plan, unit).dylib.is_empty();
    let list = |given: bool, list: &Vec<String>| if given { list.clone() } else { Vec::new() };
    Declared {
        env: list(runs_code, &declared.env),
        paths: list(runs_foreign_code(plan, unit), &declared.paths),
        network: runs_script && declared.network,
    }
}

/// The packages whose sources each unit's action sees, without repeats: its own, and those that the
/// programs it runs were built of (its build script, macros), as some of them find their own files
/// again when they run. Then those whose scripts tell it something, which often is where their own
/// headers are, or a library.
pub(crate) fn visible_packages(plan: &Plan) -> Vec<Vec<usize>> {
    let mut built_of: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut visible = Vec::with_capacity(plan.units.len());
    for (unit, this) in plan.units.iter().enumerate() {
        let needs = vx_plan::needs(plan, unit);
        let mut packages = BTreeSet::from([this.package]);
        let told = needs.links_metadata.iter().chain(&needs.native_out_dirs);
        packages.extend(told.map(|&run| plan.units[run].package));
        for program in needs.build_script_binary.into_iter().chain(needs.dylib) {
            let built_of = built_of
                .entry(program)
                .or_insert_with(|| packages_of(plan, program));
            packages.extend(built_of.iter());
        }
        visible.push(packages.into_iter().collect());
    }
    visible
}

/// The packages that a program or a macro is built of.
fn packages_of(plan: &Plan, program: usize) -> Vec<usize> {
    let linked = vx_plan::needs(plan, program).rlib;
    let units = linked.into_iter().chain([program]);
    units.map(|unit| plan.units[unit].package).collect()
}

/// Whether an action runs code that is not the toolchain's, or links: what it reads is only
/// known by watching.
pub(crate) fn runs_foreign_code(plan: &Plan, unit: usize) -> bool {
    let this = &plan.units[unit];
    this.mode == Mode::RunBuildScript
        || this.links()
        || this.target.kind == TargetKind::BuildScript
        || !vx_plan::needs(plan, unit).dylib.is_empty()
}

/// Whether a package is part of the checkout.
pub(crate) fn is_local(root: &PackageRoot) -> bool {
    matches!(root, PackageRoot::Checkout { .. })
}
