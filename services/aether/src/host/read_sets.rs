//! What an action read, from what rustc and build scripts say and what was seen.
//!
//! rustc writes dep-info; build scripts print `rerun-if-*`; what runs foreign code is traced as
//! well. Reads of immutable packages and of other actions' outputs are left out: their
//! identities enter the key by themselves.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use vx_core::places::{self, below};
use vx_core::readset::{Observed, Read, ReadKind, ReadPlace, ReadSet, Seen, Trace};
use vx_core::{ActionSpec, RelPath};
use vx_plan::{BuildOutput, DepInfo};

use crate::host::observe::{Observation, UNREADABLE};

/// Where an action found what a path can lead to.
#[derive(Clone, Copy)]
pub(crate) struct Root<'a> {
    /// The checkout's place.
    pub(crate) checkout: &'a str,
    /// The working directory.
    pub(crate) cwd: &'a str,
    /// Places outside of [`places::ROOT`] that hold inputs.
    pub(crate) inputs: &'a [String],
    /// Paths of the host that it shows beside [`places::HOST`].
    pub(crate) shown: &'a [String],
    /// The checkout on the host.
    pub(crate) host: &'a Path,
    /// Directories of it that are not shown.
    pub(crate) hidden: &'a [RelPath],
    /// Whether the root is its own, in which `/tmp` is its own too.
    pub(crate) isolated: bool,
}

impl<'a> Root<'a> {
    /// That of an action.
    pub(crate) fn of(spec: &'a ActionSpec) -> Self {
        let checkout = spec.checkout.as_ref();
        Self {
            checkout: checkout.map_or(places::CHECKOUT, |checkout| &checkout.at),
            cwd: &spec.cwd,
            host: Path::new(checkout.map_or("", |checkout| &checkout.host)),
            hidden: checkout.map_or(&[], |checkout| &checkout.hidden),
            inputs: &spec.real_places,
            shown: &spec.host_paths,
            isolated: spec.base.is_empty(),
        }
    }
}

impl Root<'_> {
    /// Whether an input lies at a path.
    fn gives(&self, path: &str) -> bool {
        let mut inputs = self.inputs.iter();
        inputs.any(|input| below(path, input).is_some())
    }

    /// Whether something of the checkout is not shown.
    fn hides(&self, inside: &RelPath) -> bool {
        self.hidden.iter().any(|hidden| inside.starts_with(hidden))
    }
}

/// The read set of a compile.
pub(crate) fn of_compile(root: Root<'_>, dep_info: &DepInfo) -> ReadSet {
    let mut set = ReadSet::default();
    for file in &dep_info.files {
        add_named(&mut set, root, file, ReadKind::Content);
    }
    set.env = dep_info.env.iter().map(|(name, _)| name.clone()).collect();
    set.canonical()
}

/// Whether a compiler says that it read something which its action was not given.
pub(crate) fn names_what_is_not_given(root: Root<'_>, dep_info: &DepInfo) -> bool {
    dep_info.files.iter().any(|file| {
        let at = go(root, file).at;
        !root.gives(&at) && below(&at, places::ROOT).is_none()
    })
}

/// The read set of a build script's run: what it names.
///
/// One that names nothing is run by cargo whenever its package changes; what it was seen to
/// read says it better.
pub(crate) fn of_build_script(root: Root<'_>, output: &BuildOutput) -> ReadSet {
    let mut set = ReadSet {
        env: output.rerun_if_env_changed.clone(),
        ..ReadSet::default()
    };
    for path in &output.rerun_if_changed {
        add_named(&mut set, root, path, ReadKind::Tree);
    }
    set.canonical()
}

/// Adds what an action names, and what that name depends on.
fn add_named(set: &mut ReadSet, root: Root<'_>, path: &str, kind: ReadKind) {
    let way = go(root, path);
    let place = place_at(root, way.at);
    set.reads.extend(place.map(|place| Read { place, kind }));
    set.reads.extend(way.depends_on);
}

/// Adds the links on the way to an action's working directory: what it looks at from there is named
/// by where that really is.
pub(crate) fn add_start(set: &mut ReadSet, root: Root<'_>) {
    let mut at = String::new();
    for part in parts(root.cwd) {
        push(&mut at, &part);
        set.reads.extend(link_at(root, &at));
    }
    *set = std::mem::take(set).canonical();
}

