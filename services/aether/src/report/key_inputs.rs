//! What keys are made of, as the report tells it: the words behind the digests.
//!
//! Only for actions that ran. Nothing here enters a key, and nothing reads it but people and
//! `vx explain`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vx_core::Digest;
use vx_plan::{Declared, Invocation};

use crate::build::context::BuildContext;
use crate::graph::static_key::static_part;
use crate::key::KeyParts;
use crate::key::trees::Given;
use crate::report::secrets::{self, Shown};

/// See `docs/report.md`.
#[derive(Serialize)]
struct Inputs<'a> {
    /// Of keys and of plans.
    versions: [u32; 2],
    /// Its identity without a place.
    package_id: &'a str,
    profile: &'a str,
    target: Option<&'a str>,
    rustc: &'a str,
    toolchain: Digest,
    argv: Vec<Shown>,
    cwd: &'a str,
    /// Set by cargo.
    env: BTreeMap<&'a str, Shown>,
    /// The caller's, let through to build scripts.
    allowed_env: BTreeMap<&'a str, Shown>,
    /// The caller's and the manifest's that were named and are set.
    named_env: BTreeMap<&'a str, Shown>,
    packages: BTreeMap<&'a str, Digest>,
    #[serde(skip_serializing_if = "is_nothing")]
    declared: &'a Declared,
    /// Where it ran, if it was not isolated.
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<&'a str>,
    /// What the processor can do, if it is made for this machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    processor: Option<Digest>,
    /// Whether what it leaves is looked through for fixed places.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    leaves: bool,
    /// The action that each entry of the parts' dependencies is of.
    dependencies: Vec<Option<String>>,
}

fn is_nothing(declared: &&Declared) -> bool {
    **declared == Declared::default()
}

/// What is used here of the plan's own static part.
#[derive(Deserialize)]
struct PlanPart {
    version: u32,
    invocation: Invocation,
}

/// The inputs of a unit's action, as one line of JSON. `None` where there is nothing to tell.
pub(crate) fn of(context: &BuildContext, unit: usize, parts: &KeyParts) -> Option<Box<RawValue>> {
    let plan = &context.plan;
    let this = &plan.units[unit];
    let part = static_part(
        plan,
        unit,
        &context.graph.visible[unit],
        context.graph.leaves[unit],
        &context.identities,
    );
    let told: PlanPart = serde_json::from_slice(&part.plan).ok()?;
    let soft = &context.graph.soft_env[unit];
    let nothing = Given::default();
    let observer = context.observer(&nothing);
    let inputs = Inputs {
        versions: [part.schema, told.version],
        package_id: &plan.packages[this.package].id,
        profile: &this.profile.name,
        target: this.platform.as_deref(),
        rustc: plan.rustc_version.lines().next().unwrap_or_default(),
        toolchain: part.toolchain,
        argv: told
            .invocation
            .argv
            .iter()
            .map(|one| secrets::argument(one))
            .collect(),
        cwd: &told.invocation.cwd,
        processor: part.processor,
        leaves: part.leaves,
        env: told
            .invocation
            .env
            .iter()
            .map(|(name, value)| {
                // What the configuration sets is the user's; what cargo sets is not.
                let users = plan.env.iter().any(|(other, _)| other == name);
                let shown = if users {
                    secrets::variable(name, value)
                } else {
                    secrets::of_cargo(name, value)
                };
                (name.as_str(), shown)
            })
            .collect(),
        allowed_env: part
            .allowed_env
            .iter()
            .map(|(name, value)| (name.as_str(), secrets::variable(name, value)))
            .collect(),
        named_env: parts
            .env
            .iter()
            .filter(|(_, digest)| digest.is_some())
            .filter_map(|(name, _)| {
                Some((
                    name.as_str(),
                    secrets::variable(name, observer.variable(soft, name)?),
                ))
            })
            .collect(),
        packages: part
            .packages
            .iter()
            .map(|(place, digest)| (place.as_str(), *digest))
            .collect(),
        declared: &part.declared,
        base: part.unisolated.as_ref().map(|places| places.base.as_str()),
        dependencies: parts
            .dependencies
            .iter()
            .map(|dependency| producer(context, unit, &dependency.name))
            .collect(),
    };
    serde_json::value::to_raw_value(&inputs).ok()
}

/// The action whose output is expected at a place.
fn producer(context: &BuildContext, unit: usize, place: &str) -> Option<String> {
    let makes = |other: usize| {
        context.graph.files[other]
            .iter()
            .any(|file| file.place == place)
            || (context.plan.units[other].mode == vx_plan::Mode::RunBuildScript
                && vx_plan::out_dir(&context.plan, other) == place)
    };
    let needs = &context.graph.needs[unit];
    let found = needs.iter().find(|need| makes(need.unit))?;
    Some(crate::graph::labels::action_id(&context.plan, found.unit))
}
