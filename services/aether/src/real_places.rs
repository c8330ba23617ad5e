//! Where an action finds what it may take in: at fixed places, or where it really is.

use std::path::Path;

use serde::{Deserialize, Serialize};
use vx_core::action::{Marker, MarkerScope};
use vx_core::readset::TakenIn;
use vx_core::{Digest, places};
use vx_plan::{Lto, Mode, PackageRoot};

use crate::context::BuildContext;
use crate::deliver;
use crate::dependency::Used;
use crate::graph::{Need, Role};
use crate::identities;
use crate::own_directory;
use crate::spec;

/// A place with the one that it really is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    /// The fixed place.
    pub(crate) fixed: String,
    /// The host's path.
    pub(crate) real: String,
}

/// What an action has where it really is. All of it is in its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RealPlaces {
    /// The checkout.
    pub(crate) checkout: Option<Moved>,
    /// The root of its package, which is no part of the checkout.
    pub(crate) package: Option<Moved>,
    /// The `OUT_DIR` of its package's build script.
    pub(crate) out_dir: Option<Moved>,
}

impl RealPlaces {
    /// The places of a unit's action that took in `taken`.
    pub(crate) fn of(context: &BuildContext, unit: usize, taken: TakenIn) -> Self {
        let package = context.plan.units[unit].package;
        let root = &context.plan.packages[package].root;
        // Where nothing is isolated, everything is where it really is.
        let is_real = taken.checkout || context.unisolated().is_some();
        Self {
            checkout: (is_real && sees_checkout(context, unit)).then(|| Moved {
                fixed: places::CHECKOUT.to_owned(),
                real: text(&context.places.checkout),
            }),
            package: if taken.package {
                package_place(root).zip(context.package_sources.get(&package))
            } else {
                None
            }
            .map(|(fixed, source)| Moved {
                fixed,
                real: text(source.unpacked()),
            }),
            out_dir: own_run(context, unit)
                .filter(|_| taken.out_dir)
                .map(|run| Moved {
                    fixed: vx_plan::out_dir(&context.plan, run),
                    real: real_out_dir(context, run),
                }),
        }
    }

    /// All of them, as invocations are moved.
    pub(crate) fn moved(&self) -> Vec<(String, String)> {
        [&self.checkout, &self.package, &self.out_dir]
            .into_iter()
            .flatten()
            .map(|moved| (moved.fixed.clone(), moved.real.clone()))
            .collect()
    }

    /// What keys name beside the checkout.
    pub(crate) fn named(&self) -> Vec<String> {
        [&self.package, &self.out_dir]
            .into_iter()
            .flatten()
            .map(|moved| moved.real.clone())
            .collect()
    }
}

/// A real place that a program holds: it looks for it there when it runs, wherever that is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Held {
    /// The checkout's.
    Checkout,
    /// A package's.
    Package {
        /// Its fixed place.
        place: String,
        /// Its real one.
        at: String,
        /// What names its content.
        identity: Digest,
    },
    /// An `OUT_DIR`.
    OutDir {
        /// Its real place.
        at: String,
        /// What is in there.
        tree: Digest,
    },
}

impl Held {
    /// What stands for it in the key of an action that runs the program.
    ///
    /// A package is what it is now, whatever it was when the program was built.
    pub(crate) fn key_part(&self, context: &BuildContext) -> Option<(&str, Digest)> {
        match self {
            // What is looked at there is traced.
            Self::Checkout => None,
            Self::Package {
                place,
                at,
                identity,
            } => Some((at, identity_now(context, place).unwrap_or(*identity))),
            Self::OutDir { at, tree } => Some((at, *tree)),
        }
    }
}

/// The identity of the plan's package at a fixed place.
fn identity_now(context: &BuildContext, place: &str) -> Option<Digest> {
    let mut packages = 0..context.plan.packages.len();
    packages.find_map(|index| {
        let root = &context.plan.packages[index].root;
        let found = package_place(root).filter(|found| found == place)?;
        let identity = identities::package(&context.plan, index, &context.identities)?;
        debug_assert_eq!(found, identity.0);
        Some(identity.1)
    })
}

/// What a compile at these places holds, with what it links.
pub(crate) fn holds(
    context: &BuildContext,
    unit: usize,
    used: &[(Need, Used)],
    taken: TakenIn,
) -> Vec<Held> {
    let real = RealPlaces::of(context, unit, taken);
    let package = context.plan.units[unit].package;
    let identity = identities::package(&context.plan, package, &context.identities);
    let tree = used.iter().find_map(|(need, used)| match used {
        Used::Run { out_dir, .. } if Some(need.unit) == own_run(context, unit) => *out_dir,
        _ => None,
    });
    let own = [
        real.checkout.map(|_| Held::Checkout),
        real.package
            .zip(identity)
            .map(|(moved, (place, identity))| Held::Package {
                place,
                at: moved.real,
                identity,
            }),
        real.out_dir.zip(tree).map(|(moved, tree)| Held::OutDir {
            at: moved.real,
            tree,
        }),
    ];
    let linked = used
        .iter()
        .filter(|(need, _)| need.role == Role::Rlib)
        .flat_map(|(_, used)| used.holds().iter().cloned());
    let mut all: Vec<Held> = own.into_iter().flatten().chain(linked).collect();
    all.sort();
    all.dedup();
    all
}

