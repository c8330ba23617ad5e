//! Decides from an action what is mounted where. Pure: no file is looked at.

use std::collections::BTreeSet;
use std::path::Path;

use vx_core::tree::{TreeEntry, TreeNode};
use vx_core::{
    ActionSpec, Blob, CollectForm, PathError, RelPath, ServiceError, ServiceResult, Tree, places,
};

use crate::guard::spec::{Bind, BindAccess};

/// Below these nothing else is mounted or placed.
const RESERVED: &[&str] = &[places::CHECKOUT, places::TOOLCHAIN, places::HOME];

/// In these no place of the host's is shown: they are the root's own.
const OWN: &[&str] = &[places::ROOT, "/proc", "/dev"];

/// Below this directory, which is no top of an action's, what lies at real places is staged.
const REAL: &str = ".real";

/// The path below [`places::ROOT`] that `at` names.
fn below_root(at: &str) -> ServiceResult<RelPath> {
    let invalid = |why: &str| ServiceError::Invalid(format!("{at:?} {why}"));
    let rest = at
        .strip_prefix(places::ROOT)
        .and_then(|rest| rest.strip_prefix('/'))
        .filter(|rest| !rest.is_empty())
        .ok_or_else(|| invalid("is not below /vx, where an action's inputs and outputs lie"))?;
    let path = RelPath::new(rest).map_err(|error| ServiceError::Invalid(error.to_string()))?;
    if RESERVED
        .iter()
        .any(|reserved| places::below(at, reserved).is_some())
    {
        return Err(invalid("lies where something else is mounted"));
    }
    Ok(path)
}

/// Where everything of an action goes.
pub(crate) struct Layout {
    /// Files, links and empty directories to be staged, below one directory.
    pub(crate) staged: Tree,
    /// Directories that must be there in the staged directory, for mounts.
    pub(crate) mount_points: Vec<RelPath>,
    /// The staged directory's entries that are mounted, and where.
    pub(crate) tops: Vec<(String, String)>,
    /// How they are mounted. A build script may write above its `OUT_DIR`, as some do to leave
    /// things for people; only what is in there is kept.
    access: BindAccess,
}

impl Layout {
    /// Lays an action out; `trees` are those it names, in its order.
    ///
    /// # Errors
    /// When places collide or lie where they must not.
    pub(crate) fn of(action: &ActionSpec, trees: Vec<Tree>) -> ServiceResult<Self> {
        let real = RealPlaces::of(action)?;
        let staged = staged(action, trees, &real)?;
        let tops: BTreeSet<&str> = staged
            .entries()
            .iter()
            .filter_map(|entry| entry.path.as_str().split('/').next())
            .filter(|top| *top != REAL)
            .collect();
        let mut mount_points = Vec::new();
        let mut seen = BTreeSet::new();
        let packages = action.packages.iter().map(|package| &package.at);
        let packages = packages.filter(|at| !action.real_places.contains(at));
        for at in packages.chain(action.collect.iter().map(|collect| &collect.at)) {
            let path = below_root(at)?;
            if !seen.insert(at) {
                return Err(ServiceError::Invalid(format!("{at} is mounted twice")));
            }
            let top = path.as_str().split('/').next().unwrap_or_default();
            if tops.contains(top) {
                mount_points.push(path);
            }
        }
        let tops = tops
            .into_iter()
            .map(|top| (top.to_owned(), format!("{}/{top}", places::ROOT)))
            .chain(real.tops(&staged))
            .collect();
        Ok(Self {
            staged,
            mount_points,
            tops,
            access: if is_script(action) {
                BindAccess::PrivateLayer
            } else {
                BindAccess::ReadOnly
            },
        })
    }

    /// The mounts of the staged directory.
    pub(crate) fn binds(&self, staging: &Path) -> Vec<Bind> {
        self.tops
            .iter()
            .map(|(top, at)| Bind {
                host: staging.join(top).to_string_lossy().into_owned(),
                at: at.clone(),
                access: self.access,
            })
            .collect()
    }
}

/// Places of the host's in whose stead inputs are shown.
struct RealPlaces<'a>(&'a [String]);

