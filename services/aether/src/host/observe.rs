//! Observing the host: what a read set names, as it is now.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::Serialize;
use vx_core::RelPath;
use vx_core::digest::Digest;
use vx_core::readset::{self, Listed, Observed, Read, ReadKind, ReadPlace, name_text};

use crate::host::stat_cache::{Stamp, StatCache};
use crate::host::visibility::Visibility;

/// How deep a directory tree is followed; deeper is a loop or not a source tree.
const MAX_DEPTH: usize = 64;

/// What is there and can't be read, where actions could look at all.
pub(crate) const UNREADABLE: &str = "unreadable";

/// Where the symbolic places of reads are on this host, for one build.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The checkout's directory.
    pub(crate) checkout: PathBuf,
    /// `CARGO_HOME`.
    pub(crate) cargo_home: PathBuf,
    /// The toolchain's sysroot.
    pub(crate) sysroot: PathBuf,
    /// Directories of the checkout that no action sees.
    pub(crate) hidden: Vec<RelPath>,
    /// What no listing and no tree of the checkout counts, those directories among it.
    pub(crate) unlisted: Vec<RelPath>,
    /// Where the checkout's repository is, if it is elsewhere: build scripts see it.
    pub(crate) repository: Vec<String>,
    /// Whether the checkout names it by a relative path, which leads there from its real place alone.
    pub(crate) relative_repository: bool,
    /// What variables of the configuration name outside of the checkout: every action sees it.
    pub(crate) named: Vec<String>,
    /// What actions find; `None` where what is read is read outside of any action.
    pub(crate) visibility: Option<Visibility>,
}

impl Places {
    /// Those of actions that find the checkout where it really is.
    pub(crate) fn at_real_checkout(&self) -> Self {
        Self {
            visibility: self.visibility.as_ref().map(Visibility::at_real_place),
            ..self.clone()
        }
    }

    /// Whether no action sees something of the checkout.
    pub(crate) fn hides(&self, inside: &RelPath) -> bool {
        self.hidden.iter().any(|hidden| inside.starts_with(hidden))
    }

    /// Whether actions see everything, wherever it is.
    pub(crate) fn shows_everything(&self) -> bool {
        self.visibility
            .as_ref()
            .is_some_and(Visibility::is_everything)
    }

    /// A read's path on this host.
    pub(crate) fn host_path(&self, place: &ReadPlace) -> PathBuf {
        match place {
            ReadPlace::Checkout(path) => path.under(&self.checkout),
            ReadPlace::CargoHome(path) => path.under(&self.cargo_home),
            ReadPlace::Toolchain(path) => path.under(&self.sysroot),
            // Only for words: what is given is nowhere on the host.
            ReadPlace::Host(path) | ReadPlace::Given(path) => PathBuf::from(path),
        }
    }
}

/// What was observed, and how new the newest of it is.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    /// What is there.
    pub(crate) observed: Observed,
    /// The latest change or modification time of any file that was looked at, in nanoseconds
    /// since the epoch.
    pub(crate) newest_ns: i128,
    /// That time of the file or the directory itself, links on the way left out.
    pub(crate) own_ns: Option<i128>,
    /// Whether a link leads there that names the checkout by its path: an action that finds that at its
    /// fixed place finds nothing.
    pub(crate) by_path: bool,
}

/// Observes one read.
///
/// # Errors
/// When something is there and can't be read.
pub(crate) fn observe(cache: &StatCache, places: &Places, read: &Read) -> io::Result<Observation> {
    let mut eye = Eye {
        cache,
        places,
        newest_ns: i128::MIN,
        own_ns: None,
    };
    let path = places.host_path(&read.place);
    let found = places
        .visibility
        .as_ref()
        .map(|visibility| visibility.of(&read.place));
    if let Some(found) = &found {
        eye.newest_ns = found.links_ns;
    }
    if found.is_some_and(|found| !found.shown) {
        let mut visibility = places.visibility.iter();
        return Ok(Observation {
            by_path: visibility.any(|visibility| visibility.is_by_path(&read.place)),
            observed: match read.kind {
                ReadKind::Link => eye.link(&path)?,
                _ => Observed::Absent,
            },
            newest_ns: eye.newest_ns,
            own_ns: eye.own_ns,
        });
    }
    let observed = match read.kind {
        ReadKind::Content => eye.content(&path),
        ReadKind::Listing => eye.listing(&path),
        ReadKind::Tree => eye.tree(&path),
        ReadKind::Existence => eye.existence(&path),
        ReadKind::Metadata => eye.metadata(&path),
        ReadKind::Link => eye.link(&path),
    };
    match observed {
        // Actions look where they may not, and find out so too.
        Err(error)
            if error.kind() == io::ErrorKind::PermissionDenied && read.kind != ReadKind::Tree =>
        {
            let observed = match fs::symlink_metadata(&path) {
                Ok(metadata) => {
                    // It may have been readable a moment ago.
                    eye.newest_ns = eye.newest_ns.max(Stamp::of(&metadata).newest_ns());
                    Observed::Kind(UNREADABLE.to_owned())
                }
                Err(_) => Observed::Absent,
            };
            Ok(Observation {
                observed,
                newest_ns: eye.newest_ns,
                own_ns: eye.own_ns,
                by_path: false,
            })
        }
        Ok(observed) => Ok(Observation {
            observed,
            newest_ns: eye.newest_ns,
            own_ns: eye.own_ns,
            by_path: false,
        }),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("{}: {error}", path.display()),
        )),
    }
}

