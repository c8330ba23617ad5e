//! Names for units that are the same wherever the checkout lies.
//!
//! Cargo's own hashes cover absolute paths of packages outside of the workspace, and the
//! order of its releases; ours cover the same facts by their places.

use std::collections::HashMap;

use serde::Serialize;

use crate::model::{Mode, Package, Unit};

/// Changes with the meaning of what is hashed.
const SCHEME: u32 = 1;

/// The facts both names cover.
#[derive(Serialize)]
struct Facts<'a> {
    scheme: u32,
    package: (&'a str, &'a str, &'a str),
    features: &'a [String],
    profile: ProfileFacts<'a>,
    mode: Mode,
    lto: &'a crate::model::Lto,
    platform: &'a Option<String>,
    target: (&'a str, &'a crate::model::TargetKind),
    rustc: Vec<&'a str>,
}

/// A profile without its name, which changes nothing.
#[derive(Serialize)]
struct ProfileFacts<'a>(
    &'a str,
    &'a str,
    &'a Option<String>,
    Option<u32>,
    &'a str,
    &'a Option<String>,
    [bool; 4],
    &'a str,
    &'a Option<String>,
    &'a [String],
);

/// Fills in [`Unit::metadata`] and [`Unit::identity`] of all units.
pub(crate) fn name_units(units: &mut [Unit], packages: &[Package], rustc_version: &str) {
    let mut named = vec![false; units.len()];
    for index in 0..units.len() {
        name_unit(units, packages, rustc_version, index, &mut named);
    }
    tell_twins_apart(units);
}

/// Units that differ in nothing that is hashed (in incremental compilation alone, say) still
/// have to have files of their own.
fn tell_twins_apart(units: &mut [Unit]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for unit in units {
        let count = seen.entry(unit.identity.clone()).or_default();
        if *count > 0 {
            unit.identity = digest(&("twin", &unit.identity, *count));
            unit.metadata = digest(&("twin", &unit.metadata, *count));
        }
        *count += 1;
    }
}

fn name_unit(
    units: &mut [Unit],
    packages: &[Package],
    rustc_version: &str,
    index: usize,
    named: &mut [bool],
) {
    if std::mem::replace(&mut named[index], true) {
        return;
    }
    let deps: Vec<usize> = units[index].deps.iter().map(|dep| dep.unit).collect();
    for dep in &deps {
        name_unit(units, packages, rustc_version, *dep, named);
    }
    let mut metadata_of_deps: Vec<&str> = deps
        .iter()
        .map(|dep| units[*dep].metadata.as_str())
        .collect();
    metadata_of_deps.sort_unstable();
    let mut identity_of_deps: Vec<&str> = deps
        .iter()
        .map(|dep| units[*dep].identity.as_str())
        .collect();
    identity_of_deps.sort_unstable();

    let unit = &units[index];
    let facts = facts(unit, &packages[unit.package], rustc_version);
    let metadata = digest(&(&facts, "metadata", metadata_of_deps));
    let identity = digest(&(&facts, "identity", identity_of_deps, &unit.rustflags));
    units[index].metadata = metadata;
    units[index].identity = identity;
}

fn facts<'a>(unit: &'a Unit, package: &'a Package, rustc_version: &'a str) -> Facts<'a> {
    let profile = &unit.profile;
    let lines = rustc_version.lines();
    // What is made for a target is the same whatever rustc runs on.
    let rustc = lines
        .filter(|line| unit.platform.is_none() || !line.starts_with("host: "))
        .collect();
    Facts {
        scheme: SCHEME,
        package: (&package.name, &package.version, &package.id),
        features: &unit.features,
        profile: ProfileFacts(
            &profile.opt_level,
            &profile.lto,
            &profile.codegen_backend,
            profile.codegen_units,
            &profile.debuginfo,
            &profile.split_debuginfo,
            // Incremental compilation is how a result is reached, not which one it is.
            [
                profile.debug_assertions,
                profile.overflow_checks,
                profile.rpath,
                profile.is_release,
            ],
            &profile.panic,
            &profile.strip,
            &profile.rustflags,
        ),
        mode: unit.mode,
        lto: &unit.lto,
        platform: &unit.platform,
        target: (&unit.target.name, &unit.target.kind),
        rustc,
    }
}

/// 16 hex digits over a value.
pub(crate) fn digest(value: &impl Serialize) -> String {
    let bytes = serde_json::to_vec(value).expect("strings, numbers and lists always serialise");
    blake3::hash(&bytes).to_hex()[..16].to_owned()
}
