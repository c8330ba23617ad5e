//! Plans that were made before, under everything they depend on.
//!
//! A memo is kept in memory and beside the results, so that another checkout of the same
//! content, also on another machine, needs no cargo to know what to build.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use vx_core::error::ServiceResult;
use vx_core::key::RecordName;
use vx_core::readset::{Observed, Read, ReadKind, ReadPlace, Seen};
use vx_core::service::{MAX_RECORD, Results};
use vx_core::{Digest, RelPath};
use vx_plan::{Plan, PlanInput, PlanPath, PlanRequest, Workspace};

use crate::graph::static_key::KEY_SCHEMA;
use crate::host::observe::{Observation, Places, UNREADABLE, observe};
use crate::host::read_sets::agree;
use crate::host::stat_cache::StatCache;
use crate::host::toolchain;

/// How many plans are kept in memory; each is a few hundred kilobytes.
const KEPT: usize = 64;

/// What cargo puts into a target directory that it makes.
const CACHE_TAG: &str = "CACHEDIR.TAG";

/// What cargo keeps in a target directory about rustc, whoever made it.
const RUSTC_INFO: &str = ".rustc_info.json";

/// What a plan was made from.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Basis {
    inputs: Vec<PlanInput>,
    observed: Vec<Vec<Observed>>,
    env: Vec<(String, Option<Digest>)>,
    /// The checkout that it serves alone, if so.
    checkout: Option<String>,
    /// Paths that lie in no checkout and no toolchain which it serves.
    told: BTreeSet<String>,
    /// The home of cargo's that it serves alone, if so.
    home: Option<String>,
    /// The toolchain's place that it serves alone, if so.
    toolchain: Option<String>,
    /// The processor that it serves alone, if so.
    processor: Option<Digest>,
}

impl Basis {
    /// Whether what was planned by names a place in this directory, which was elsewhere then.
    fn tells_of(&self, directory: &Path) -> bool {
        let Some(directory) = directory.to_str() else {
            return true;
        };
        self.told.iter().any(|path| path.contains(directory))
    }
}

#[derive(Serialize, Deserialize)]
struct Memo {
    basis: Basis,
    plan: Plan,
}

/// A plan in memory.
struct Kept {
    basis: Basis,
    plan: Arc<Plan>,
    used: u64,
}

/// Plans in memory, by what names their memos.
#[derive(Default)]
pub(crate) struct Memos {
    kept: Mutex<(u64, HashMap<RecordName, Vec<Kept>>)>,
}

/// What a request's memos are kept under, with the identity of the toolchain.
pub(crate) fn name(request: &PlanRequest, workspace: &Workspace, toolchain: &Digest) -> RecordName {
    let statics = vx_plan::memo_static(request, workspace);
    let parts = (KEY_SCHEMA, statics, toolchain);
    RecordName(Digest::of_value("vx plan memo 5", &parts))
}

impl Memos {
    /// A plan made before whose inputs are as they were.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn find(
        &self,
        cache: &StatCache,
        request: &PlanRequest,
        workspace: &Workspace,
        name: RecordName,
        results: &dyn Results,
    ) -> ServiceResult<Option<Arc<Plan>>> {
        let agrees = |plan: &Plan, basis: &Basis| {
            let serves = |bound: &Option<String>, place: &Path| {
                bound.is_none() || bound.as_deref() == place.to_str()
            };
            plan.version == vx_plan::PLAN_VERSION
                && serves(&basis.checkout, &workspace.checkout)
                && serves(&basis.home, &workspace.cargo_home)
                && basis
                    .processor
                    .is_none_or(|one| one == toolchain::processor())
                && serves(&basis.toolchain, &workspace.toolchain.sysroot)
                && (basis.checkout.is_some() || !basis.tells_of(&workspace.checkout))
                && (basis.toolchain.is_some() || !basis.tells_of(&workspace.toolchain.sysroot))
                && env_of(plan, &request.env) == basis.env
                && holds(cache, workspace, plan, basis)
        };
        if let Some(plan) = tokio::task::block_in_place(|| {
            let mut kept = self.lock();
            kept.0 += 1;
            let now = kept.0;
            let candidates = kept.1.get_mut(&name)?;
            let found = candidates
                .iter_mut()
                .rev()
                .find(|kept| agrees(&kept.plan, &kept.basis))?;
            found.used = now;
            Some(Arc::clone(&found.plan))
        }) {
            return Ok(Some(plan));
        }
        let records = results.records(vec![name]).await?.pop().unwrap_or_default();
        for record in records {
            let Ok(memo) = postcard::from_bytes::<Memo>(&record) else {
                continue;
            };
            if tokio::task::block_in_place(|| agrees(&memo.plan, &memo.basis)) {
                let plan = Arc::new(memo.plan);
                self.keep(name, memo.basis, Arc::clone(&plan));
                return Ok(Some(plan));
            }
        }
        Ok(None)
    }

    /// Remembers a plan.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn remember(
        &self,
        name: RecordName,
        basis: Basis,
        results: &dyn Results,
        plan: &Arc<Plan>,
    ) -> ServiceResult<()> {
        let memo = Memo {
            basis,
            plan: (**plan).clone(),
        };
        let record = postcard::to_stdvec(&memo).expect("plain values always encode");
        if record.len() <= MAX_RECORD {
            results.record(name, record.into()).await?;
        }
        self.keep(name, memo.basis, Arc::clone(plan));
        Ok(())
    }

    fn keep(&self, name: RecordName, basis: Basis, plan: Arc<Plan>) {
        let mut kept = self.lock();
        kept.0 += 1;
        let used = kept.0;
        kept.1
            .entry(name)
            .or_default()
            .push(Kept { basis, plan, used });
        if kept.1.values().map(Vec::len).sum::<usize>() > KEPT {
            let oldest = kept.1.values().flatten().map(|kept| kept.used).min();
            for list in kept.1.values_mut() {
                list.retain(|kept| Some(kept.used) != oldest);
            }
            kept.1.retain(|_, list| !list.is_empty());
        }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, HashMap<RecordName, Vec<Kept>>)> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn env_of(plan: &Plan, env: &BTreeMap<String, String>) -> Vec<(String, Option<Digest>)> {
    plan.env_inputs
        .iter()
        .map(|name| {
            let value = env.get(name).map(|value| Digest::of(value.as_bytes()));
            (name.clone(), value)
        })
        .collect()
}