/// Adds what an action was seen to look at.
pub(crate) fn add_trace(set: &mut ReadSet, trace: &Trace) {
    let sights = trace.sights.iter().map(|sight| &sight.read);
    for read in sights.filter(|read| !is_known(read)) {
        set.reads.push(read.clone());
        // What is opened may be opened to be run, and what can't be run is looked at all the same.
        if read.kind == ReadKind::Content && !matches!(read.place, ReadPlace::Given(_)) {
            set.reads.push(Read {
                place: read.place.clone(),
                kind: ReadKind::Metadata,
            });
        }
    }
    set.missed.extend(trace.missed.iter().cloned());
    *set = std::mem::take(set).canonical();
}

/// Adds where a compiler that was not watched looked for modules: each has a second place, and
/// finding both is an error. The crate's root, which is named first, has none.
pub(crate) fn add_modules(set: &mut ReadSet, root: Root<'_>, dep_info: &DepInfo) {
    let modules = dep_info.files.iter().skip(1);
    let places = modules.filter_map(|file| other_module_file(&place_of(root, file)?));
    set.reads.extend(places.map(|place| Read {
        place,
        kind: ReadKind::Existence,
    }));
    *set = std::mem::take(set).canonical();
}

fn other_module_file(place: &ReadPlace) -> Option<ReadPlace> {
    let ReadPlace::Checkout(path) = place else {
        return None;
    };
    let text = path.as_str();
    let other = match text.strip_suffix("/mod.rs") {
        Some(directory) => format!("{directory}.rs"),
        None => format!("{}/mod.rs", text.strip_suffix(".rs")?),
    };
    RelPath::new(other).ok().map(ReadPlace::Checkout)
}

/// Whether the toolchain's identity covers a read.
fn is_known(read: &Read) -> bool {
    let ReadPlace::Toolchain(path) = &read.place else {
        return false;
    };
    crate::host::toolchain::is_in_identity(path)
}

/// Whether what was observed afterwards is what an action saw that started at `started_ns`:
/// else it changed meanwhile, and nobody knows which of both the action read. The time has to be
/// the same one: where a directory was put in another's place, all of its files are older.
pub(crate) fn agree(seen: &Seen, observation: &Observation, started_ns: i128) -> bool {
    let is_from = |newest_ns: &i64| observation.own_ns == Some(i128::from(*newest_ns));
    match (seen, &observation.observed) {
        (Seen::Absent, observed) => *observed == Observed::Absent,
        (Seen::File { newest_ns }, Observed::Content(_) | Observed::File { .. }) => {
            is_from(newest_ns)
        }
        // What changed after the start, the action changed in a layer of its own; or somebody
        // else did, and it is too new.
        (Seen::Directory { newest_ns }, Observed::Listing(_)) => {
            is_from(newest_ns) || i128::from(*newest_ns) >= started_ns
        }
        (Seen::Directory { .. }, Observed::Kind(kind)) => kind == "directory" || kind == UNREADABLE,
        // It could not be read then either: whoever looks is the same user.
        (Seen::File { .. }, Observed::Kind(kind)) => kind == UNREADABLE,
        (Seen::Link { newest_ns }, Observed::Link(_)) => is_from(newest_ns),
        // What comes through a FIFO or a socket is in no key, so nothing is lost with one.
        (Seen::Other, observed) => matches!(observed, Observed::Special | Observed::Absent),
        _ => false,
    }
}

/// Where a path leads by its name, and what that depends on.
struct Way {
    /// The path in the action's root, absolute and without `.` and `..`.
    at: String,
    /// Whether each directory of the checkout before a `..` is a link, and where that leads.
    depends_on: Vec<Read>,
}

/// Goes the way of a path, from the working directory.
///
/// Links are not followed, as what a link leads to is observed through it; but for those before a
/// `..`, which is meant from where they lead.
fn go(root: Root<'_>, path: &str) -> Way {
    /// How many links are followed, as the kernel does.
    const LINKS: usize = 40;
    let from = if path.starts_with('/') { "" } else { root.cwd };
    let mut ahead: VecDeque<String> = parts(from).chain(parts(path)).collect();
    let last = ahead.iter().rposition(|part| part == "..");
    let straight = ahead.split_off(last.map_or(0, |last| last + 1));
    let mut way = Way {
        at: String::new(),
        depends_on: Vec::new(),
    };
    let mut links = 0;
    while let Some(part) = ahead.pop_front() {
        if part == ".." {
            pop(&mut way.at);
            continue;
        }
        push(&mut way.at, &part);
        way.depends_on.extend(link_at(root, &way.at));
        let Some(target) = on_host(root, &way.at).and_then(|path| std::fs::read_link(path).ok())
        else {
            continue;
        };
        links += 1;
        let Some(target) = target.to_str().filter(|_| links <= LINKS) else {
            continue;
        };
        let mut target = target.to_owned();
        if target.starts_with('/') {
            way.at.clear();
            // An action finds the checkout elsewhere.
            if let Some(inside) = root.host.to_str().and_then(|host| below(&target, host)) {
                target = format!("{}/{inside}", root.checkout);
            }
        } else {
            pop(&mut way.at);
        }
        for part in parts(&target).rev() {
            ahead.push_front(part);
        }
    }
    for part in straight {
        push(&mut way.at, &part);
    }
    if way.at.is_empty() {
        way.at.push('/');
    }
    way
}

