//! What static parts depend on beside the plan, and the static parts themselves.

use std::collections::BTreeMap;

use serde::Serialize;
use vx_core::digest::Digest;
use vx_core::key::StaticDigest;
use vx_plan::{Declared, Mode, PackageRoot, Plan};

use crate::graph::visible;
use crate::host::toolchain;

/// The version of everything that decides keys and results: a change to it forgets all
/// earlier results.
pub(crate) const KEY_SCHEMA: u32 = 12;

/// What the plan alone says of an action, and what it runs with.
#[derive(Serialize)]
pub(crate) struct StaticPart {
    /// [`KEY_SCHEMA`].
    pub(crate) schema: u32,
    /// What the plan says: kind, package, command line, environment.
    pub(crate) plan: Vec<u8>,
    /// The toolchain's content.
    pub(crate) toolchain: Digest,
    /// What the workspace lets the action see beyond the usual.
    pub(crate) declared: Declared,
    /// What the action sees of immutable packages: places, and what names their content.
    pub(crate) packages: Vec<(String, Digest)>,
    /// Variables let through, as they are.
    pub(crate) allowed_env: Vec<(String, String)>,
    /// Where it runs, if it is not isolated.
    pub(crate) unisolated: Option<Unisolated>,
    /// This machine's processor, if it is made for that.
    pub(crate) processor: Option<Digest>,
    /// Whether what it leaves is looked through for the fixed places of its package and `OUT_DIR`s: where
    /// it is only used within actions, it is not, and holds them.
    pub(crate) leaves: bool,
}

impl StaticPart {
    /// Its digest.
    pub(crate) fn digest(&self) -> StaticDigest {
        StaticDigest(Digest::of_value("vx static part 1", self))
    }
}

/// What static parts depend on beside the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identities {
    /// The toolchain's content.
    pub(crate) toolchain: Digest,
    /// Variables of the caller's that build scripts find as they are.
    pub(crate) allowed_env: Vec<(String, String)>,
    /// Content of packages that no checksum names, by the plan's index.
    pub(crate) trees: BTreeMap<usize, Digest>,
    /// Where actions run that are not isolated; `None` where they are.
    pub(crate) unisolated: Option<Unisolated>,
}

/// Real places that stand in for the fixed ones where actions are not isolated. What such an
/// action leaves may hold them, and nothing that was isolated may be taken for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Unisolated {
    /// What stands for [`vx_core::places::ROOT`].
    pub(crate) base: String,
    /// The checkout.
    pub(crate) checkout: String,
    /// The toolchain.
    pub(crate) toolchain: String,
}

/// The place of a package that is no part of the checkout, and what names its content.
pub(crate) fn package(
    plan: &Plan,
    index: usize,
    identities: &Identities,
) -> Option<(String, Digest)> {
    match &plan.packages[index].root {
        PackageRoot::Checkout { .. } => None,
        PackageRoot::Archive {
            checksum, place, ..
        } => Some((place.clone(), Digest::of(checksum.as_bytes()))),
        PackageRoot::Tree { place, .. } => Some((place.clone(), *identities.trees.get(&index)?)),
    }
}

/// Whether what a unit's compile leaves may hold the fixed place of its package or an `OUT_DIR`.
fn may_hold_places(plan: &Plan, unit: usize) -> bool {
    let this = &plan.units[unit];
    let is_run = |unit: usize| plan.units[unit].mode == Mode::RunBuildScript;
    let is_local = visible::is_local(&plan.packages[this.package].root);
    this.mode == Mode::Compile && (!is_local || this.deps.iter().any(|dep| is_run(dep.unit)))
}

/// The static part of a unit's action, which sees these packages, and whose outputs leave the build or
/// do not.
pub(crate) fn static_part(
    plan: &Plan,
    unit: usize,
    visible: &[usize],
    leaves: bool,
    identities: &Identities,
) -> StaticPart {
    let runs_script = plan.units[unit].mode == Mode::RunBuildScript;
    let packages = visible
        .iter()
        .filter_map(|&index| package(plan, index, identities))
        .collect();
    let told = vx_plan::static_part(plan, unit);
    let mut texts = identities.allowed_env.iter().filter(|_| runs_script);
    let native = std::str::from_utf8(&told).is_ok_and(vx_plan::asks_for_native)
        || texts.any(|(_, value)| vx_plan::asks_for_native(value));
    StaticPart {
        schema: KEY_SCHEMA,
        plan: told,
        processor: native.then(toolchain::processor),
        leaves: leaves && may_hold_places(plan, unit),
        toolchain: identities.toolchain,
        declared: visible::declared(plan, unit),
        packages,
        unisolated: identities.unisolated.clone(),
        allowed_env: if runs_script {
            identities.allowed_env.clone()
        } else {
            Vec::new()
        },
    }
}