/// What a plan that was just made can be found by again.
pub(crate) enum Weighed {
    /// This.
    Basis(Basis),
    /// This changed while it was made, so nobody knows which of both it was made from.
    Changed(String),
    /// Not all that it depends on is known.
    Unknown(String),
}

/// Weighs what a plan was made from, from `started_ns` on.
pub(crate) fn weigh(
    cache: &StatCache,
    request: &PlanRequest,
    workspace: &Workspace,
    plan: &Plan,
    started_ns: i128,
) -> Weighed {
    let looks = workspace.looks();
    if let Some(why) = looks.incomplete {
        return Weighed::Unknown(why);
    }
    if let Some(path) = looks.unsteady {
        return Weighed::Changed(path);
    }
    if let Some(package) = vx_plan::unpacked_by_path(workspace, plan) {
        return Weighed::Unknown(format!(
            "{} is named by a path in what cargo unpacked",
            package.name
        ));
    }
    let mut inputs = match vx_plan::inputs(request, workspace, plan, &looks) {
        Ok(inputs) => inputs,
        Err(error) => return Weighed::Unknown(error.to_string()),
    };
    let places = places(workspace, plan);
    inputs.all.retain(|input| !is_known(input));
    // What the memo holds comes before the look at what changed: so nothing changes in between.
    let of_input = |input| observed(cache, workspace, &places, input);
    let observed: io::Result<Vec<_>> = inputs.all.iter().map(of_input).collect();
    for (look, seen) in &inputs.looks {
        let read = Read {
            place: ReadPlace::Host(look.path.clone()),
            kind: look.kind,
        };
        match observe(cache, &places, &read) {
            Ok(observation) if is_as_seen(look.kind, *seen, &observation, started_ns) => {}
            Ok(_) => return Weighed::Changed(look.path.clone()),
            Err(error) => return Weighed::Unknown(error.to_string()),
        }
    }
    let place = |path: &Path| path.to_string_lossy().into_owned();
    match observed {
        Ok(observed) => Weighed::Basis(Basis {
            observed,
            inputs: inputs.all,
            env: env_of(plan, &request.env),
            checkout: inputs.bound.then(|| place(&workspace.checkout)),
            told: inputs.told,
            processor: vx_plan::is_for_native(plan).then(toolchain::processor),
            toolchain: inputs
                .bound_to_toolchain
                .then(|| place(&workspace.toolchain.sysroot)),
            home: inputs.bound_to_home.then(|| place(&workspace.cargo_home)),
        }),
        Err(error) => Weighed::Unknown(error.to_string()),
    }
}