/// Whether something in the checkout is a link, and where that leads; `None` for what is not in it.
fn link_at(root: Root<'_>, at: &str) -> Option<Read> {
    let inside = below(at, root.checkout).filter(|inside| !inside.is_empty())?;
    let inside = RelPath::new(inside).ok()?;
    (!root.gives(at) && !root.hides(&inside)).then_some(Read {
        place: ReadPlace::Checkout(inside),
        kind: ReadKind::Link,
    })
}

/// Where something of an action's root is on the host; `None` for what lies below vx's own places,
/// which is given, with no links that lead elsewhere.
fn on_host(root: Root<'_>, path: &str) -> Option<PathBuf> {
    match below(path, root.checkout) {
        Some(inside) => Some(root.host.join(inside)),
        None if below(path, places::ROOT).is_some() => None,
        None => Some(PathBuf::from(path)),
    }
}

/// The names in a path.
fn parts(path: &str) -> impl DoubleEndedIterator<Item = String> {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.map(str::to_owned)
}

fn push(path: &mut String, part: &str) {
    path.push('/');
    path.push_str(part);
}

fn pop(path: &mut String) {
    path.truncate(path.rfind('/').unwrap_or(0));
}

/// Where a path that an action names is to be observed; `None` for what enters the key otherwise.
fn place_of(root: Root<'_>, path: &str) -> Option<ReadPlace> {
    place_at(root, go(root, path).at)
}