struct Eye<'a> {
    cache: &'a StatCache,
    places: &'a Places,
    newest_ns: i128,
    own_ns: Option<i128>,
}

#[derive(Serialize)]
enum Below {
    File(Digest, bool),
    Link(String),
    Directory,
    Special,
}

impl Eye<'_> {
    /// Takes in the stamp of what a read leads to.
    fn stamped(&mut self, stamp: &Stamp) {
        self.own_ns = Some(stamp.later_ns());
        self.newest_ns = self.newest_ns.max(stamp.newest_ns());
    }

    fn content(&mut self, path: &Path) -> io::Result<Observed> {
        let Some(metadata) = present(fs::metadata(path))? else {
            return Ok(Observed::Absent);
        };
        if metadata.is_dir() {
            return Ok(Observed::Kind("directory".to_owned()));
        }
        if !metadata.is_file() {
            return Ok(Observed::Special);
        }
        match present(self.cache.digest(path))? {
            Some(found) => {
                self.stamped(&found.stamp);
                self.newest_ns = self.newest_ns.max(found.newest_ns);
                Ok(Observed::Content(found.digest))
            }
            None => Ok(Observed::Absent),
        }
    }

    fn listing(&mut self, path: &Path) -> io::Result<Observed> {
        let Some(metadata) = present(fs::metadata(path))? else {
            return Ok(Observed::Absent);
        };
        if !metadata.is_dir() {
            return self.existence(path);
        }
        self.stamped(&Stamp::of(&metadata));
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if self.is_unlisted(&entry.path()) {
                continue;
            }
            let what = Listed::of(entry.file_type()?, || entry.path().is_dir());
            names.push((name_text(&entry.file_name()), what));
        }
        Ok(readset::listing(names))
    }

    fn existence(&mut self, path: &Path) -> io::Result<Observed> {
        let Some(metadata) = present(fs::metadata(path))? else {
            return Ok(Observed::Absent);
        };
        if metadata.is_file() {
            self.newest_ns = self.newest_ns.max(Stamp::of(&metadata).newest_ns());
        }
        let kind = match (metadata.is_file(), metadata.is_dir()) {
            (true, _) => "file",
            (_, true) => "directory",
            _ => "other",
        };
        Ok(Observed::Kind(kind.to_owned()))
    }

    fn metadata(&mut self, path: &Path) -> io::Result<Observed> {
        match present(fs::metadata(path))? {
            None => Ok(Observed::Absent),
            Some(metadata) => Ok(self.described(&metadata)),
        }
    }

    fn link(&mut self, path: &Path) -> io::Result<Observed> {
        let Some(metadata) = present(fs::symlink_metadata(path))? else {
            return Ok(Observed::Absent);
        };
        if metadata.is_symlink() {
            self.stamped(&Stamp::of(&metadata));
            let target = fs::read_link(path)?;
            return Ok(Observed::Link(name_text(target.as_os_str())));
        }
        Ok(self.described(&metadata))
    }

    fn described(&mut self, metadata: &fs::Metadata) -> Observed {
        if metadata.is_file() {
            self.stamped(&Stamp::of(metadata));
            return Observed::File {
                size: metadata.len(),
                executable: is_executable(metadata),
            };
        }
        if metadata.is_dir() {
            return Observed::Kind("directory".to_owned());
        }
        Observed::Special
    }

    fn tree(&mut self, path: &Path) -> io::Result<Observed> {
        match present(fs::metadata(path))? {
            None => return Ok(Observed::Absent),
            Some(metadata) if !metadata.is_dir() => return self.content(path),
            Some(_) => {}
        }
        let mut entries = Vec::new();
        self.walk(path, &mut String::new(), 0, &mut entries)?;
        entries.sort_by(|one, two| one.0.cmp(&two.0));
        Ok(Observed::Tree(Digest::of_value(
            "vx observed tree 1",
            &entries,
        )))
    }

    fn walk(
        &mut self,
        directory: &Path,
        prefix: &mut String,
        depth: usize,
        entries: &mut Vec<(String, Below)>,
    ) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(io::Error::other("directories are nested too deeply"));
        }
        self.newest_ns = self
            .newest_ns
            .max(Stamp::of(&fs::metadata(directory)?).newest_ns());
        let Some(listed) = permitted(fs::read_dir(directory))? else {
            entries.push((format!("{prefix}/"), Below::Special));
            return Ok(());
        };
        for entry in listed {
            let entry = entry?;
            let path = entry.path();
            if self.is_unlisted(&path) {
                continue;
            }
            let length = prefix.len();
            if length > 0 {
                prefix.push('/');
            }
            prefix.push_str(&name_text(&entry.file_name()));
            let kind = entry.file_type()?;
            if kind.is_dir() {
                entries.push((prefix.clone(), Below::Directory));
                self.walk(&path, prefix, depth + 1, entries)?;
            } else if kind.is_symlink() {
                let target = name_text(fs::read_link(&path)?.as_os_str());
                entries.push((prefix.clone(), Below::Link(target)));
                // The link's own text does not show that what it leads to changed.
                match permitted(self.content(&path))? {
                    Some(Observed::Content(digest)) => {
                        let executable =
                            fs::metadata(&path).is_ok_and(|found| is_executable(&found));
                        entries.push((format!("{prefix} ->"), Below::File(digest, executable)));
                    }
                    Some(_) => {}
                    None => entries.push((format!("{prefix} ->"), Below::Special)),
                }
            } else if kind.is_file() {
                // A file that went between the listing and now counts as never there.
                match permitted(present(self.cache.digest(&path)))? {
                    Some(Some(found)) => {
                        self.newest_ns = self.newest_ns.max(found.newest_ns);
                        let digest = found.digest;
                        let executable = is_executable(&entry.metadata()?);
                        entries.push((prefix.clone(), Below::File(digest, executable)));
                    }
                    Some(None) => {}
                    None => entries.push((prefix.clone(), Below::Special)),
                }
            } else {
                entries.push((prefix.clone(), Below::Special));
            }
            prefix.truncate(length);
        }
        Ok(())
    }

    fn is_unlisted(&self, path: &Path) -> bool {
        let Ok(relative) = path.strip_prefix(&self.places.checkout) else {
            return false;
        };
        self.places
            .unlisted
            .iter()
            .any(|unlisted| Path::new(unlisted.as_str()) == relative)
            || relative == Path::new(".git")
    }
}

