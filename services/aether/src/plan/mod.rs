//! From a request to a build that can be scheduled: where it is, its plan, its identities.
//!
//! In: a request. Out: a plan, made by cargo or remembered, and what it is built with. Knows nothing of
//! scheduling.

pub(crate) mod memo;
mod repository;
pub(crate) mod rustc_info;
pub(crate) mod traced_host;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use vx_core::RelPath;
use vx_core::digest::Digest;
use vx_core::orchestrator::{BuildRequest, Selection};
use vx_plan::{Host, HostSource, PackageRoot, Plan, PlanError, PlanRequest, Workspace};

use crate::build::sources::{Source, observed_tree};
use crate::graph::Graph;
use crate::graph::durations::Durations;
use crate::graph::environment;
use crate::graph::static_key::{Identities, Unisolated, static_part};
use crate::graph::visible;
use crate::host::observe::Places;
use crate::host::stat_cache::{StatCache, coarse_now_ns};
use crate::host::toolchain;
use crate::host::visibility::{Visibility, real};
use crate::host::withheld::{self, Withheld};
use crate::plan::memo::{Memos, Weighed};
use crate::plan::traced_host::Watched;
use crate::session::{Bare, Session};

/// How many graphs are kept in memory beside their plans.
const GRAPHS: usize = 32;

/// How many vendored packages are known to be as their checksums say; past that they are verified
/// again.
const VERIFIED: usize = 16_384;

/// How often a plan is made whose inputs change meanwhile; the last one serves, and is not kept.
const TRIES: usize = 3;

/// Why there is nothing to schedule.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    /// The request or the workspace is at fault.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Something that a build depends on can't be read.
    #[error("{what} can't be read: {source}")]
    Read {
        /// What.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// What a package declares holds what no action may see.
    #[error(
        "{path} is declared for actions, and is or holds something of vx's own directory {}\n\
         that has sockets and secrets that no build script may reach\n\
         declare what the build needs of it, or set VX_HOME to another directory", home.display()
    )]
    DeclaredHome {
        /// What is declared.
        path: String,
        /// `$VX_HOME`.
        home: PathBuf,
    },
    /// The store failed.
    #[error(transparent)]
    Service(#[from] vx_core::ServiceError),
}

/// A build that can be scheduled.
pub(crate) struct Prepared {
    /// Where it is.
    pub(crate) workspace: Workspace,
    /// Its plan.
    pub(crate) plan: Arc<Plan>,
    /// Whether the plan was made before.
    pub(crate) from_memo: bool,
    /// Why what the plan depends on is not known, if so: it is made again for each build.
    pub(crate) unknown: Option<String>,
    /// The scheduler's view.
    pub(crate) graph: Arc<Graph>,
    /// What static parts depend on beside the plan.
    pub(crate) identities: Arc<Identities>,
    /// Where things are.
    pub(crate) places: Places,
    /// Sources of immutable packages.
    pub(crate) package_sources: BTreeMap<usize, Source>,
}

/// A plan, and where.
pub(crate) struct Planned {
    pub(crate) workspace: Workspace,
    /// The toolchain's identity.
    pub(crate) toolchain: Digest,
    pub(crate) plan: Arc<Plan>,
    /// Whether it was made before.
    pub(crate) from_memo: bool,
    /// Why what it depends on is not known, if so.
    pub(crate) unknown: Option<String>,
}

impl Planned {
    fn made(workspace: Workspace, toolchain: Digest, plan: Arc<Plan>) -> Self {
        Self {
            workspace,
            toolchain,
            plan,
            from_memo: false,
            unknown: None,
        }
    }

    fn found(workspace: Workspace, toolchain: Digest, plan: Arc<Plan>) -> Self {
        Self {
            from_memo: true,
            ..Self::made(workspace, toolchain, plan)
        }
    }
}

/// A graph, with what it was made of.
type KeptGraph = (Arc<Plan>, Arc<Identities>, Arc<Graph>);

/// Makes builds ready; shared by all builds.
pub(crate) struct Preparer {
    /// Where the orchestrator, the store and the executor have their files.
    home: PathBuf,
    stat_cache: Arc<StatCache>,
    memos: Memos,
    durations: Arc<Durations>,
    graphs: Mutex<HashMap<usize, KeptGraph>>,
    verified: Arc<Verified>,
}

/// Vendored packages whose files agree with their checksums, by what was observed of them.
#[derive(Default)]
struct Verified(Mutex<HashMap<PathBuf, Digest>>);