/// As [`place_of`], where the way was gone.
fn place_at(root: Root<'_>, path: String) -> Option<ReadPlace> {
    let lies_in = |place: &str| below(&path, place).is_some();
    if root.gives(&path) {
        return None;
    }
    if let Some(below) = below(&path, root.checkout) {
        let inside = RelPath::new(below).ok()?;
        // A script may name what it can't see, and so can't go by.
        return (!root.hides(&inside)).then_some(ReadPlace::Checkout(inside));
    }
    // The rest of vx's places hold inputs and outputs; what else is left out is the action's own,
    // or made up by the kernel.
    let private: &[&str] = if root.isolated {
        &[places::ROOT, "/tmp", "/proc", "/dev"]
    } else {
        &[places::ROOT, "/proc", "/dev", "/sys"]
    };
    if private.iter().any(|place| lies_in(place)) {
        return None;
    }
    let shown = root.shown.iter().any(|place| lies_in(place));
    if root.isolated && !shown && !places::HOST.iter().any(|place| lies_in(place)) {
        return None;
    }
    Some(ReadPlace::Host(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root<'a>(cwd: &'a str, inputs: &'a [String]) -> Root<'a> {
        Root {
            checkout: "/vx/the-checkout-at-its-fixed-place",
            cwd,
            host: Path::new("/nowhere"),
            hidden: &[],
            inputs,
            shown: &[],
            isolated: true,
        }
    }

    fn checkout(path: &str) -> ReadPlace {
        ReadPlace::Checkout(RelPath::new(path).unwrap())
    }

    #[test]
    fn dep_info_becomes_reads_of_the_checkout_and_the_host() {
        let dep_info = DepInfo {
            files: vec![
                "src/main.rs".to_owned(),
                "src/a.rs".to_owned(),
                "src/../../README.md".to_owned(),
                "/vx/target/debug/build/x/out/g.rs".to_owned(),
                "/usr/include/x.h".to_owned(),
            ],
            env: vec![("FOO".to_owned(), None)],
        };
        let set = of_compile(
            root("/vx/the-checkout-at-its-fixed-place/crate", &[]),
            &dep_info,
        );
        let reads = set.reads.iter().map(|read| (read.place.clone(), read.kind));
        assert_eq!(
            reads.collect::<Vec<_>>(),
            [
                (checkout("README.md"), ReadKind::Content),
                // What the parents are of.
                (checkout("crate"), ReadKind::Link),
                (checkout("crate/src"), ReadKind::Link),
                (checkout("crate/src/a.rs"), ReadKind::Content),
                (checkout("crate/src/main.rs"), ReadKind::Content),
                (
                    ReadPlace::Host("/usr/include/x.h".to_owned()),
                    ReadKind::Content
                ),
            ]
        );
        assert_eq!(set.env, ["FOO"]);
    }

    #[test]
    fn names_are_those_of_places_that_an_action_sees() {
        let shown = ["/opt/tool".to_owned()];
        let root = Root {
            shown: &shown,
            ..root("/", &[])
        };
        let place_of = |path: &str| place_of(root, path);
        for path in ["/usr/include/x.h", "/opt/tool", "/opt/tool/x"] {
            assert_eq!(place_of(path), Some(ReadPlace::Host(path.to_owned())));
        }
        // Also what only begins like one.
        for path in [
            "/",
            "/etc/hosts",
            "/opt/toolbox/x",
            "/usrother/x",
            "/vxother/x",
        ] {
            assert_eq!(place_of(path), None, "{path}");
        }
        assert_eq!(place_of("/vx/registry/a/b/c.rs"), None);
        assert_eq!(
            place_of("/vx/the-checkout-at-its-fixed-place"),
            Some(checkout(""))
        );
    }

    #[test]
    fn modules_have_a_second_place() {
        let root = root("/vx/the-checkout-at-its-fixed-place", &[]);
        let dep_info = DepInfo {
            files: ["src/main.rs", "src/a.rs", "src/b/mod.rs", "notes.txt"]
                .map(str::to_owned)
                .to_vec(),
            env: Vec::new(),
        };
        let mut set = ReadSet::default();
        add_modules(&mut set, root, &dep_info);
        let places: Vec<_> = set.reads.iter().map(|read| read.place.clone()).collect();
        assert_eq!(places, [checkout("src/a/mod.rs"), checkout("src/b.rs")]);
    }

    #[test]
    fn parents_are_those_of_what_a_link_leads_to() {
        let directory = tempfile::tempdir().unwrap();
        let host = std::fs::canonicalize(directory.path()).unwrap();
        std::fs::create_dir_all(host.join("common/src")).unwrap();
        std::fs::create_dir_all(host.join("a")).unwrap();
        std::os::unix::fs::symlink("../common/src", host.join("a/src")).unwrap();
        let root = Root {
            host: &host,
            ..root("/vx/the-checkout-at-its-fixed-place/a", &[])
        };
        let found = |path: &str| place_of(root, path);
        assert_eq!(
            found("src/../README.md"),
            Some(checkout("common/README.md"))
        );
        assert_eq!(found("src/lib.rs"), Some(checkout("a/src/lib.rs")));
        assert_eq!(found("../b/../x"), Some(checkout("x")));
        assert_eq!(found("src/../../y"), Some(checkout("y")));
        let before = |path: &str| go(root, path).depends_on;
        let link = |path: &str| Read {
            place: checkout(path),
            kind: ReadKind::Link,
        };
        assert_eq!(before("src/lib.rs"), []);
        assert_eq!(
            before("src/../README.md"),
            [link("a"), link("a/src"), link("common"), link("common/src")]
        );
    }

    #[test]
    fn temporary_files_are_inputs_where_nothing_is_isolated() {
        let isolated = root("/", &[]);
        let bare = Root {
            isolated: false,
            ..isolated
        };
        let temporary = ReadPlace::Host("/tmp/x".to_owned());
        assert_eq!(place_of(isolated, "/tmp/x"), None);
        assert_eq!(place_of(bare, "/tmp/x"), Some(temporary));
    }

    #[test]
    fn inputs_that_lie_in_the_checkout_are_no_part_of_it() {
        let inputs = [
            "/vx/the-checkout-at-its-fixed-place/.vx".to_owned(),
            "/home/me/p-1.0.0".to_owned(),
        ];
        let root = root("/", &inputs);
        assert_eq!(
            place_of(
                root,
                "/vx/the-checkout-at-its-fixed-place/.vx/build/x/out/a.rs"
            ),
            None
        );
        assert_eq!(place_of(root, "/home/me/p-1.0.0/src/lib.rs"), None);
        assert_eq!(
            place_of(root, "/vx/the-checkout-at-its-fixed-place/.vxx"),
            Some(checkout(".vxx"))
        );
    }
}
