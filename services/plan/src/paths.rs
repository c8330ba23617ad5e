//! Host paths and their fixed places.

use std::path::{Path, PathBuf};

use vx_core::places;

use crate::error::PlanError;
use crate::host::Looks;
use crate::locate::Workspace;
use crate::model::{PackageRoot, Plan, PlanPath};

/// A path as text.
pub(crate) fn text(path: &Path) -> Result<&str, PlanError> {
    path.to_str().ok_or_else(|| PlanError::NotUtf8 {
        path: path.to_owned(),
    })
}

/// Appends a relative path, which may be empty.
pub(crate) fn join(base: &str, relative: &str) -> String {
    if relative.is_empty() {
        base.to_owned()
    } else {
        format!("{base}/{relative}")
    }
}

impl Workspace {
    /// Expresses a host path without the host, where that is possible: by the innermost of the
    /// directories that are another one for others. Any of them may lie in another.
    pub(crate) fn plan_path(&self, path: &Path) -> Result<PlanPath, PlanError> {
        type Makes = fn(String) -> PlanPath;
        // Of two that are the same the last counts.
        let bases: [(&Path, Makes); 4] = [
            (&self.checkout, PlanPath::Checkout),
            (&self.toolchain.sysroot, PlanPath::Toolchain),
            (&self.rustup_home, PlanPath::RustupHome),
            (&self.cargo_home, PlanPath::CargoHome),
        ];
        let inside = bases.into_iter().filter_map(|(base, makes)| {
            let relative = path.strip_prefix(base).ok()?;
            Some((base.as_os_str().len(), relative, makes))
        });
        match inside.max_by_key(|(depth, ..)| *depth) {
            Some((_, relative, makes)) => Ok(makes(text(relative)?.to_owned())),
            None => Ok(PlanPath::Host(text(path)?.to_owned())),
        }
    }

    /// The host's files that a path of a plan means: one, or with [`PlanPath::Parents`] one in
    /// each directory above the checkout, from the nearest.
    pub fn host_paths(&self, path: &PlanPath) -> Vec<PathBuf> {
        match path {
            PlanPath::Checkout(relative) => vec![self.checkout.join(relative)],
            PlanPath::CargoHome(relative) => vec![self.cargo_home.join(relative)],
            PlanPath::Toolchain(relative) => vec![self.toolchain.sysroot.join(relative)],
            PlanPath::RustupHome(relative) => vec![self.rustup_home.join(relative)],
            PlanPath::Host(path) => vec![PathBuf::from(path)],
            PlanPath::Parents(name) => self
                .checkout
                .ancestors()
                .skip(1)
                .map(|dir| dir.join(name))
                .filter(|path| {
                    // What is found there is the home's.
                    self.checkout.starts_with(&self.cargo_home)
                        || !path.starts_with(&self.cargo_home)
                })
                .collect(),
        }
    }

    /// Everything that was looked at so far to find this workspace, and to plan it.
    pub fn looks(&self) -> Looks {
        self.host.looks()
    }

    /// The host's path of a fixed place.
    pub(crate) fn real(&self, fixed: &str) -> String {
        let checkout = self.checkout.to_string_lossy();
        let sysroot = self.toolchain.sysroot.to_string_lossy();
        let text = replace_place(fixed, places::CHECKOUT, &checkout);
        replace_place(&text, places::TOOLCHAIN, &sysroot)
    }

    /// A message of cargo's without the paths of this checkout and these homes.
    pub(crate) fn message_without_place(&self, message: &str) -> String {
        let mut message = message.to_owned();
        for (host, place) in self.places_in_messages() {
            if let Some(host) = host.to_str() {
                message = replace_in_prose(&message, host, place);
            }
        }
        message
    }

    /// The same message for this checkout and these homes.
    pub(crate) fn message_in_place(&self, message: &str) -> String {
        let mut message = message.to_owned();
        for (host, place) in self.places_in_messages() {
            message = replace_in_prose(&message, place, &host.to_string_lossy());
        }
        message
    }

    /// Directories that cargo's messages name, the inner ones first, and what stands for each.
    fn places_in_messages(&self) -> Vec<(&Path, &'static str)> {
        let mut all: Vec<(&Path, &str)> = vec![
            (&self.checkout, places::CHECKOUT),
            (&self.toolchain.sysroot, places::TOOLCHAIN),
            (&self.cargo_home, CARGO_HOME),
            (&self.rustup_home, RUSTUP_HOME),
        ];
        all.sort_by_key(|(host, _)| std::cmp::Reverse(host.as_os_str().len()));
        all
    }