impl Verified {
    fn has(&self, path: &Path, observed: &Digest) -> bool {
        self.lock().get(path) == Some(observed)
    }

    fn add(&self, path: &Path, observed: Digest) {
        let mut known = self.lock();
        if known.len() >= VERIFIED {
            known.clear();
        }
        known.insert(path.to_owned(), observed);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Digest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of a request that planning needs.
pub(crate) fn plan_request(request: &BuildRequest) -> PlanRequest {
    let selection = &request.selection;
    PlanRequest {
        cwd: request.cwd.clone().into(),
        env: request.env.clone(),
        selection: plan_selection(selection),
    }
}

fn plan_selection(selection: &Selection) -> vx_plan::Selection {
    let selection = selection.clone();
    vx_plan::Selection {
        manifest_path: selection.manifest_path.map(Into::into),
        packages: selection.packages,
        workspace: selection.workspace,
        exclude: selection.exclude,
        lib: selection.lib,
        bins: selection.bins,
        bin: selection.bin,
        examples: selection.examples,
        example: selection.example,
        features: selection.features,
        all_features: selection.all_features,
        no_default_features: selection.no_default_features,
        profile: selection.profile,
        release: selection.release,
        target: selection.target,
        locked: selection.locked,
        offline: selection.offline,
        frozen: selection.frozen,
    }
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PrepareError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| vx_core::ServiceError::failed(error).into())
}

/// The root of a request's workspace.
///
/// # Errors
/// When there is none.
pub(crate) async fn locate_root(request: &PlanRequest) -> Result<PathBuf, PrepareError> {
    let request = request.clone();
    let host = Host::new(Arc::new(vx_plan::host::Plain));
    Ok(blocking(move || vx_plan::locate_root(&host, &request)).await??)
}

impl Preparer {
    /// A preparer that knows no plan yet.
    pub(crate) fn new(
        home: PathBuf,
        stat_cache: Arc<StatCache>,
        durations: Arc<Durations>,
    ) -> Self {
        Self {
            home,
            stat_cache,
            memos: Memos::default(),
            durations,
            graphs: Mutex::new(HashMap::new()),
            verified: Arc::default(),
        }
    }

    /// Makes a build ready.
    ///
    /// # Errors
    /// When there is nothing to build, something can't be read, or the store fails.
    pub(crate) async fn prepare(
        &self,
        request: &PlanRequest,
        session: &Arc<dyn Session>,
    ) -> Result<Prepared, PrepareError> {
        match self.prepare_from(request, session, false).await {
            // Sources that cargo removed, or that another home has, it fetches when it plans.
            Err(PrepareError::Read { .. }) => self.prepare_from(request, session, true).await,
            prepared => prepared,
        }
    }

    /// The same, by a remembered plan unless a `fresh` one is asked for.
    async fn prepare_from(
        &self,
        request: &PlanRequest,
        session: &Arc<dyn Session>,
        fresh: bool,
    ) -> Result<Prepared, PrepareError> {
        let Planned {
            workspace,
            toolchain,
            plan,
            from_memo,
            unknown,
        } = self.plan(request, session, fresh).await?;
        let bare = session.bare();
        let bare = bare.as_ref();
        let (mut hidden, mut unlisted) = match bare {
            None => (memo::hidden(&plan), memo::unlisted(&workspace, &plan)),
            Some(_) => (memo::reports(&plan), memo::reports(&plan)),
        };
        if let Some(home) = inside(&self.home, &workspace.checkout) {
            hidden.push(home.clone());
            unlisted.push(home);
        }
        let packages = plan.packages.iter();
        let declared = packages.flat_map(|package| package.declared.paths.iter());
        let declared = withheld::with_real(declared.map(String::as_str));
        if bare.is_none() {
            self.refuse_declared_home(&declared)?;
        }
        let (repository, relative_repository) = repository::repository(&workspace.checkout);
        let user = request.env.get("HOME").map(String::as_str);
        let named = match bare {
            None => Withheld::of(&self.home, user, &workspace).leave(&plan),
            Some(_) => Vec::new(),
        };
        let declared = declared
            .into_iter()
            .chain(repository.iter().cloned())
            .chain(withheld::by_flags(&plan))
            .chain(withheld::with_real(named.iter().map(String::as_str)))
            .collect();
        let places = Places {
            checkout: workspace.checkout.clone(),
            cargo_home: workspace.cargo_home.clone(),
            sysroot: workspace.toolchain.sysroot.clone(),
            repository,
            relative_repository,
            named,
            visibility: Some(match bare {
                None => Visibility::new(&workspace.checkout, hidden.clone(), declared),
                Some(_) => Visibility::of_everything(&workspace.checkout),
            }),
            hidden,
            unlisted,
        };
        let package_sources = self.package_sources(&workspace, &plan, &places).await?;
        let mut identities = identities(request, toolchain, &package_sources);
        identities.unisolated = bare.map(|bare| unisolated(bare, &workspace));
        let identities = Arc::new(identities);
        let graph = self.graph(&plan, &identities);
        Ok(Prepared {
            workspace,
            plan,
            from_memo,
            unknown,
            graph,
            identities,
            places,
            package_sources,
        })
    }

