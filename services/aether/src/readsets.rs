//! What an action read, from what rustc and build scripts say and what was seen.
//!
//! rustc writes dep-info; build scripts print `rerun-if-*`; what runs foreign code is traced as
//! well. Reads of immutable packages and of other actions' outputs are left out: their
//! identities enter the key by themselves.

use vx_core::RelPath;
use vx_core::places::{self, below};
use vx_core::readset::{Observed, Read, ReadKind, ReadPlace, ReadSet, Seen, Trace};
use vx_plan::{BuildOutput, DepInfo};

use crate::observe::{Observation, UNREADABLE};

/// What an action's paths mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground<'a> {
    /// Where it finds the checkout.
    pub(crate) checkout: &'a str,
    /// Its working directory.
    pub(crate) cwd: &'a str,
    /// Whether it has a root of its own, in which `/tmp` is its own too.
    pub(crate) isolated: bool,
}

/// The read set of a compile.
pub(crate) fn of_compile(ground: Ground<'_>, dep_info: &DepInfo) -> ReadSet {
    let mut set = ReadSet::default();
    for (index, file) in dep_info.files.iter().enumerate() {
        let Some(place) = place_of(ground, &resolve(ground.cwd, file)) else {
            continue;
        };
        // The crate root is named on the command line; every other module has a second
        // place where rustc would look for it, and finding both is an error.
        if index > 0
            && let Some(other) = other_module_file(&place)
        {
            set.reads.push(Read {
                place: other,
                kind: ReadKind::Existence,
            });
        }
        set.reads.push(Read {
            place,
            kind: ReadKind::Content,
        });
    }
    set.env = dep_info.env.iter().map(|(name, _)| name.clone()).collect();
    set.canonical()
}

/// The read set of a build script's run: what it names.
///
/// One that names nothing is run by cargo whenever its package changes; what it was seen to
/// read says it better.
pub(crate) fn of_build_script(ground: Ground<'_>, output: &BuildOutput) -> ReadSet {
    let mut set = ReadSet {
        env: output.rerun_if_env_changed.clone(),
        ..ReadSet::default()
    };
    for path in &output.rerun_if_changed {
        if let Some(place) = place_of(ground, &resolve(ground.cwd, path)) {
            set.reads.push(Read {
                place,
                kind: ReadKind::Tree,
            });
        }
    }
    set.canonical()
}

/// Adds what an action was seen to look at.
pub(crate) fn add_trace(set: &mut ReadSet, trace: &Trace) {
    let sights = trace.sights.iter().map(|sight| &sight.read);
    set.reads
        .extend(sights.filter(|read| !is_known(read)).cloned());
    *set = std::mem::take(set).canonical();
}

/// Whether the toolchain's identity covers a read.
fn is_known(read: &Read) -> bool {
    let ReadPlace::Toolchain(path) = &read.place else {
        return false;
    };
    crate::host::is_in_identity(path)
}

/// Whether what was observed afterwards is what the action saw: else it changed meanwhile, and
/// nobody knows which of both the action read.
pub(crate) fn agree(seen: &Seen, observation: &Observation) -> bool {
    match (seen, &observation.observed) {
        (Seen::Absent, observed) => *observed == Observed::Absent,
        (Seen::File { newest_ns }, Observed::Content(_) | Observed::File { .. }) => {
            i128::from(*newest_ns) <= observation.newest_ns
        }
        (Seen::Directory, Observed::Listing(_) | Observed::Tree(_)) => true,
        (Seen::Directory, Observed::Kind(kind)) => kind == "directory" || kind == UNREADABLE,
        // It could not be read then either: whoever looks is the same user.
        (Seen::File { .. }, Observed::Kind(kind)) => kind == UNREADABLE,
        (Seen::Link, Observed::Link(_)) => true,
        // What comes through a FIFO or a socket is in no key, so nothing is lost with one.
        (Seen::Other, observed) => matches!(observed, Observed::Special | Observed::Absent),
        _ => false,
    }
}

/// `path` as seen from `cwd`, absolute and without `.` and `..`.
///
/// Links are not followed: what a link leads to is observed through it.
fn resolve(cwd: &str, path: &str) -> String {
    let joined = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{cwd}/{path}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Where a path that an action names is to be observed; `None` for what enters the key otherwise.
fn place_of(ground: Ground<'_>, path: &str) -> Option<ReadPlace> {
    if let Some(below) = below(path, ground.checkout) {
        return RelPath::new(below).ok().map(ReadPlace::Checkout);
    }
    // The rest of vx's places hold inputs and outputs; what else is left out is the action's own,
    // or made up by the kernel.
    let private: &[&str] = if ground.isolated {
        &[places::ROOT, "/tmp", "/proc", "/dev"]
    } else {
        &[places::ROOT, "/proc", "/dev", "/sys"]
    };
    if private.iter().any(|place| below(path, place).is_some()) {
        return None;
    }
    Some(ReadPlace::Host(path.to_owned()))
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

#[cfg(test)]
mod tests {
    use super::*;

    const ISOLATED: Ground<'static> = Ground {
        checkout: "/vx/ws",
        cwd: "/vx/ws",
        isolated: true,
    };

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
        let ground = Ground {
            cwd: "/vx/ws/crate",
            ..ISOLATED
        };
        let set = of_compile(ground, &dep_info);
        let places: Vec<_> = set.reads.iter().map(|read| read.place.clone()).collect();
        assert_eq!(
            places,
            [
                checkout("README.md"),
                checkout("crate/src/a.rs"),
                checkout("crate/src/a/mod.rs"),
                checkout("crate/src/main.rs"),
                ReadPlace::Host("/usr/include/x.h".to_owned()),
            ]
        );
        assert_eq!(set.env, ["FOO"]);
    }

    #[test]
    fn names_that_only_begin_like_a_place_are_the_hosts() {
        assert_eq!(
            place_of(ISOLATED, "/vxother/x"),
            Some(ReadPlace::Host("/vxother/x".to_owned()))
        );
        assert_eq!(place_of(ISOLATED, "/vx/registry/a/b/c.rs"), None);
        assert_eq!(place_of(ISOLATED, "/vx/ws"), Some(checkout("")));
        let temporary = |isolated| {
            place_of(
                Ground {
                    isolated,
                    ..ISOLATED
                },
                "/tmp/x",
            )
        };
        assert_eq!(temporary(true), None);
        assert_eq!(temporary(false), Some(ReadPlace::Host("/tmp/x".to_owned())));
    }
}