    /// Replaces the checkout's and the toolchain's host paths in a flag or a value.
    pub(crate) fn fixed(&self, value: &str) -> String {
        let mut value = value.to_owned();
        let pairs = [
            (&self.checkout, places::CHECKOUT),
            (&self.toolchain.sysroot, places::TOOLCHAIN),
        ];
        for (host, place) in pairs {
            if let Some(host) = host.to_str() {
                value = replace_path(&value, host, place);
            }
        }
        value
    }
}

/// What stands for cargo's home in its messages, and in nothing else.
const CARGO_HOME: &str = "/vx/the-home-of-cargo";

/// What stands for rustup's home in cargo's messages.
const RUSTUP_HOME: &str = "/vx/the-home-of-rustup";

/// Replaces a directory in what people read, wherever a path begins with it.
fn replace_in_prose(text: &str, from: &str, to: &str) -> String {
    let in_name = |char: char| char.is_alphanumeric() || matches!(char, '-' | '_');
    let in_path = |char: char| in_name(char) || matches!(char, '.' | '/');
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (at, _) in text.match_indices(from) {
        let (before, after) = (&text[..at], &text[at + from.len()..]);
        let starts = !before.ends_with(in_path) || before.ends_with("://");
        // A full stop ends a sentence, unless a name goes on with it.
        let goes_on = |stop: &str| stop.starts_with(in_name);
        let ends = !after.starts_with(in_name) && !after.strip_prefix('.').is_some_and(goes_on);
        if starts && ends {
            out.push_str(&text[done..at]);
            out.push_str(to);
            done = at + from.len();
        }
    }
    out.push_str(&text[done..]);
    out
}

