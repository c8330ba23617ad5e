//! Where an action finds what it may take in: at fixed places, or where it really is.

use std::path::Path;

use vx_core::readset::TakenIn;
use vx_core::{Digest, MAX_MARKERS, Marker, MarkerScope, places};
use vx_plan::{Lto, Mode, PackageRoot};

use crate::build::Build;
use crate::build::layout;
use crate::graph::static_key;
use crate::graph::visible::is_local;
use crate::graph::{Need, Role};
use crate::inputs::dependency::Used;
use crate::inputs::payload::Held;
use crate::key::KeyedPlaces;

/// A place with the one that it really is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    /// The fixed place.
    pub(crate) fixed: String,
    /// The host's path.
    pub(crate) real: String,
    /// What is in there, of an `OUT_DIR`.
    tree: Option<Digest>,
}

/// What an action has where it really is. All of it is in its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RealPlaces {
    /// The checkout.
    pub(crate) checkout: Option<Moved>,
    /// The rest, each with whose it is.
    others: Vec<(Whose, Moved)>,
}

/// Whose place it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// The root of a package that is no part of the checkout, by the plan's index.
    Package(usize),
    /// The `OUT_DIR` of a build script's run, by the plan's index.
    Run(usize),
}

impl Whose {
    /// The fixed place; `None` for what is part of the checkout.
    fn fixed(self, build: &Build) -> Option<String> {
        match self {
            Self::Package(package) => package_place(&build.plan.packages[package].root),
            Self::Run(run) => Some(vx_plan::out_dir(&build.plan, run)),
        }
    }

    /// Where it really is; `None` for what is nowhere but in a store.
    fn real(self, build: &Build) -> Option<String> {
        match self {
            Self::Package(package) => {
                let source = build.package_sources.get(&package);
                source.map(|source| text(source.unpacked()))
            }
            Self::Run(run) => Some(real_out_dir(build, run)),
        }
    }

    fn tree(self, used: &[(Need, Used)]) -> Option<Digest> {
        let Self::Run(run) = self else {
            return None;
        };
        used.iter().find_map(|(need, used)| match used {
            Used::Run { out_dir, .. } if need.unit == run => *out_dir,
            _ => None,
        })
    }
}

/// What a unit may take in beside the checkout, and as what.
fn others(build: &Build, unit: usize) -> Vec<(TakenIn, Whose)> {
    let plan = &build.plan;
    let none = TakenIn::default();
    let package = TakenIn {
        package: true,
        ..none
    };
    let out_dir = TakenIn {
        out_dir: true,
        ..none
    };
    let told = TakenIn { told: true, ..none };
    let own = plan.units[unit].package;
    let mut others = vec![(package, Whose::Package(own))];
    let Some(run) = own_run(build, unit) else {
        return others;
    };
    others.push((out_dir, Whose::Run(run)));
    // What they said went through the unit's own script.
    for events in vx_plan::needs(plan, run).links_metadata {
        let teller_of = plan.units[events].package;
        if teller_of != own {
            others.push((told, Whose::Package(teller_of)));
        }
        if plan.units[events].overridden.is_none() {
            others.push((told, Whose::Run(events)));
        }
    }
    others
}

impl RealPlaces {
    /// The places of a unit's action that took in `taken`, with what is used of its dependencies.
    pub(crate) fn of(build: &Build, unit: usize, used: &[(Need, Used)], taken: TakenIn) -> Self {
        // Where nothing is isolated, everything is where it really is.
        let is_real = taken.checkout || build.unisolated().is_some();
        let checkout = (is_real && sees_checkout(build, unit)).then(|| Moved {
            fixed: places::CHECKOUT.to_owned(),
            real: text(&build.places.checkout),
            tree: None,
        });
        if !(taken.package || taken.out_dir || taken.told) {
            return Self {
                checkout,
                others: Vec::new(),
            };
        }
        let others = others(build, unit).into_iter();
        let others = others.filter(|(one, _)| taken.and(*one) == taken);
        Self {
            checkout,
            others: others
                .filter_map(|(_, whose)| {
                    let fixed = whose.fixed(build)?;
                    let real = whose.real(build)?;
                    let tree = whose.tree(used);
                    Some((whose, Moved { fixed, real, tree }))
                })
                .collect(),
        }
    }

    /// All of them, as invocations are moved.
    pub(crate) fn moved(&self) -> Vec<(String, String)> {
        let others = self.others.iter().map(|(_, moved)| moved);
        let all = self.checkout.iter().chain(others);
        all.map(|moved| (moved.fixed.clone(), moved.real.clone()))
            .collect()
    }

    /// Where an action finds what has this fixed place.
    pub(crate) fn of_place(&self, fixed: String) -> String {
        let mut others = self.others.iter().map(|(_, moved)| moved);
        let moved = others.find(|moved| moved.fixed == fixed);
        moved.map_or(fixed, |moved| moved.real.clone())
    }

    /// What of it keys name: where it is, and of an `OUT_DIR` what is in there, as whoever runs what
    /// holds it looks there.
    pub(crate) fn keyed(&self) -> KeyedPlaces {
        let others = self.others.iter();
        let mut others: Vec<_> = others
            .map(|(_, moved)| (moved.real.clone(), moved.tree))
            .collect();
        others.sort();
        KeyedPlaces {
            checkout: self.checkout.as_ref().map(|moved| moved.real.clone()),
            others,
        }
    }
}

/// What stands for it in the key of an action that runs the program.
///
/// A package is what it is now, whatever it was when the program was built.
pub(crate) fn key_part<'h>(build: &Build, held: &'h Held) -> Option<(&'h str, Digest)> {
    match held {
        // What is looked at there is traced.
        Held::Checkout => None,
        Held::Package {
            place,
            at,
            identity,
        } => Some((at, identity_now(build, place).unwrap_or(*identity))),
        Held::OutDir { at, tree } => Some((at, *tree)),
    }
}