/// Whether what is there now is what was looked at.
fn is_as_seen(kind: ReadKind, seen: Option<Seen>, now: &Observation, started_ns: i128) -> bool {
    // Of what was not read, only what it is counts.
    let link = matches!(seen, Some(Seen::Link { .. }));
    if kind == ReadKind::Existence || (kind == ReadKind::Link && !link) {
        return match (seen, &now.observed) {
            (None, _) => true,
            (Some(Seen::Absent), observed) => *observed == Observed::Absent,
            (Some(Seen::File { .. }), Observed::File { .. }) => true,
            (Some(Seen::File { .. }), Observed::Kind(kind)) => kind == "file",
            (Some(Seen::Directory { .. }), Observed::Kind(kind)) => kind == "directory",
            (Some(Seen::Other), Observed::Kind(kind)) => kind == "other",
            (Some(Seen::Other), observed) => *observed == Observed::Special,
            _ => false,
        };
    }
    let same = seen.is_none_or(|seen| match (seen, &now.observed) {
        (Seen::File { .. }, Observed::Kind(kind)) => kind == "file" || kind == UNREADABLE,
        _ => agree(&seen, now, started_ns),
    });
    same && now.newest_ns < started_ns
}

/// Whether all that a plan depends on is as it was.
fn holds(cache: &StatCache, workspace: &Workspace, plan: &Plan, basis: &Basis) -> bool {
    let places = places(workspace, plan);
    let mut pairs = basis.inputs.iter().zip(&basis.observed);
    pairs.all(|(input, before)| {
        observed(cache, workspace, &places, input).is_ok_and(|now| now == *before)
    })
}

fn places(workspace: &Workspace, plan: &Plan) -> Places {
    Places {
        checkout: workspace.checkout.clone(),
        cargo_home: workspace.cargo_home.clone(),
        sysroot: workspace.toolchain.sysroot.clone(),
        repository: Vec::new(),
        relative_repository: false,
        named: Vec::new(),
        visibility: None,
        hidden: Vec::new(),
        unlisted: unlisted(workspace, plan),
    }
}

/// Whether the toolchain's identity covers an input: that is in the memo's name.
fn is_known(input: &PlanInput) -> bool {
    let PlanPath::Toolchain(path) = &input.path else {
        return false;
    };
    RelPath::new(path.clone()).is_ok_and(|path| toolchain::is_in_identity(&path))
}

/// What an input of a plan is now.
fn observed(
    cache: &StatCache,
    workspace: &Workspace,
    places: &Places,
    input: &PlanInput,
) -> io::Result<Vec<Observed>> {
    let mut all = Vec::new();
    for path in workspace.host_paths(&input.path) {
        let read = Read {
            place: ReadPlace::Host(text(&path)?),
            kind: input.kind,
        };
        // How large something is that was only looked at is no matter.
        all.push(match observe(cache, places, &read)?.observed {
            Observed::File { .. } => Observed::Kind("file".to_owned()),
            observed => observed,
        });
    }
    if matches!(input.path, PlanPath::Parents(_)) {
        // How deep the checkout lies is no matter, only what is found on the way up.
        all.retain(|observed| *observed != Observed::Absent);
    }
    Ok(all)
}

fn text(path: &Path) -> io::Result<String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the path is not UTF-8"))
}

/// Directories of the checkout that no action sees: vx's own.
pub(crate) fn hidden(plan: &Plan) -> Vec<RelPath> {
    in_workspace(plan, ".vx").into_iter().collect()
}

/// What no listing and no tree of the checkout counts, although it may be read: vx's own directory,
/// cargo's target directory where cargo marked it as such, and what cargo keeps in one when it
/// only plans. Any other directory that is named as the target is one of the project's, and so
/// counts like the rest.
pub(crate) fn unlisted(workspace: &Workspace, plan: &Plan) -> Vec<RelPath> {
    debug_assert!(workspace.root.starts_with(&workspace.checkout));
    let target = match &plan.target_dir {
        Some(target) => RelPath::new(target.clone()).ok(),
        None => in_workspace(plan, "target"),
    };
    let mut unlisted = hidden(plan);
    if let Some(target) = target.filter(|target| !target.is_empty()) {
        let of_cargos = RelPath::new(format!("{target}/{RUSTC_INFO}"));
        let path = target.under(&workspace.checkout);
        if path.join(CACHE_TAG).exists() || !path.exists() {
            unlisted.push(target);
        } else {
            unlisted.extend(of_cargos);
        }
    }
    unlisted
}

/// Where vx leaves its reports, the only thing in a checkout that no action which is not isolated
/// has as an input: every build adds one.
pub(crate) fn reports(plan: &Plan) -> Vec<RelPath> {
    in_workspace(plan, ".vx/runs").into_iter().collect()
}

fn in_workspace(plan: &Plan, name: &str) -> Option<RelPath> {
    let path = if plan.workspace_dir.is_empty() {
        name.to_owned()
    } else {
        format!("{}/{name}", plan.workspace_dir)
    };
    RelPath::new(path).ok()
}
