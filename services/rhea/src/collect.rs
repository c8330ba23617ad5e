//! Takes what an action left in its output directories.
//!
//! Runs after everything the action started has ended. Still, nothing is read through a link
//! and nothing but regular files is opened: what an action leaves is its own choice.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{Dir, Mode, OFlags, ResolveFlags};
use vx_core::tree::{MAX_ENTRIES, TreeEntry, TreeNode};
use vx_core::{Collect, CollectForm, Observer, Output, OutputForm, RelPath, Tree};

use crate::bare::places::Places;
use crate::fault::{Stop, Tried, lost_task};
use crate::ingest::{Found, Intake, Refused, Stamp, Stored, find, open_directory};
use crate::marker::Marks;
use crate::meter::gib;

/// How the names of files end in which a compiler says what it read.
const DEP_INFO: &str = ".d";

/// A directory to collect and where it lies on the host.
#[derive(Clone)]
pub(crate) struct Collected {
    pub(crate) collect: Collect,
    pub(crate) host: PathBuf,
    /// Its path as the action sees it.
    pub(crate) seen: String,
}

/// An output that is in the store.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) output: Output,
    /// The markers that are in it.
    pub(crate) marked: Marks,
}

/// Outputs that were stored while the program ran, by name, and what their files were then.
pub(crate) type Early = HashMap<String, (Stamp, Kept)>;

/// Takes outputs out of directories.
#[derive(Clone)]
pub(crate) struct Collector {
    pub(crate) intake: Intake,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) directories: Vec<Collected>,
    /// Where the action's places really are, if they are not where they are said to be.
    pub(crate) places: Option<Arc<Places>>,
    /// The most that all of it may be, in bytes.
    pub(crate) bound: u64,
}