/// The identity of the plan's package at a fixed place.
fn identity_now(build: &Build, place: &str) -> Option<Digest> {
    let mut packages = 0..build.plan.packages.len();
    packages.find_map(|index| {
        let root = &build.plan.packages[index].root;
        let found = package_place(root).filter(|found| found == place)?;
        let identity = static_key::package(&build.plan, index, &build.identities)?;
        debug_assert_eq!(found, identity.0);
        Some(identity.1)
    })
}

/// What a compile at these places holds, with what it links.
pub(crate) fn holds(
    build: &Build,
    unit: usize,
    used: &[(Need, Used)],
    taken: TakenIn,
) -> Vec<Held> {
    let real = RealPlaces::of(build, unit, used, taken);
    let others = real.others.into_iter().filter_map(|(whose, moved)| {
        Some(match whose {
            Whose::Package(package) => {
                let identity = static_key::package(&build.plan, package, &build.identities);
                let (place, identity) = identity?;
                Held::Package {
                    place,
                    at: moved.real,
                    identity,
                }
            }
            Whose::Run(_) => Held::OutDir {
                at: moved.real,
                tree: moved.tree?,
            },
        })
    });
    let own = real.checkout.map(|_| Held::Checkout);
    let linked = used
        .iter()
        .filter(|(need, _)| need.role == Role::Rlib)
        .flat_map(|(_, used)| used.holds().iter().cloned());
    let mut all: Vec<Held> = own.into_iter().chain(others).chain(linked).collect();
    all.sort();
    all.dedup();
    all
}

/// The fixed places that outputs still hold of those which a compile had as they really are: what
/// its build script wrote into files says so.
pub(crate) fn left(build: &Build, unit: usize, found: TakenIn) -> Vec<String> {
    if !found.any() {
        return Vec::new();
    }
    let moved = RealPlaces::of(build, unit, &[], found).moved();
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
pub(crate) fn taken_by_programs(build: &Build, unit: usize, used: &[(Need, Used)]) -> TakenIn {
    TakenIn {
        checkout: sees_checkout(build, unit) && held_by_programs(used).contains(&&Held::Checkout),
        ..TakenIn::default()
    }
}

/// What of a unit's fixed places its outputs are looked through for, each with the text.
///
/// What only runs within actions, such as a build script, finds everything at its fixed place;
/// but for the checkout, which is not always there.
pub(crate) fn markers(build: &Build, unit: usize, taken: TakenIn) -> Vec<(TakenIn, Marker)> {
    let plan = &build.plan;
    let package = &plan.packages[plan.units[unit].package];
    let bitcode = plan.units[unit].lto == Lto::OnlyBitcode;
    let marker = |text: &str, within| Marker {
        text: text.to_owned(),
        within,
        bitcode,
    };
    let mut markers = Vec::new();
    if build.unisolated().is_some() {
        return markers;
    }
    if is_local(&package.root) && !taken.checkout {
        let taken = TakenIn {
            checkout: true,
            ..TakenIn::default()
        };
        markers.push((
            taken,
            marker(places::CHECKOUT_MARK, MarkerScope::Everything),
        ));
    }
    if plan.units[unit].mode != Mode::Compile || !build.graph.leaves[unit] {
        return markers;
    }
    for (taken, whose) in others(build, unit) {
        if let Some(fixed) = whose.fixed(build) {
            markers.push((taken, marker(&fixed, MarkerScope::Compiled)));
        }
    }
    // Of what is told by more than can be looked for, all is.
    if markers.len() > MAX_MARKERS {
        markers.retain(|(taken, _)| !taken.told);
        let told = TakenIn {
            told: true,
            ..TakenIn::default()
        };
        for all in [places::PACKAGES, places::TARGET] {
            markers.push((told, marker(all, MarkerScope::Compiled)));
        }
    }
    markers
}

/// Where the `OUT_DIR` of a build script's run is outside of actions: at cargo's depth below the
/// directory of the programs.
pub(crate) fn real_out_dir(build: &Build, run: usize) -> String {
    let fixed = vx_plan::out_dir(&build.plan, run);
    let name = Path::new(&fixed).parent().and_then(Path::file_name);
    let directory = layout::outputs_directory(build, run);
    let below = directory
        .strip_prefix(build.workspace.join(".vx"))
        .unwrap_or(&directory);
    let directory = layout::own_directory(build).join(below);
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

/// Whether a unit's action sees the checkout: that its package is part of, or one whose build script
/// tells it something, or that something lies in which its settings name.
pub(crate) fn sees_checkout(build: &Build, unit: usize) -> bool {
    let plan = &build.plan;
    let named = vx_plan::named_paths(plan, unit);
    let in_checkout = |path: &&str| places::below(path, places::CHECKOUT).is_some();
    let is_local = |package: usize| is_local(&plan.packages[package].root);
    let mut visible = build.graph.visible[unit].iter();
    visible.any(|&package| is_local(package)) || named.iter().any(in_checkout)
}

/// The run of a compile's own build script, unless the configuration stands in its place.
fn own_run(build: &Build, unit: usize) -> Option<usize> {
    let plan = &build.plan;
    let this = &plan.units[unit];
    let mut deps = this.deps.iter().map(|dep| dep.unit);
    let run = deps.find(|&dep| plan.units[dep].mode == Mode::RunBuildScript)?;
    (this.mode == Mode::Compile && plan.units[run].overridden.is_none()).then_some(run)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
