//! What a plan depends on: what planning looked at, by paths that hold for other checkouts too.
//!
//! There is no list of files that count. The door to the host noted each look of this crate's
//! own, and traces those of cargo and rustc. Here each look gets a path without a place, where it
//! has one, and what can't change a plan is taken out, by what it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use vx_core::places;
use vx_core::readset::{ReadKind, Seen};

use crate::error::PlanError;
use crate::host::{Look, Looks, links_on_the_way};
use crate::locate::Workspace;
use crate::model::{Package, Plan, PlanInput, PlanPath};
use crate::paths::text;
use crate::place_bound::{absolute, leaves, meant, straight};
use crate::request::{PlanRequest, plan_env};

/// What cargo keeps in its home for itself.
const CARGOS_OWN: &[&str] = &[
    // Which versions there are. Without a lock file a build takes those it finds once and writes
    // them down; with one it takes those.
    "registry/index",
    // Packages by checksum as they came, and repositories: the lock file names their content.
    "registry/cache",
    "git/db",
    "registry/CACHEDIR.TAG",
    "git/CACHEDIR.TAG",
    // Locks that cargo processes take against one another.
    ".package-cache",
    ".package-cache-mutate",
    // When what was used last, for `cargo clean gc`.
    ".global-cache",
    ".global-cache-journal",
    ".global-cache-wal",
    ".global-cache-shm",
    // Who may fetch, which says nothing of what.
    "credentials",
    "credentials.toml",
];

/// Where cargo unpacks these packages, and what it checks out by commits that the lock file names. But
/// a checkout may lie there, or a package that is named by its path.
const UNPACKED: &[&str] = &["registry/src", "git/checkouts"];

/// What cargo keeps in a target directory when it only plans.
const IN_TARGET: &[&str] = &[
    // What rustc said of itself, under the time of rustc's file.
    ".rustc_info.json",
    "CACHEDIR.TAG",
];

/// What a plan depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// What was looked at, sorted.
    pub all: Vec<PlanInput>,
    /// The same on this host, with what was there at the first look.
    pub looks: Vec<(Look, Option<Seen>)>,
    /// Whether the plan serves no checkout at another place.
    pub bound: bool,
    /// Absolute paths that it has been told of, so that it serves no checkout and no toolchain which has
    /// one of them.
    pub told: BTreeSet<String>,
    /// Whether it serves no other home of cargo's.
    pub bound_to_home: bool,
    /// Whether it serves no toolchain at another place.
    pub bound_to_toolchain: bool,
}

/// Directories and files below cargo's home that are no inputs of a checkout's plan.
pub(crate) fn left_out(cargo_home: &Path, checkout: &Path) -> impl Iterator<Item = String> {
    let paths = CARGOS_OWN.iter().map(|name| cargo_home.join(name));
    let paths = paths.chain(unpacked(cargo_home, checkout));
    paths.filter_map(|path| path.to_str().map(str::to_owned))
}

/// Those of [`UNPACKED`] in which the checkout does not lie.
fn unpacked(cargo_home: &Path, checkout: &Path) -> impl Iterator<Item = PathBuf> {
    let all = UNPACKED.iter().map(|name| cargo_home.join(name));
    all.filter(|base| !checkout.starts_with(base))
}

/// Everything a plan depends on, as `looks` have it.
///
/// # Errors
/// For paths that are not UTF-8.
pub fn inputs(
    request: &PlanRequest,
    workspace: &Workspace,
    plan: &Plan,
    looks: &Looks,
) -> Result<Inputs, PlanError> {
    let mut sorting = Sorting {
        workspace,
        left_out: left_out(&workspace.cargo_home, &workspace.checkout)
            .map(PathBuf::from)
            .collect(),
        target: workspace.target.get().cloned(),
        looks: looks.looks.clone(),
        found: BTreeSet::new(),
    };
    let links = links_on_the_way(looks.looks.keys().map(|look| look.path.as_str()));
    for (path, seen) in links {
        let kind = ReadKind::Link;
        sorting.looks.insert(Look { path, kind }, Some(seen));
    }
    let looks: Vec<(Look, Option<Seen>)> = sorting
        .looks
        .iter()
        .filter(|(look, seen)| sorting.counts(look, **seen))
        .map(|(look, seen)| (look.clone(), *seen))
        .collect();
    let mut binding = Binding {
        workspace,
        checkout: text(&workspace.checkout)?,
        sysroot: text(&workspace.toolchain.sysroot)?,
        told: BTreeSet::new(),
        names_toolchain: false,
    };
    let bound = binding.is_bound(request, plan, &looks);
    let bound_to_toolchain = binding.names_toolchain;
    let told = binding.told;
    for (look, seen) in &looks {
        sorting.add(look, *seen)?;
    }
    Ok(Inputs {
        all: sorting.found.into_iter().collect(),
        looks,
        bound,
        told,
        bound_to_home: is_bound_to_home(workspace, plan),
        bound_to_toolchain,
    })
}