impl<'a> RealPlaces<'a> {
    fn of(action: &'a ActionSpec) -> ServiceResult<Self> {
        for place in &action.real_places {
            let path = place.strip_prefix('/').map(RelPath::new);
            let fits = matches!(&path, Some(Ok(path)) if path.as_str().contains('/'));
            if !fits || OWN.iter().any(|own| places::below(place, own).is_some()) {
                return Err(ServiceError::Invalid(format!(
                    "{place:?} is no place of the host's that inputs can be shown in"
                )));
            }
        }
        Ok(Self(&action.real_places))
    }

    /// Where what lies at `at` is staged, if that is in one of these places.
    fn staged(&self, at: &str) -> ServiceResult<Option<RelPath>> {
        let found = self.0.iter().enumerate().find_map(|(index, place)| {
            let rest = places::below(at, place)?;
            Some((format!("{REAL}/{index}"), rest))
        });
        found
            .map(|(top, rest)| Ok(RelPath::new(top)?.join(&RelPath::new(rest)?)))
            .transpose()
            .map_err(|error: PathError| ServiceError::Invalid(error.to_string()))
    }

    /// Those that something is staged for.
    fn tops(&self, staged: &Tree) -> Vec<(String, String)> {
        let places = self.0.iter().enumerate();
        places
            .map(|(index, place)| (format!("{REAL}/{index}"), place.clone()))
            .filter(|(top, _)| {
                let mut entries = staged.entries().iter();
                entries.any(|entry| places::below(entry.path.as_str(), top).is_some())
            })
            .collect()
    }
}

/// Whether an action is a build script's run: those leave whole directories.
pub(crate) fn is_script(action: &ActionSpec) -> bool {
    let mut collects = action.collect.iter();
    collects.any(|collect| matches!(collect.form, CollectForm::Tree { .. }))
}

/// Sorts mounts so that each comes before what lies below it.
pub(crate) fn in_order(mut binds: Vec<Bind>) -> Vec<Bind> {
    binds.sort_by(|a, b| a.at.split('/').cmp(b.at.split('/')));
    binds
}

fn staged(action: &ActionSpec, trees: Vec<Tree>, real: &RealPlaces<'_>) -> ServiceResult<Tree> {
    let mut entries = Vec::new();
    for file in &action.files {
        let path = below_root(&file.at)?;
        if path.parent().is_none_or(|parent| parent.is_empty()) {
            return Err(ServiceError::Invalid(format!(
                "{} must lie in a directory below /vx",
                file.at
            )));
        }
        entries.push(TreeEntry {
            path,
            node: TreeNode::File {
                blob: Blob {
                    digest: file.digest,
                    size: file.size,
                },
                executable: file.executable,
            },
        });
    }
    for (input, tree) in action.trees.iter().zip(trees) {
        let base = match real.staged(&input.at)? {
            Some(base) => base,
            None => below_root(&input.at)?,
        };
        if tree.entries().is_empty() {
            entries.push(TreeEntry {
                path: base,
                node: TreeNode::EmptyDirectory,
            });
            continue;
        }
        entries.extend(tree.entries().iter().map(|entry| TreeEntry {
            path: base.join(&entry.path),
            node: entry.node.clone(),
        }));
    }
    Tree::new(entries)
        .map_err(|error| ServiceError::Invalid(format!("inputs of {}: {error}", action.label)))
}

#[cfg(test)]
mod tests {
    use vx_core::{
        Collect, Digest, FileInput, MessageFormat, PackageFormat, PackageInput, TreeInput, Watch,
    };

    use super::*;

    fn action() -> ActionSpec {
        ActionSpec {
            label: "test".to_owned(),
            argv: vec!["true".to_owned()],
            env: Vec::new(),
            cwd: "/".to_owned(),
            toolchain: "/".to_owned(),
            checkout: None,
            packages: Vec::new(),
            files: Vec::new(),
            trees: Vec::new(),
            collect: Vec::new(),
            messages: MessageFormat::Plain,
            markers: Vec::new(),
            watch: Watch::Nothing,
            host_paths: Vec::new(),
            network: false,
            real_places: Vec::new(),
            base: String::new(),
        }
    }

