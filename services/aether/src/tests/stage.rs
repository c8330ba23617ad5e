//! A checkout on disk, a store in memory, and an executor that a test directs.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::sync::Semaphore;
use vx_core::error::ServiceResult;
use vx_core::orchestrator::{ActionOutcome, BuildEvent, BuildObserver, Totals};
use vx_core::{
    ActionSpec, Blob, Digest, Execution, Exit, Holder, HostEnd, HostProgram, Ingested, Observer,
    Output, OutputForm, PackageSource, RelPath, Results, Store, StoreService,
};
use vx_plan::Plan;
use vx_rpc::contract::MemoryStore;

use crate::build::Build;
use crate::build::context::{BuildContext, Known};
use crate::execute::job::Limits;
use crate::execute::slots::Slots;
use crate::graph::Graph;
use crate::graph::static_key::Identities;
use crate::host::observe::Places;
use crate::host::stat_cache::{StatCache, coarse_now_ns};
use crate::report::recorder::{EventSender, Recorder};
use crate::schedule::{EngineFault, Executions, Scheduler};
use crate::session::{Bare, Session, Sessions, Transfer};
use crate::tests::plans::{self, Crate};

/// What the executor does with one crate, beyond compiling it.
#[derive(Clone, Default)]
pub(crate) struct Direction {
    /// It fails.
    pub(crate) fails: bool,
    /// It announces its metadata and then waits for this before it goes on.
    pub(crate) holds: Option<Arc<Notify>>,
    /// It fails after that, once.
    pub(crate) fails_once: bool,
    /// It fails when this is among what it is given.
    pub(crate) refuses: Option<Digest>,
    /// It names this variable, whose value is in its metadata.
    pub(crate) names: Option<&'static str>,
    /// It writes this file of the checkout while it runs, once.
    pub(crate) touches: Option<&'static str>,
}

/// Everything a test's builds share.
pub(crate) struct Stage {
    pub(crate) checkout: TempDir,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) directions: Mutex<HashMap<&'static str, Direction>>,
    /// Crates in the order in which they were run, with the value of what they name.
    pub(crate) runs: Mutex<Vec<String>>,
    /// Told at each start.
    pub(crate) started: Notify,
    known: Known,
    executions: Executions,
}

/// Lets the coarse clock pass what was written: files may be stamped by the fine one, which is
/// ahead of it, and what comes next has to count as later.
fn next_tick() {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let written = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    while coarse_now_ns() <= written {
        std::thread::yield_now();
    }
}

/// How a build went.
pub(crate) struct Ended {
    pub(crate) totals: Totals,
    pub(crate) outcomes: Vec<Option<ActionOutcome>>,
    /// Why actions ran again, of all of them.
    pub(crate) again: Vec<String>,
    pub(crate) fault: Option<EngineFault>,
}

