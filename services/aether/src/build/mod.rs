//! A build: what is built, where, for whom, and which services it uses.
//!
//! In: what the plan room made ready. Out: facts that the rooms after this one share. Does nothing by itself.

pub(crate) mod context;
pub(crate) mod layout;
pub(crate) mod sources;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use vx_plan::Plan;

use crate::build::sources::Source;
use crate::graph::static_key::{Identities, Unisolated};
use crate::graph::{Graph, Need};
use crate::host::observe::Places;

/// What is built, and where.
pub(crate) struct Build {
    /// The plan.
    pub(crate) plan: Arc<Plan>,
    /// The plan as the scheduler sees it.
    pub(crate) graph: Arc<Graph>,
    /// What static parts depend on beside the plan.
    pub(crate) identities: Arc<Identities>,
    /// Where things are on this host.
    pub(crate) places: Places,
    /// The workspace's root directory on this host.
    pub(crate) workspace: PathBuf,
    /// Sources of immutable packages, by the plan's index.
    pub(crate) package_sources: BTreeMap<usize, Source>,
    /// The caller's environment.
    pub(crate) env: BTreeMap<String, String>,
}

impl Build {
    /// Where this build's actions run, if they are not isolated.
    pub(crate) fn unisolated(&self) -> Option<&Unisolated> {
        self.identities.unisolated.as_ref()
    }

    /// Whether what a unit looks at in what it needs counts, and not all of it. Without a root of
    /// its own it finds more there than it needs.
    pub(crate) fn watches(&self, unit: usize, need: Need) -> bool {
        self.unisolated().is_none() && self.graph.watches(unit, need)
    }

    /// The package of a unit, as messages name it: `name`.
    pub(crate) fn package_name(&self, unit: usize) -> &str {
        &self.plan.packages[self.plan.units[unit].package].name
    }

    /// The package as cargo's status lines name it: `name v1.2.3 (/path)`.
    pub(crate) fn package_label(&self, unit: usize) -> String {
        let package = &self.plan.packages[self.plan.units[unit].package];
        let mut label = format!("{} v{}", package.name, package.version);
        if let vx_plan::PackageRoot::Checkout { dir } = &package.root {
            let path = if dir.is_empty() {
                self.places.checkout.clone()
            } else {
                self.places.checkout.join(dir)
            };
            label.push_str(&format!(" ({})", path.display()));
        }
        label
    }
}