/// A package that is named by its path and lies in what cargo unpacked, where the checkout does not: what
/// is looked at there is left out, so a plan with such a package is not to be remembered.
pub fn unpacked_by_path<'p>(workspace: &Workspace, plan: &'p Plan) -> Option<&'p Package> {
    let unpacked: Vec<PathBuf> = unpacked(&workspace.cargo_home, &workspace.checkout).collect();
    let is_unpacked = |package: &&Package| {
        let mut paths = workspace.host_paths(&package.found_at).into_iter();
        paths.any(|path| unpacked.iter().any(|base| path.starts_with(base)))
    };
    let mut local = plan.packages.iter().filter(|package| package.is_local);
    local.find(is_unpacked)
}

struct Sorting<'a> {
    workspace: &'a Workspace,
    left_out: Vec<PathBuf>,
    target: Option<PathBuf>,
    looks: BTreeMap<Look, Option<Seen>>,
    found: BTreeSet<PlanInput>,
}

impl Sorting<'_> {
    fn counts(&self, look: &Look, seen: Option<Seen>) -> bool {
        let path = Path::new(&look.path);
        if places::is_of_kernel(&look.path) || self.left_out.iter().any(|out| path.starts_with(out))
        {
            return false;
        }
        // The way to the checkout is where it was found, which is looked at for each build.
        let on_the_way = self.workspace.checkout.starts_with(path);
        let directory = matches!(seen, Some(Seen::Directory { .. }) | None);
        if on_the_way && directory && matches!(look.kind, ReadKind::Existence | ReadKind::Link) {
            return false;
        }
        if let Some(target) = &self.target
            && (path == target || IN_TARGET.iter().any(|name| path == target.join(name)))
        {
            // Whether it is there is cargo's business alone.
            return look.kind == ReadKind::Link && matches!(seen, Some(Seen::Link { .. }));
        }
        // A file's content and a directory's names say that it is there.
        let has = |kind| {
            let path = look.path.clone();
            self.looks.contains_key(&Look { path, kind })
        };
        look.kind != ReadKind::Existence || !(has(ReadKind::Content) || has(ReadKind::Listing))
    }

    fn add(&mut self, look: &Look, seen: Option<Seen>) -> Result<(), PlanError> {
        let path = Path::new(&look.path);
        if let Some(relative) = self.above(path) {
            let kind = match look.kind {
                ReadKind::Listing => ReadKind::Existence,
                kind => kind,
            };
            let path = PlanPath::Parents(relative);
            self.found.insert(PlanInput { path, kind });
            // Of what is not there, the chain says all.
            if seen == Some(Seen::Absent) {
                return Ok(());
            }
        }
        let path = self.workspace.plan_path(path)?;
        let kind = look.kind;
        self.found.insert(PlanInput { path, kind });
        Ok(())
    }

    /// For what was looked for in the checkout and then in directories above it: what was looked
    /// for. How deep a checkout lies is then no matter, only what is found on the way up.
    fn above(&self, path: &Path) -> Option<String> {
        let workspace = self.workspace;
        let homes = [&workspace.cargo_home, &workspace.rustup_home];
        let of_home =
            |home: &&PathBuf| path.starts_with(home) && !workspace.checkout.starts_with(home);
        if homes.iter().any(of_home) || path.starts_with(&workspace.checkout) {
            return None;
        }
        let nearest = workspace.checkout.parent()?;
        let relative = nearest
            .ancestors()
            .find_map(|dir| path.strip_prefix(dir).ok())?;
        let looked = |dir: &Path| {
            let path = dir.join(relative).to_string_lossy().into_owned();
            let kinds = [ReadKind::Content, ReadKind::Existence, ReadKind::Link];
            let mut looks = kinds.map(|kind| Look {
                path: path.clone(),
                kind,
            });
            looks.iter_mut().any(|look| self.looks.contains_key(look))
        };
        let upwards =
            !relative.as_os_str().is_empty() && looked(nearest) && looked(&workspace.checkout);
        Some(relative.to_str().filter(|_| upwards)?.to_owned())
    }
}

/// What of a plan's inputs holds for its checkout's place alone.
struct Binding<'a> {
    workspace: &'a Workspace,
    checkout: &'a str,
    sysroot: &'a str,
    told: BTreeSet<String>,
    names_toolchain: bool,
}