impl Stage {
    pub(crate) fn new(crates: &[Crate]) -> Arc<Self> {
        let checkout = tempfile::tempdir().unwrap();
        for one in crates {
            let directory = checkout.path().join(one.name).join("src");
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("lib.rs"), one.name).unwrap();
        }
        next_tick();
        Arc::new(Self {
            checkout,
            store: Arc::new(MemoryStore::new()),
            directions: Mutex::default(),
            runs: Mutex::default(),
            started: Notify::new(),
            known: Known::default(),
            executions: Executions {
                in_flight: Arc::default(),
                limits: Limits {
                    jobs: Arc::new(Semaphore::new(4)),
                    slots: Slots::new(4),
                },
            },
        })
    }

    pub(crate) fn direct(&self, name: &'static str, direction: Direction) {
        self.directions.lock().unwrap().insert(name, direction);
    }

    pub(crate) fn edit(&self, path: &str, content: &str) {
        std::fs::write(self.checkout.path().join(path), content).unwrap();
        next_tick();
    }

    /// What ran since the last call.
    pub(crate) fn take_runs(&self) -> Vec<String> {
        std::mem::take(&mut self.runs.lock().unwrap())
    }

    pub(crate) async fn build(
        self: &Arc<Self>,
        run_id: &str,
        crates: &[Crate],
        env: &[(&str, &str)],
        keep_going: bool,
    ) -> Ended {
        let plan = Arc::new(plans::plan(crates));
        let sessions = TestSessions(Arc::clone(self));
        let session = sessions.open(run_id).await.unwrap();
        let build = self.facts(&plan, env);
        let known = self.known.clone();
        let context = Arc::new(BuildContext::new(run_id.to_owned(), build, known, session));
        let (events, telling) = EventSender::start(Arc::new(Deaf));
        let mut recorder = Recorder::new(&plan, events, BTreeMap::new());
        let mut scheduler = Scheduler::new(
            Arc::clone(&context),
            self.executions.clone(),
            &sessions,
            &mut recorder,
            keep_going,
        );
        let fault = scheduler.run().await.err();
        drop(scheduler);
        let ended = Ended {
            totals: recorder.totals(),
            outcomes: recorder
                .actions
                .iter()
                .map(|action| action.outcome)
                .collect(),
            again: recorder
                .actions
                .iter()
                .flat_map(|action| action.again.iter().cloned())
                .collect(),
            fault,
        };
        drop(recorder);
        telling.await.unwrap();
        ended
    }

    fn facts(&self, plan: &Arc<Plan>, env: &[(&str, &str)]) -> Build {
        let durations = vec![1; plan.units.len()];
        let sysroot = self.checkout.path().join("no-toolchain");
        Build {
            plan: Arc::clone(plan),
            graph: Arc::new(Graph::new(
                plan,
                crate::graph::visible::visible_packages(plan),
                &durations,
                |unit, _, _| vx_core::StaticDigest(Digest::of(&vx_plan::static_part(plan, unit))),
            )),
            identities: Arc::new(Identities {
                toolchain: crate::host::toolchain::toolchain(&StatCache::default(), &sysroot)
                    .expect("a toolchain of nothing can be read"),
                allowed_env: Vec::new(),
                trees: BTreeMap::new(),
                unisolated: None,
            }),
            places: Places {
                checkout: self.checkout.path().to_owned(),
                cargo_home: self.checkout.path().join("no-cargo-home"),
                sysroot,
                hidden: vec![RelPath::new("target").unwrap()],
                unlisted: vec![RelPath::new("target").unwrap()],
                repository: Vec::new(),
                relative_repository: false,
                named: Vec::new(),
                visibility: None,
            },
            workspace: self.checkout.path().to_owned(),
            package_sources: BTreeMap::new(),
            env: env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    fn direction(&self, name: &str) -> Direction {
        let directions = self.directions.lock().unwrap();
        directions.get(name).cloned().unwrap_or_default()
    }
}

struct Deaf;

#[async_trait]
impl BuildObserver for Deaf {
    async fn event(&self, _event: BuildEvent) -> ServiceResult<()> {
        Ok(())
    }
}

struct TestSessions(Arc<Stage>);

#[async_trait]
impl Sessions for TestSessions {
    async fn open(&self, label: &str) -> ServiceResult<Arc<dyn Session>> {
        let grant = self.0.store.grant(label.to_owned()).await?;
        Ok(Arc::new(TestSession {
            stage: Arc::clone(&self.0),
            store: self.0.store.store(grant, Holder::Remote),
            results: self.0.store.results(grant),
        }))
    }
}

struct TestSession {
    stage: Arc<Stage>,
    store: Arc<dyn Store>,
    results: Arc<dyn Results>,
}

#[async_trait]
impl Session for TestSession {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    fn results(&self) -> Arc<dyn Results> {
        Arc::clone(&self.results)
    }

    fn store_endpoint(&self) -> String {
        String::new()
    }

    fn shared(&self) -> bool {
        false
    }

    fn bare(&self) -> Option<Bare> {
        None
    }

    async fn execute(
        &self,
        action: ActionSpec,
        observer: Arc<dyn Observer>,
    ) -> ServiceResult<Execution> {
        compile(&self.stage, &*self.store, &action, &*observer).await
    }

    async fn ingest(&self, _source: PackageSource) -> ServiceResult<Ingested> {
        Ok(Ingested::Unreadable("no test has packages".to_owned()))
    }

    async fn run_on_host(
        &self,
        _program: HostProgram,
        _observer: Arc<dyn Observer>,
    ) -> ServiceResult<HostEnd> {
        Ok(HostEnd::Unable("no test has a cargo".to_owned()))
    }

    async fn transfer(&self) -> Transfer {
        Transfer::default()
    }
}

fn argument<'a>(action: &'a ActionSpec, name: &str) -> &'a str {
    let at = action.argv.iter().position(|word| word == name);
    at.and_then(|at| action.argv.get(at + 1))
        .map_or("", String::as_str)
}