impl Collector {
    /// Stores one file that the program says it finished, and announces it. `None` when its
    /// path is not in a directory whose files are collected, or nothing usable is there; then
    /// the end of the run decides about it.
    pub(crate) async fn early(&self, path: &str) -> Result<Option<(Stamp, Kept)>, Stop> {
        let Some((name, host)) = self.directories.iter().find_map(|one| {
            let name = path.strip_prefix(&one.collect.at)?.strip_prefix('/')?;
            let direct = one.collect.form == CollectForm::Files && !name.contains('/');
            direct.then(|| (name.to_owned(), one.host.clone()))
        }) else {
            return Ok(None);
        };
        let file_name = name.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let directory = open_directory(&host)?;
            Ok::<_, Stop>(find(&directory, &file_name).ok())
        });
        let Some(found) = opened.await.map_err(|error| lost_task(&error))?? else {
            return Ok(None);
        };
        let (stamp, executable) = (found.stamp, found.executable);
        let stored = match self.intake.file(found).await {
            Err(Stop::Unfit(_)) => return Ok(None),
            stored => stored?,
        };
        let kept = file_output(name, executable, stored);
        self.observer.stored(kept.output.clone()).await?;
        Ok(Some((stamp, kept)))
    }

    /// Stores everything an action left, and announces what was not announced before.
    pub(crate) async fn all(&self, early: &Early) -> Result<Vec<Kept>, Stop> {
        let mut all = Vec::new();
        let mut room = Room(self.bound);
        for one in &self.directories {
            let found = match &one.collect.form {
                CollectForm::Files => self.files(one, early, &mut all, &mut room).await?,
                CollectForm::Tree { name } => vec![self.tree(one, name, &mut room).await?],
            };
            for kept in found {
                self.observer.stored(kept.output.clone()).await?;
                all.push(kept);
            }
        }
        Ok(all)
    }

    /// Stores the files of a directory but those stored before, which go to `all`.
    async fn files(
        &self,
        one: &Collected,
        early: &Early,
        all: &mut Vec<Kept>,
        room: &mut Room,
    ) -> Result<Vec<Kept>, Stop> {
        let (host, at) = (one.host.clone(), one.collect.at.clone());
        let listed = tokio::task::spawn_blocking(move || list_files(&host, &at));
        let mut names = Vec::new();
        let mut found = Vec::new();
        for (name, file) in listed.await.map_err(|error| lost_task(&error))?? {
            room.take(&file, self.bound)?;
            match early.get(&name) {
                Some((stamp, kept)) if *stamp == file.stamp => all.push(kept.clone()),
                _ if self.places.is_some() && name.ends_with(DEP_INFO) => {
                    all.push(self.dep_info(name, file).await?);
                }
                _ => {
                    names.push((name, file.executable));
                    found.push(file);
                }
            }
        }
        let stored = self.intake.files(found).await?;
        Ok(names
            .into_iter()
            .zip(stored)
            .map(|((name, executable), stored)| file_output(name, executable, stored))
            .collect())
    }

    /// Stores what a compiler says it read, with the places as everybody knows them.
    async fn dep_info(&self, name: String, file: Found) -> Result<Kept, Stop> {
        let places = self.places.clone();
        let read = tokio::task::spawn_blocking(move || {
            let content = file.content()?;
            Ok::<_, Stop>(match places {
                Some(places) => places.fixed(&content),
                None => content,
            })
        });
        let content = read.await.map_err(|error| lost_task(&error))??;
        let stored = self.intake.bytes(Bytes::from(content)).await?;
        let kept = file_output(name, false, stored);
        self.observer.stored(kept.output.clone()).await?;
        Ok(kept)
    }

    /// Stores a directory as a tree.
    async fn tree(&self, one: &Collected, name: &str, room: &mut Room) -> Result<Kept, Stop> {
        let (host, seen) = (one.host.clone(), one.seen.clone());
        let walked = tokio::task::spawn_blocking(move || walk(&host, &seen));
        let Walked { mut entries, files } = walked.await.map_err(|error| lost_task(&error))??;
        let (paths, found): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        for file in &found {
            room.take(file, self.bound)?;
        }
        let executables: Vec<bool> = found.iter().map(|found: &Found| found.executable).collect();
        let stored = self.intake.files(found).await?;
        let mut marked = Marks::default();
        stored.iter().for_each(|stored| marked.add(stored.marked));
        let files = paths.into_iter().zip(stored).zip(executables);
        entries.extend(files.map(|((path, stored), executable)| TreeEntry {
            path,
            node: TreeNode::File {
                blob: stored.blob,
                executable,
            },
        }));
        let tree = Tree::new(entries).map_err(|error| {
            Stop::Unfit(format!(
                "{error}; what a build script leaves in {} must not refer to what lies outside",
                one.collect.at
            ))
        })?;
        let blob = self.intake.bytes(Bytes::from(tree.encode())).await?.blob;
        Ok(Kept {
            output: Output {
                name: name.to_owned(),
                blob,
                form: OutputForm::Tree,
            },
            marked,
        })
    }
}

/// What is left of a bound, in bytes.
struct Room(u64);

impl Room {
    /// A hole in a file is read, sent and stored like anything else.
    fn take(&mut self, file: &Found, bound: u64) -> Result<(), Stop> {
        match self.0.checked_sub(file.size) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => Err(Stop::Unfit(format!(
                "its files are larger than {} together, which is what an action may leave; where \
                 that is too little, set VX_RHEA_DISK (such as 40G), `vx stop`, and build again",
                gib(bound)
            ))),
        }
    }
}

fn file_output(name: String, executable: bool, stored: Stored) -> Kept {
    Kept {
        output: Output {
            name,
            blob: stored.blob,
            form: OutputForm::File { executable },
        },
        marked: stored.marked,
    }
}