/// Replaces a directory wherever it stands whole: not within a longer name.
pub(crate) fn replace_path(text: &str, from: &str, to: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (before, tail) = (&rest[..at], &rest[at + from.len()..]);
        let in_name = |char: char| char.is_alphanumeric() || matches!(char, '-' | '_' | '.');
        // Flags are glued to paths (`-T/a/b`, `-L/a/b`), so a letter before is no objection,
        // unless it is itself the end of a path.
        let word = before
            .rsplit([' ', '=', ':', ',', ';', '"', '\''])
            .next()
            .unwrap_or_default();
        let starts = !word.contains('/') && (word.is_empty() || word.starts_with('-'));
        let ends = !tail.starts_with(in_name);
        out.push_str(before);
        out.push_str(if starts && ends { to } else { from });
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// Replaces one of vx's own places wherever it stands whole: nothing else is named like that,
/// so whatever is before it is no objection.
pub(crate) fn replace_place(text: &str, from: &str, to: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let tail = &rest[at + from.len()..];
        let in_name = |char: char| char.is_alphanumeric() || matches!(char, '-' | '_' | '.');
        out.push_str(&rest[..at]);
        out.push_str(if tail.starts_with(in_name) { from } else { to });
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// Where a package's files are on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostSource {
    /// A directory of the checkout; actions see the checkout as a whole.
    Checkout(PathBuf),
    /// The registry's archive; the checksum is [`PackageRoot::Archive`]'s to check.
    Archive(PathBuf),
    /// A directory to be mounted whole at the package root's place.
    Directory(PathBuf),
}

/// Finds a package's files on the host; `None` if they are not there (any more), so that cargo
/// has to fetch them.
pub fn package_files(workspace: &Workspace, plan: &Plan, package: usize) -> Option<HostSource> {
    let package = &plan.packages[package];
    let found_at = workspace.host_paths(&package.found_at).into_iter().next()?;
    match &package.root {
        PackageRoot::Checkout { dir } => Some(HostSource::Checkout(workspace.checkout.join(dir))),
        PackageRoot::Archive { file_name, .. } => archive(workspace, &found_at, file_name)
            .map(HostSource::Archive)
            .or_else(|| {
                workspace
                    .host
                    .is_dir(&found_at)
                    .then_some(HostSource::Directory(found_at))
            }),
        PackageRoot::Tree { subdir, .. } => {
            let depth = Path::new(subdir).components().count();
            let root = found_at.ancestors().nth(depth)?;
            workspace
                .host
                .is_dir(root)
                .then(|| HostSource::Directory(root.to_owned()))
        }
    }
}

/// Where a package that is no part of the checkout lies unpacked on the host, with the whole of
/// its repository; where it would lie, if it does not (any more).
pub fn unpacked(workspace: &Workspace, plan: &Plan, package: usize) -> Option<PathBuf> {
    let this = &plan.packages[package];
    let found_at = workspace.host_paths(&this.found_at).into_iter().next()?;
    match &this.root {
        PackageRoot::Checkout { .. } => None,
        PackageRoot::Tree { subdir, .. } => {
            let depth = Path::new(subdir).components().count();
            Some(found_at.ancestors().nth(depth)?.to_owned())
        }
        PackageRoot::Archive { .. } => {
            let elsewhere = || {
                let name = found_at.file_name()?;
                let sources = workspace.cargo_home.join("registry/src");
                let indices = workspace.host.names(&sources).into_iter();
                let mut paths = indices.map(|index| sources.join(index).join(name));
                paths.find(|path| workspace.host.is_dir(path))
            };
            let there = workspace.host.is_dir(&found_at);
            let found = if there { None } else { elsewhere() };
            Some(found.unwrap_or(found_at))
        }
    }
}

/// `registry/src/<index>/<package>` and `registry/cache/<index>/<package>.crate` go together;
/// another cargo may name the index otherwise.
fn archive(workspace: &Workspace, unpacked: &Path, file_name: &str) -> Option<PathBuf> {
    let cache = workspace.cargo_home.join("registry/cache");
    let index = unpacked.parent().and_then(Path::file_name);
    let likely = index.map(|index| cache.join(index).join(file_name));
    if let Some(path) = likely.filter(|path| workspace.host.is_file(path)) {
        return Some(path);
    }
    let indices = workspace.host.names(&cache).into_iter();
    let mut paths = indices.map(|index| cache.join(index).join(file_name));
    paths.find(|path| workspace.host.is_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vxs_own_places_are_replaced_wherever_they_are_whole() {
        let replace = |text: &str| replace_place(text, "/vx/target/a-1/out", "/ws/.vx/a-1/out");
        for (text, expected) in [
            ("/vx/target/a-1/out", "/ws/.vx/a-1/out"),
            (
                "sqlite:///vx/target/a-1/out/x.db",
                "sqlite:///ws/.vx/a-1/out/x.db",
            ),
            ("-L/vx/target/a-1/out:x", "-L/ws/.vx/a-1/out:x"),
            ("/vx/target/a-1/output", "/vx/target/a-1/output"),
            ("/vx/target/a-1", "/vx/target/a-1"),
        ] {
            assert_eq!(replace(text), expected);
        }
    }

    #[test]
    fn paths_in_messages_are_replaced_wherever_one_begins() {
        let replace = |text: &str| replace_in_prose(text, "/a/b", "/P");
        for (text, expected) in [
            ("unused key in `/a/b/config`", "unused key in `/P/config`"),
            ("l v0.1.0 (/a/b/l)", "l v0.1.0 (/P/l)"),
            ("path+file:///a/b#l@0.1.0", "path+file:///P#l@0.1.0"),
            ("look into /a/b. Or /a/b", "look into /P. Or /P"),
            ("/a/bc /a/b-c /a/b.c /x/a/b", "/a/bc /a/b-c /a/b.c /x/a/b"),
        ] {
            assert_eq!(replace(text), expected);
            assert_eq!(replace_in_prose(expected, "/P", "/a/b"), text);
        }
    }

    #[test]
    fn whole_directories_are_replaced() {
        let replace =
            |text: &str| replace_path(text, "/a/b", "/vx/the-checkout-at-its-fixed-place");
        assert_eq!(
            replace("-Clink-arg=-T/a/b/link.x"),
            "-Clink-arg=-T/vx/the-checkout-at-its-fixed-place/link.x"
        );
        assert_eq!(
            replace("link-arg=/a/b/link.x"),
            "link-arg=/vx/the-checkout-at-its-fixed-place/link.x"
        );
        assert_eq!(
            replace("/a/b:/a/bc:/x/a/b"),
            "/vx/the-checkout-at-its-fixed-place:/a/bc:/x/a/b"
        );
    }
}
