//! What static parts depend on beside the plan, and the static parts themselves.

use std::collections::BTreeMap;

use serde::Serialize;
use vx_core::Digest;
use vx_plan::{Mode, PackageRoot, Plan};

use crate::host;
use crate::keys::{KEY_SCHEMA, StaticPart};
use crate::spec;

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

/// The static part of a unit's action, which sees these packages.
pub(crate) fn static_part(
    plan: &Plan,
    unit: usize,
    visible: &[usize],
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
        processor: native.then(host::processor),
        toolchain: identities.toolchain,
        declared: spec::declared(plan, unit),
        packages,
        unisolated: identities.unisolated.clone(),
        allowed_env: if runs_script {
            identities.allowed_env.clone()
        } else {
            Vec::new()
        },
    }
}