/// Whether an action, which runs as this user, may execute a file.
pub(crate) fn is_executable(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let by_root = rustix::process::geteuid().is_root();
    readset::is_executable(metadata.permissions().mode(), by_root)
}

/// Whether a path leads to nothing, be it for a link that leads to itself or for a name that is
/// longer than names are.
fn leads_nowhere(error: &io::Error) -> bool {
    const NOWHERE: [Errno; 4] = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::NAMETOOLONG];
    Errno::from_io_error(error).is_some_and(|errno| NOWHERE.contains(&errno))
}

/// `None` for what may not be looked at: an action may not either.
fn permitted<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
        result => result.map(Some),
    }
}

fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if leads_nowhere(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn see(root: &Path, kind: ReadKind, path: &str) -> Observed {
        let places = Places {
            checkout: root.to_owned(),
            cargo_home: root.join("none"),
            sysroot: root.join("none"),
            hidden: Vec::new(),
            unlisted: vec![RelPath::new("target").unwrap()],
            repository: Vec::new(),
            relative_repository: false,
            named: Vec::new(),
            visibility: None,
        };
        let read = Read {
            place: ReadPlace::Checkout(RelPath::new(path).unwrap()),
            kind,
        };
        observe(&StatCache::default(), &places, &read)
            .unwrap()
            .observed
    }

    #[test]
    fn sees_appearing_changing_and_going() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        assert_eq!(see(root, ReadKind::Content, "a"), Observed::Absent);
        let empty = see(root, ReadKind::Tree, "");
        fs::write(root.join("a"), "1").unwrap();
        let one = see(root, ReadKind::Tree, "");
        assert_ne!(empty, one);
        fs::write(root.join("a"), "2").unwrap();
        assert_ne!(see(root, ReadKind::Tree, ""), one);
        assert_eq!(
            see(root, ReadKind::Content, "a"),
            Observed::Content(Digest::of(b"2"))
        );
    }

    #[test]
    fn what_leads_nowhere_is_absent() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        let long = "a".repeat(300);
        for path in ["loop", "loop/x", &long] {
            assert_eq!(see(root, ReadKind::Content, path), Observed::Absent);
            assert_eq!(see(root, ReadKind::Metadata, path), Observed::Absent);
        }
        let link = Observed::Link("loop".to_owned());
        assert_eq!(see(root, ReadKind::Link, "loop"), link);
        // And a tree with it can be told from one without.
        let with = see(root, ReadKind::Tree, "");
        fs::remove_file(root.join("loop")).unwrap();
        assert_ne!(see(root, ReadKind::Tree, ""), with);
    }

    #[test]
    fn what_is_not_listed_is_no_part_of_what_holds_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let before = see(root, ReadKind::Tree, "");
        let listed = see(root, ReadKind::Listing, "");
        fs::create_dir(root.join("target")).unwrap();
        fs::write(root.join("target/x"), "1").unwrap();
        assert_eq!(see(root, ReadKind::Tree, ""), before);
        assert_eq!(see(root, ReadKind::Listing, ""), listed);
        // And counts where it is looked at itself.
        let content = Observed::Content(Digest::of(b"1"));
        assert_eq!(see(root, ReadKind::Content, "target/x"), content);
    }
}