    /// The plan of a request: one made before that holds, unless it is to be `fresh`, or a new one.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub(crate) async fn plan(
        &self,
        request: &PlanRequest,
        session: &Arc<dyn Session>,
        fresh: bool,
    ) -> Result<Planned, PrepareError> {
        let results = session.results();
        let mut tries = 0;
        loop {
            tries += 1;
            let started_ns = coarse_now_ns();
            let given_up = CancellationToken::new();
            let _ends_with_this = given_up.clone().drop_guard();
            let cache = Arc::clone(&self.stat_cache);
            let outside = Arc::new(Watched::new(Arc::clone(session), cache, given_up));
            // What the executor could not do is no fault of the request.
            let fault = |error| match outside.fault() {
                Some(fault) => PrepareError::Service(fault),
                None => error,
            };
            let host = Host::new(outside.clone());
            let host = if fresh { host.afresh() } else { host };
            let located = self.locate(request, host).await;
            let (mut workspace, toolchain) = located.map_err(fault)?;
            let name = memo::name(request, &workspace, &toolchain);
            if !fresh {
                let cache = &self.stat_cache;
                let found = self
                    .memos
                    .find(cache, request, &workspace, name, &*results)
                    .await?;
                if let Some(plan) = found {
                    return Ok(Planned::found(workspace, toolchain, plan));
                }
            }
            let kept = (!fresh)
                .then(|| rustc_info::directory(&self.home, &toolchain, request))
                .flatten();
            if let Some(kept) = &kept {
                workspace.keep_rustc_info(kept.clone());
            }
            let (workspace, plan, weighed) = {
                let (request, cache) = (request.clone(), Arc::clone(&self.stat_cache));
                blocking(move || {
                    let plan = vx_plan::plan(&request, &workspace)
                        .inspect_err(|_| rustc_info::forget(kept.as_deref()))?;
                    let weighed = memo::weigh(&cache, &request, &workspace, &plan, started_ns);
                    Ok::<_, PlanError>((workspace, Arc::new(plan), weighed))
                })
                .await?
                .map_err(|error| fault(error.into()))?
            };
            let mut planned = Planned::made(workspace, toolchain, plan);
            match weighed {
                Weighed::Basis(_) if fresh => return Ok(planned),
                Weighed::Basis(basis) => {
                    let plan = &planned.plan;
                    self.memos.remember(name, basis, &*results, plan).await?;
                    return Ok(planned);
                }
                Weighed::Changed(path) if tries < TRIES => {
                    tracing::debug!(path, "changed while a plan was made, which is made again");
                }
                Weighed::Changed(path) => {
                    tracing::info!(path, "changes while plans are made; this one is not kept");
                    return Ok(planned);
                }
                Weighed::Unknown(why) => {
                    planned.unknown = Some(why);
                    return Ok(planned);
                }
            }
        }
    }

    /// Shown the workspace of a request, and the identity of its toolchain.
    async fn locate(
        &self,
        request: &PlanRequest,
        host: Host,
    ) -> Result<(Workspace, Digest), PrepareError> {
        let cache = Arc::clone(&self.stat_cache);
        let request = request.clone();
        blocking(move || {
            let workspace = vx_plan::locate(&host, &request)?;
            let sysroot = &workspace.toolchain.sysroot;
            let toolchain =
                toolchain::toolchain(&cache, sysroot).map_err(|source| PrepareError::Read {
                    what: format!("the toolchain in {}", sysroot.display()),
                    source,
                })?;
            Ok((workspace, toolchain))
        })
        .await?
    }

    /// # Errors
    /// When something is declared that holds the daemons' sockets, secrets and store.
    fn refuse_declared_home(&self, declared: &BTreeSet<String>) -> Result<(), PrepareError> {
        let home = real(&self.home);
        let reaches = |path: &&String| {
            let path = Path::new(path.as_str());
            home.starts_with(path) || path.starts_with(&home)
        };
        match declared.iter().find(reaches) {
            None => Ok(()),
            Some(path) => Err(PrepareError::DeclaredHome {
                path: path.clone(),
                home,
            }),
        }
    }