/// The fixed places that outputs still hold of those which a compile had as they really are: what
/// its build script wrote into files says so.
pub(crate) fn left(context: &BuildContext, unit: usize, found: TakenIn) -> Vec<String> {
    let moved = RealPlaces::of(context, unit, found).moved();
    moved.into_iter().map(|(fixed, _)| fixed).collect()
}

/// What the programs and macros hold that an action runs.
pub(crate) fn held_by_programs(used: &[(Need, Used)]) -> Vec<&Held> {
    let programs = used
        .iter()
        .filter(|(need, _)| matches!(need.role, Role::Program | Role::Dylib));
    let mut held: Vec<&Held> = programs.flat_map(|(_, used)| used.holds()).collect();
    held.sort();
    held.dedup();
    held
}

/// What an action has to have where it really is because of the programs it runs: one that holds
/// the checkout's path finds nothing elsewhere.
pub(crate) fn taken_by_programs(
    context: &BuildContext,
    unit: usize,
    used: &[(Need, Used)],
) -> TakenIn {
    TakenIn {
        checkout: sees_checkout(context, unit) && held_by_programs(used).contains(&&Held::Checkout),
        ..TakenIn::default()
    }
}

/// What of a unit's fixed places its outputs are looked through for, each with the text.
///
/// What only runs within actions, such as a build script, finds everything at its fixed place;
/// but for the checkout, which is not always there.
pub(crate) fn markers(
    context: &BuildContext,
    unit: usize,
    taken: TakenIn,
) -> Vec<(TakenIn, Marker)> {
    let plan = &context.plan;
    let package = &plan.packages[plan.units[unit].package];
    let bitcode = plan.units[unit].lto == Lto::OnlyBitcode;
    let marker = |text: &str, within| Marker {
        text: text.to_owned(),
        within,
        bitcode,
    };
    let none = TakenIn::default();
    let mut markers = Vec::new();
    if context.unisolated().is_some() {
        return markers;
    }
    if is_local(&package.root) && !taken.checkout {
        let taken = TakenIn {
            checkout: true,
            ..none
        };
        markers.push((
            taken,
            marker(places::CHECKOUT_MARK, MarkerScope::Everything),
        ));
    }
    if plan.units[unit].mode != Mode::Compile || !context.graph.leaves[unit] {
        return markers;
    }
    if !is_local(&package.root) {
        let taken = TakenIn {
            package: true,
            ..none
        };
        markers.push((taken, marker(&package.dir, MarkerScope::Compiled)));
    }
    if let Some(run) = own_run(context, unit) {
        let taken = TakenIn {
            out_dir: true,
            ..none
        };
        let out_dir = vx_plan::out_dir(plan, run);
        markers.push((taken, marker(&out_dir, MarkerScope::Compiled)));
    }
    markers
}

/// Where the `OUT_DIR` of a build script's run is outside of actions: at cargo's depth below the
/// directory of the programs.
pub(crate) fn real_out_dir(context: &BuildContext, run: usize) -> String {
    let fixed = vx_plan::out_dir(&context.plan, run);
    let name = Path::new(&fixed).parent().and_then(Path::file_name);
    let directory = deliver::directory(context, run);
    let below = directory
        .strip_prefix(context.workspace.join(".vx"))
        .unwrap_or(&directory);
    let directory = own_directory::path(context).join(below);
    text(
        &directory
            .join("build")
            .join(name.unwrap_or_default())
            .join("out"),
    )
}

/// Where a package is mounted, unless it is part of the checkout.
pub(crate) fn package_place(root: &PackageRoot) -> Option<String> {
    match root {
        PackageRoot::Checkout { .. } => None,
        PackageRoot::Archive { place, .. } | PackageRoot::Tree { place, .. } => Some(place.clone()),
    }
}

/// Whether a package is part of the checkout.
pub(crate) fn is_local(root: &PackageRoot) -> bool {
    matches!(root, PackageRoot::Checkout { .. })
}

/// Whether a unit's action sees the checkout: that its package is part of, or one whose build script
/// tells it something, or that something lies in which its settings name.
pub(crate) fn sees_checkout(context: &BuildContext, unit: usize) -> bool {
    let plan = &context.plan;
    let named = vx_plan::named_paths(plan, unit);
    let in_checkout = |path: &&str| places::below(path, places::CHECKOUT).is_some();
    let is_local = |package: usize| is_local(&plan.packages[package].root);
    // Its own first: the others are found by a walk through the graph.
    is_local(plan.units[unit].package)
        || named.iter().any(in_checkout)
        || spec::visible_packages(plan, unit).into_iter().any(is_local)
}

/// The run of a compile's own build script, unless the configuration stands in its place.
fn own_run(context: &BuildContext, unit: usize) -> Option<usize> {
    let plan = &context.plan;
    let this = &plan.units[unit];
    let mut deps = this.deps.iter().map(|dep| dep.unit);
    let run = deps.find(|&dep| plan.units[dep].mode == Mode::RunBuildScript)?;
    (this.mode == Mode::Compile && plan.units[run].overridden.is_none()).then_some(run)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
