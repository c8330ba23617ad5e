//! Plans that were made before, under everything they depend on.
//!
//! A memo is kept in memory and beside the results, so that another checkout of the same
//! content, also on another machine, needs no cargo to know what to build.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use vx_core::error::ServiceResult;
use vx_core::key::RecordName;
use vx_core::readset::{Observed, Read, ReadKind, ReadPlace};
use vx_core::service::{MAX_RECORD, Results};
use vx_core::{Digest, RelPath};
use vx_plan::{InputKind, Plan, PlanPath, PlanRequest, Workspace};

use crate::keys::KEY_SCHEMA;
use crate::observe::{Places, observe};
use crate::statcache::StatCache;

/// How many plans are kept in memory; each is a few hundred kilobytes.
const KEPT: usize = 64;

/// A plan and what was observed of its inputs when it was made.
#[derive(Serialize, Deserialize)]
struct Memo {
    observed: Vec<Vec<Observed>>,
    env: Vec<(String, Option<Digest>)>,
    plan: Plan,
}

/// A plan in memory.
struct Kept {
    observed: Vec<Vec<Observed>>,
    env: Vec<(String, Option<Digest>)>,
    plan: Arc<Plan>,
    used: u64,
}

/// Plans in memory, by what names their memos.
#[derive(Default)]
pub(crate) struct Memos {
    kept: Mutex<(u64, HashMap<RecordName, Vec<Kept>>)>,
}

/// What a request's memos are kept under.
pub(crate) fn name(request: &PlanRequest, workspace: &Workspace) -> RecordName {
    let statics = vx_plan::memo_static(request, workspace);
    RecordName(Digest::of_value("vx plan memo 1", &(KEY_SCHEMA, statics)))
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
        results: &dyn Results,
    ) -> ServiceResult<Option<Arc<Plan>>> {
        let name = name(request, workspace);
        let agrees = |plan: &Plan, observed: &[Vec<Observed>], env: &[(String, Option<Digest>)]| {
            plan.version == vx_plan::PLAN_VERSION
                && env_of(plan, &request.env) == env
                && observations(cache, workspace, plan).is_ok_and(|(now, _)| now == observed)
        };
        if let Some(plan) = tokio::task::block_in_place(|| {
            let mut kept = self.lock();
            kept.0 += 1;
            let now = kept.0;
            let candidates = kept.1.get_mut(&name)?;
            let found = candidates
                .iter_mut()
                .find(|kept| agrees(&kept.plan, &kept.observed, &kept.env))?;
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
            if tokio::task::block_in_place(|| agrees(&memo.plan, &memo.observed, &memo.env)) {
                let plan = Arc::new(memo.plan);
                self.keep(name, memo.observed, memo.env, Arc::clone(&plan));
                return Ok(Some(plan));
            }
        }
        Ok(None)
    }

    /// Remembers a plan that was begun at `started_ns`, unless its inputs changed meanwhile.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn remember(
        &self,
        cache: &StatCache,
        request: &PlanRequest,
        workspace: &Workspace,
        results: &dyn Results,
        plan: &Arc<Plan>,
        started_ns: i128,
    ) -> ServiceResult<()> {
        let observed = tokio::task::block_in_place(|| observations(cache, workspace, plan));
        let Ok((observed, newest_ns)) = observed else {
            return Ok(());
        };
        if newest_ns >= started_ns {
            return Ok(());
        }
        let name = name(request, workspace);
        let env = env_of(plan, &request.env);
        let memo = Memo {
            observed,
            env,
            plan: (**plan).clone(),
        };
        let record = postcard::to_stdvec(&memo).expect("plain values always encode");
        if record.len() <= MAX_RECORD {
            results.record(name, record.into()).await?;
        }
        self.keep(name, memo.observed, memo.env, Arc::clone(plan));
        Ok(())
    }

    fn keep(
        &self,
        name: RecordName,
        observed: Vec<Vec<Observed>>,
        env: Vec<(String, Option<Digest>)>,
        plan: Arc<Plan>,
    ) {
        let mut kept = self.lock();
        kept.0 += 1;
        let used = kept.0;
        kept.1.entry(name).or_default().push(Kept {
            observed,
            env,
            plan,
            used,
        });
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

/// What each input of a plan is now, and the time of the newest.
fn observations(
    cache: &StatCache,
    workspace: &Workspace,
    plan: &Plan,
) -> io::Result<(Vec<Vec<Observed>>, i128)> {
    let places = Places {
        checkout: workspace.checkout.clone(),
        cargo_home: workspace.cargo_home.clone(),
        sysroot: workspace.toolchain.sysroot.clone(),
        repository: Vec::new(),
        sight: None,
        hidden: hidden(workspace, plan),
    };
    let mut newest_ns = i128::MIN;
    let mut all = Vec::with_capacity(plan.inputs.len());
    for input in &plan.inputs {
        let kind = match input.kind {
            InputKind::Content | InputKind::Chain => ReadKind::Content,
            InputKind::Present | InputKind::Absent => ReadKind::Existence,
            InputKind::Listing => ReadKind::Listing,
        };
        let mut observed = Vec::new();
        for path in workspace.host_paths(&input.path) {
            let read = Read {
                place: ReadPlace::Host(text(&path)?),
                kind,
            };
            let observation = observe(cache, &places, &read)?;
            newest_ns = newest_ns.max(observation.newest_ns);
            observed.push(observation.observed);
        }
        if matches!(input.path, PlanPath::Parents(_)) {
            // How deep the checkout lies is no matter, only what is found on the way up.
            observed.retain(|observed| *observed != Observed::Absent);
        }
        all.push(observed);
    }
    Ok((all, newest_ns))
}

fn text(path: &Path) -> io::Result<String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the path is not UTF-8"))
}

/// Directories of the checkout that no action sees: vx's own, and cargo's target directory.
pub(crate) fn hidden(workspace: &Workspace, plan: &Plan) -> Vec<RelPath> {
    let mut hidden = Vec::new();
    let below = |name: &str| in_workspace(plan, name);
    hidden.extend(below(".vx"));
    match &plan.target_dir {
        Some(target) => hidden.extend(RelPath::new(target.clone()).ok()),
        None => hidden.extend(below("target")),
    }
    debug_assert!(workspace.root.starts_with(&workspace.checkout));
    hidden
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