    /// Where the sources of immutable packages are, and what names those without a checksum.
    async fn package_sources(
        &self,
        workspace: &Workspace,
        plan: &Arc<Plan>,
        places: &Places,
    ) -> Result<BTreeMap<usize, Source>, PrepareError> {
        let (workspace, plan) = (workspace.clone(), Arc::clone(plan));
        let (cache, places) = (Arc::clone(&self.stat_cache), places.clone());
        let verified = Arc::clone(&self.verified);
        blocking(move || {
            let mut sources = BTreeMap::new();
            for (index, package) in plan.packages.iter().enumerate() {
                let found = vx_plan::package_files(&workspace, &plan, index);
                let source = match (&package.root, found) {
                    (PackageRoot::Checkout { .. }, _) => continue,
                    (
                        PackageRoot::Archive {
                            checksum,
                            file_name,
                            ..
                        },
                        found,
                    ) => Source::Archive {
                        // A package that is not there is only missed by an action that runs,
                        // which then says so with this path.
                        path: match found {
                            Some(HostSource::Archive(path)) => path,
                            _ => workspace.cargo_home.join("registry/cache").join(file_name),
                        },
                        checksum: checksum.clone(),
                        unpacked: vx_plan::unpacked(&workspace, &plan, index).unwrap_or_default(),
                    },
                    (PackageRoot::Tree { .. }, Some(HostSource::Directory(path))) => {
                        let tree = observed_tree(&cache, &places, &path);
                        let (observed, _) = tree.map_err(|source| PrepareError::Read {
                            what: "a package's directory".to_owned(),
                            source,
                        })?;
                        if !verified.has(&path, &observed) {
                            vx_plan::verify_vendored(&workspace, &plan, index)?;
                            verified.add(&path, observed);
                        }
                        Source::Tree { path, observed }
                    }
                    (PackageRoot::Tree { source, .. }, _) => {
                        return Err(PrepareError::Read {
                            what: format!("the sources of {} ({source})", package.name),
                            source: std::io::ErrorKind::NotFound.into(),
                        });
                    }
                };
                sources.insert(index, source);
            }
            Ok(sources)
        })
        .await?
    }

    /// The graph of a plan; made anew only when the plan or an identity is another.
    fn graph(&self, plan: &Arc<Plan>, identities: &Arc<Identities>) -> Arc<Graph> {
        let address = Arc::as_ptr(plan) as usize;
        let mut graphs = self.graphs.lock().unwrap_or_else(PoisonError::into_inner);
        // The plan is held, so its address is not another's.
        if let Some((_, known, graph)) = graphs.get(&address)
            && known == identities
        {
            return Arc::clone(graph);
        }
        let visible = visible::visible_packages(plan);
        let durations = self.durations.expected(plan);
        let of_static = |unit, visible: &[usize], leaves| {
            static_part(plan, unit, visible, leaves, identities).digest()
        };
        let graph = Arc::new(Graph::new(plan, visible, &durations, of_static));
        if graphs.len() >= GRAPHS {
            graphs.clear();
        }
        graphs.insert(
            address,
            (Arc::clone(plan), Arc::clone(identities), Arc::clone(&graph)),
        );
        graph
    }
}

fn identities(
    request: &PlanRequest,
    toolchain: Digest,
    sources: &BTreeMap<usize, Source>,
) -> Identities {
    Identities {
        toolchain,
        allowed_env: environment::allowed(&request.env),
        trees: sources
            .iter()
            .filter_map(|(index, source)| match source {
                Source::Tree { observed, .. } => Some((*index, *observed)),
                Source::Archive { .. } => None,
            })
            .collect(),
        unisolated: None,
    }
}

/// Where a build's actions run on the host.
fn unisolated(bare: &Bare, workspace: &Workspace) -> Unisolated {
    let checkout = workspace.checkout.to_string_lossy().into_owned();
    Unisolated {
        base: vx_core::places::base(&bare.directory, &checkout),
        checkout,
        toolchain: workspace.toolchain.sysroot.to_string_lossy().into_owned(),
    }
}

/// Where in a checkout a directory is, if it is in there.
fn inside(directory: &Path, checkout: &Path) -> Option<RelPath> {
    let directory = real(directory);
    let inside = directory.strip_prefix(real(checkout)).ok()?;
    RelPath::from_path(inside)
        .ok()
        .filter(|path| !path.is_empty())
}