impl Binding<'_> {
    /// Whether something that decides the plan names the checkout's place, or leads out of it by a
    /// way that a copy elsewhere has its own of.
    fn is_bound(
        &mut self,
        request: &PlanRequest,
        plan: &Plan,
        looks: &[(Look, Option<Seen>)],
    ) -> bool {
        let known = plan_env(&request.env);
        let named = plan.env_inputs.iter();
        let named = named.filter_map(|name| request.env.get(name));
        // All is gone through, for what else it names.
        let mut bound = false;
        for value in known.values().chain(named) {
            bound |= self.names(value);
        }
        for (look, seen) in looks {
            let path = Path::new(&look.path);
            let outside = !path.starts_with(&self.workspace.checkout);
            bound |= match (look.kind, seen) {
                (ReadKind::Content, Some(Seen::File { .. }) | None) => self.binds(path),
                // From outside through a link.
                (ReadKind::Link, Some(Seen::Link { .. })) if outside => {
                    let real = self.workspace.host.canonicalize(path);
                    real.is_ok_and(|real| real.starts_with(&self.workspace.checkout))
                }
                _ => false,
            };
        }
        bound
    }

    /// Whether a text names the checkout's place; what else it names is noted.
    fn names(&mut self, text: &str) -> bool {
        let whole = text.starts_with('/').then(|| straight(text));
        let paths: Vec<String> = absolute(text).chain(whole).collect();
        let has = |place: &str| {
            let mut paths = paths.iter();
            text.contains(place) || paths.any(|path| path.contains(place))
        };
        self.names_toolchain |= has(self.sysroot);
        let names = has(self.checkout);
        self.told.extend(paths);
        names
    }

    /// Whether a file holds a path that means this place, be it a manifest, a configuration, or
    /// whatever else was read.
    fn binds(&mut self, path: &Path) -> bool {
        let workspace = self.workspace;
        // Anybody's settings may lie where every machine has its programs, too.
        let settings = [&*workspace.checkout, &*workspace.cargo_home];
        let is_among_settings = settings.iter().any(|place| path.starts_with(place));
        let of_all = places::HOST.iter().map(Path::new);
        let mut of_all = of_all.chain([&*workspace.toolchain.sysroot]);
        let is_of_all = !is_among_settings && of_all.any(|place| path.starts_with(place));
        // Where git has its own files is no part of a plan.
        if is_of_all || path.ends_with(".git") {
            return false;
        }
        let of_home = path.parent() == Some(&*workspace.cargo_home);
        let is_config = of_home || path.parent().is_some_and(|dir| dir.ends_with(".cargo"));
        let above = path.parent().and_then(Path::parent).unwrap_or(path);
        // What is relative in it is meant from there. That of cargo's home says it for the home.
        let is_above = workspace.checkout.starts_with(above) && workspace.checkout != above;
        let mut bound = is_config && is_above && !of_home;
        let Ok(text) = workspace.host.read_to_string(path) else {
            return bound;
        };
        let inside = path.strip_prefix(&workspace.checkout).ok();
        let depth = inside.map(|inside| inside.components().count() - 1);
        let depth = depth.map(|depth| depth.saturating_sub(usize::from(is_config)));
        bound |= self.names(&text);
        for text in meant(&text) {
            bound |= self.names(&text);
        }
        bound || depth.is_some_and(|depth| leaves(&text, depth))
    }
}

/// Relative paths in the configuration of cargo's home are meant from the directory above it. A plan
/// with such a path serves that home alone, not any of the same content.
fn is_bound_to_home(workspace: &Workspace, plan: &Plan) -> bool {
    let mut files = workspace.config.files.iter();
    if !files.any(|file| file.starts_with(&workspace.cargo_home)) {
        return false;
    }
    // Any absolute path may be one that is meant from the root directory.
    let above = workspace.cargo_home.parent();
    let Some(above) = above.filter(|dir| dir.parent().is_some()) else {
        return true;
    };
    // What these lead to may be beside that home too.
    let tables = ["patch", "paths", "source"];
    if tables
        .iter()
        .any(|table| workspace.config.get(&[table]).is_some())
    {
        return true;
    }
    let env = plan.env.iter().map(|(_, value)| value);
    let platforms = plan.platforms.iter();
    let linkers = platforms.clone().flat_map(|platform| &platform.linker);
    let flags = platforms.flat_map(|platform| &platform.rustflags);
    let mut values = env
        .chain(linkers)
        .chain(flags)
        .chain(plan.compiler.others());
    values.any(|value| value.contains(&*above.to_string_lossy()))
}