    fn file(at: &str) -> FileInput {
        FileInput {
            at: at.to_owned(),
            digest: Digest::of(b"x"),
            size: 1,
            executable: false,
        }
    }

    #[test]
    fn files_share_one_mount_and_collected_directories_lie_in_it() {
        let mut action = action();
        action.files = vec![
            file("/vx/target/debug/deps/liba.rmeta"),
            file("/vx/target/debug/deps/libb.rmeta"),
        ];
        action.collect = vec![
            Collect {
                at: "/vx/target/debug/build/a/out".to_owned(),
                form: CollectForm::Files,
            },
            Collect {
                at: "/vx/out".to_owned(),
                form: CollectForm::Files,
            },
        ];
        let layout = Layout::of(&action, Vec::new()).unwrap();
        let target = ("target".to_owned(), "/vx/target".to_owned());
        assert_eq!(layout.tops, [target]);
        assert_eq!(
            layout.mount_points,
            [RelPath::new("target/debug/build/a/out").unwrap()]
        );
    }

    #[test]
    fn refuses_places_that_are_taken_or_outside() {
        for at in [
            "/etc/passwd",
            "/vx/the-checkout-at-its-fixed-place/src/lib.rs",
            "/vx/toolchain/bin/rustc",
            "/vx/../etc/x",
            "/vx/file",
            "/vx",
        ] {
            let mut action = action();
            action.files = vec![file(at)];
            assert!(Layout::of(&action, Vec::new()).is_err(), "{at}");
        }
        let mut twice = action();
        twice.files = vec![file("/vx/a/b"), file("/vx/a/b")];
        assert!(Layout::of(&twice, Vec::new()).is_err());
    }

    #[test]
    fn real_places_are_mounted_where_they_are_said_to_be() {
        let mut action = action();
        action.files = vec![file("/vx/target/debug/deps/liba.rmeta")];
        action.real_places = vec!["/home/me/p-1.0.0".to_owned(), "/home/me/ws/.vx".to_owned()];
        action.packages = vec![PackageInput {
            at: "/home/me/p-1.0.0".to_owned(),
            archive: Digest::of(b"p"),
            format: PackageFormat::Crate,
        }];
        action.trees = vec![TreeInput {
            at: "/home/me/ws/.vx/build/x/debug/build/a-1/out".to_owned(),
            tree: Digest::of(b"t"),
            watched: false,
        }];
        let tree = Tree::new(vec![TreeEntry {
            path: RelPath::new("words.txt").unwrap(),
            node: TreeNode::EmptyDirectory,
        }]);
        let layout = Layout::of(&action, vec![tree.unwrap()]).unwrap();
        let tops = [("target", "/vx/target"), (".real/1", "/home/me/ws/.vx")];
        let tops = tops.map(|(top, at)| (top.to_owned(), at.to_owned()));
        assert_eq!(layout.tops, tops);
        assert!(layout.mount_points.is_empty());
        let staged = ".real/1/build/x/debug/build/a-1/out/words.txt";
        assert_eq!(layout.staged.entries()[0].path.as_str(), staged);
    }

    #[test]
    fn refuses_places_of_the_host_that_are_the_roots_own() {
        for place in [
            "/vx/the-checkout-at-its-fixed-place",
            "/proc/1",
            "/dev/shm",
            "/",
            "/home",
            "a/b",
            "/a/../b",
        ] {
            let mut action = action();
            action.real_places = vec![place.to_owned()];
            assert!(Layout::of(&action, Vec::new()).is_err(), "{place}");
        }
    }

    #[test]
    fn parents_are_mounted_first() {
        let bind = |at: &str| Bind {
            host: String::new(),
            at: at.to_owned(),
            access: BindAccess::ReadOnly,
        };
        let sorted = in_order(vec![bind("/vx/a/b/c"), bind("/vx/a-b"), bind("/vx/a")]);
        let order: Vec<_> = sorted.iter().map(|bind| bind.at.as_str()).collect();
        assert_eq!(order, ["/vx/a", "/vx/a/b/c", "/vx/a-b"]);
    }
}