fn list_files(host: &std::path::Path, at: &str) -> Result<Vec<(String, Found)>, Stop> {
    let directory = open_directory(host)?;
    let mut files = Vec::new();
    for name in names(directory.as_fd(), at)? {
        match find(&directory, &name) {
            Ok(found) => files.push((name, found)),
            // What lies deeper is the program's own business, such as temporary directories.
            Err(Refused::Directory) => {}
            Err(refused) => return Err(unfit(at, &name, &refused)),
        }
    }
    Ok(files)
}

#[derive(Default)]
struct Walked {
    /// Links and empty directories.
    entries: Vec<TreeEntry>,
    files: Vec<(RelPath, Found)>,
}

fn walk(host: &std::path::Path, at: &str) -> Result<Walked, Stop> {
    let top = open_directory(host)?;
    let mut walked = Walked::default();
    let mut pending = vec![RelPath::default()];
    while let Some(path) = pending.pop() {
        let directory = open_below(top.as_fd(), &path)
            .map_err(|error| unfit(at, path.as_str(), &Refused::System(error)))?;
        let names = names(directory.as_fd(), at)?;
        if names.is_empty() && !path.is_empty() {
            walked.entries.push(TreeEntry {
                path: path.clone(),
                node: TreeNode::EmptyDirectory,
            });
        }
        for name in names {
            let inner = RelPath::new(name.clone())
                .map(|name| path.join(&name))
                .map_err(|error| Stop::Unfit(format!("in {at}: {error}")))?;
            match find(&top, inner.as_str()) {
                Ok(found) => walked.files.push((inner, found)),
                Err(Refused::Directory) => pending.push(inner),
                Err(Refused::Link) => {
                    let target = link_target(directory.as_fd(), &name, at, &inner)?;
                    walked.entries.push(TreeEntry {
                        path: inner,
                        node: TreeNode::Link { target },
                    });
                }
                Err(refused) => return Err(unfit(at, inner.as_str(), &refused)),
            }
        }
        if walked.files.len() + walked.entries.len() + pending.len() > MAX_ENTRIES {
            return Err(Stop::Unfit(format!(
                "{at} holds more than {MAX_ENTRIES} entries, the limit of a tree"
            )));
        }
    }
    Ok(walked)
}

/// Where a link leads. One that names the collected directory by its absolute path means the
/// same when written relative to itself, and so survives.
fn link_target(
    directory: BorrowedFd<'_>,
    name: &str,
    at: &str,
    path: &RelPath,
) -> Result<String, Stop> {
    let target = rustix::fs::readlinkat(directory, name, Vec::new())
        .tried(format_args!("read the link {path}"))?
        .into_string()
        .map_err(|_| Stop::Unfit(format!("the link {path} in {at} is not plain UTF-8")))?;
    let inside = target
        .strip_prefix(at)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'));
    Ok(match inside {
        Some(rest) => {
            let up = "../".repeat(path.as_str().split('/').count() - 1);
            format!("{up}./{}", rest.trim_start_matches('/'))
        }
        None => target,
    })
}

fn open_below(top: BorrowedFd<'_>, path: &RelPath) -> Result<OwnedFd, rustix::io::Errno> {
    let name = if path.is_empty() { "." } else { path.as_str() };
    rustix::fs::openat2(
        top,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
}

/// The names in a directory, sorted.
fn names(directory: BorrowedFd<'_>, at: &str) -> Result<Vec<String>, Stop> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory).tried(format_args!("list {at}"))? {
        let entry = entry.tried(format_args!("list {at}"))?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let name = name.to_str().map_err(|_| {
            Stop::Unfit(format!(
                "{at} holds the name {name:?}, which is not plain UTF-8"
            ))
        })?;
        names.push(name.to_owned());
        if names.len() > MAX_ENTRIES {
            return Err(Stop::Unfit(format!("{at} holds too many entries")));
        }
    }
    names.sort();
    Ok(names)
}

fn unfit(at: &str, name: &str, refused: &Refused) -> Stop {
    Stop::Unfit(format!("the output {name} in {at} {refused}"))
}