/// What stands for rustc: its outputs are its source and what its dependencies contain.
async fn compile(
    stage: &Stage,
    store: &dyn Store,
    action: &ActionSpec,
    observer: &dyn Observer,
) -> ServiceResult<Execution> {
    let missing = store
        .missing(action.files.iter().map(|file| file.digest).collect())
        .await?;
    if !missing.is_empty() {
        return Ok(Execution::InputsMissing(missing));
    }
    let name = argument(action, "--crate-name").to_owned();
    let direction = stage.direction(&name);
    let value = direction.names.map(|variable| {
        let set = action.env.iter().find(|(name, _)| name == variable);
        set.map_or_else(|| "unset".to_owned(), |(_, value)| value.clone())
    });
    let source_path = format!("{name}/src/lib.rs");
    let source = std::fs::read_to_string(stage.checkout.path().join(&source_path)).unwrap();
    stage.runs.lock().unwrap().push(match &value {
        Some(value) => format!("{name} {value}"),
        None => name.clone(),
    });
    stage.started.notify_one();
    if let Some(path) = direction.touches {
        std::fs::write(stage.checkout.path().join(path), "touched").unwrap();
        if let Some(direction) = stage.directions.lock().unwrap().get_mut(name.as_str()) {
            direction.touches = None;
        }
    }
    let refused = |digest| action.files.iter().any(|file| file.digest == digest);
    let failed = || Execution::Ran {
        exit: Exit::Code(1),
        outputs: Vec::new(),
        duration: Duration::from_millis(1),
        marked: Vec::new(),
        trace: None,
    };
    if direction.fails || direction.refuses.is_some_and(refused) {
        return Ok(failed());
    }
    let inputs: Vec<String> = action
        .files
        .iter()
        .map(|file| file.digest.short())
        .collect();
    let interface = source.lines().next().unwrap_or_default();
    let stem = format!("{name}{}", extra_filename(action));
    let mut files = vec![(format!("{stem}.d"), dep_info(&source_path, direction.names))];
    if action.argv.iter().any(|word| word == "lib") {
        let interface = match &value {
            Some(value) => format!("{name} {interface} {value}"),
            None => format!("{name} {interface}"),
        };
        let rmeta = (format!("lib{stem}.rmeta"), interface);
        let rlib = (
            format!("lib{stem}.rlib"),
            format!("{name} {source} {inputs:?} {value:?}"),
        );
        let early = put(store, &rmeta).await?;
        observer.stored(early).await?;
        files.extend([rmeta, rlib]);
    } else {
        files.push((stem, format!("{name} {source} {inputs:?} {value:?}")));
    }
    if let Some(held) = direction.holds {
        held.notified().await;
    }
    if direction.fails_once {
        let mut directions = stage.directions.lock().unwrap();
        directions.retain(|directed, _| *directed != name);
        return Ok(failed());
    }
    let mut outputs = Vec::new();
    for file in &files {
        outputs.push(put(store, file).await?);
    }
    outputs.sort_by(|one, two| one.name.cmp(&two.name));
    Ok(Execution::Ran {
        exit: Exit::Code(0),
        outputs,
        duration: Duration::from_millis(1),
        marked: Vec::new(),
        trace: None,
    })
}

fn extra_filename(action: &ActionSpec) -> String {
    let found = action
        .argv
        .iter()
        .find_map(|word| word.strip_prefix("extra-filename="));
    found.unwrap_or_default().to_owned()
}

fn dep_info(source: &str, names: Option<&str>) -> String {
    let variable = names.map_or_else(String::new, |name| format!("# env-dep:{name}\n"));
    format!("/vx/out/x: {source}\n\n{source}:\n\n{variable}")
}

async fn put(store: &dyn Store, (name, content): &(String, String)) -> ServiceResult<Output> {
    let content = Bytes::from(content.clone());
    let blob = Blob::of(&content);
    store.write_small(vec![content]).await?;
    Ok(Output {
        name: name.clone(),
        blob,
        form: OutputForm::File { executable: false },
    })
}
