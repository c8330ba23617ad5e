//! The shelf: inputs of actions that are not isolated, at their real places.
//!
//! Actions of one checkout find their inputs at the same paths. An action takes all its places
//! at once: one that lies there with the content it needs is shared; one with other content is
//! waited for until nobody uses it, and then replaced. A script's `OUT_DIR`, and the package it
//! runs in, are its alone while it runs. Who waits takes nothing meanwhile, so nobody waits for
//! each other; and nobody takes a place that one who waits longer needs otherwise.
//!
//! Actions can write here. So everything is a copy, and before a place is shared its stamps
//! are looked at: what changed since it was put is put again.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use vx_core::{Digest, Store, Tree};

use super::put::{clear, put_all};
use super::stamps::Stamps;
use crate::fault::{Stop, lost_task};
use crate::packages::Id;
use crate::removal::remove;

/// The most places that are known: a checkout with a thousand crates has some thousand.
const MAX_PLACES: usize = 100_000;

/// What is to lie at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A file.
    File {
        digest: Digest,
        size: u64,
        executable: bool,
    },
    /// A directory with the tree of this digest.
    Tree(Digest),
    /// An unpacked package.
    Package(Id),
    /// An empty directory.
    Nothing,
}

/// A place an action needs.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// Where: an absolute path on the shelf.
    pub(crate) place: PathBuf,
    /// What is to lie there.
    pub(crate) content: Content,
    /// The tree, where it is one.
    pub(crate) tree: Option<Arc<Tree>>,
    /// Whether nobody else may use it meanwhile, as the action may write there.
    pub(crate) alone: bool,
}

/// The shelf of an executor.
pub(crate) struct Shelf {
    directory: PathBuf,
    limit: u64,
    state: Mutex<State>,
    /// Told whenever a place is given back or filled.
    changed: Notify,
    temporary: AtomicU64,
}

#[derive(Default)]
struct State {
    places: HashMap<PathBuf, Place>,
    /// Who waits, the longest first.
    waiting: Vec<(u64, Vec<Claim>)>,
    next_ticket: u64,
    clock: u64,
    bytes: u64,
}

/// What lies at a place and who uses it.
struct Place {
    /// `None` where it is not known.
    content: Option<Content>,
    stamps: Stamps,
    bytes: u64,
    users: usize,
    alone: bool,
    last_used: u64,
}

/// Places that stay as they are while this lives.
pub(crate) struct Hold {
    shelf: Arc<Shelf>,
    claims: Vec<Claim>,
}

/// A claim that is not filled yet, given back as it is when this goes early.
struct Taken {
    hold: Hold,
    to_fill: Vec<Claim>,
}

impl Shelf {
    /// An empty shelf in `directory`; what an earlier one left goes.
    pub(crate) fn open(directory: PathBuf, limit: u64) -> io::Result<Arc<Self>> {
        remove(&directory)?;
        fs::create_dir_all(&directory)?;
        Ok(Arc::new(Self {
            directory: fs::canonicalize(directory)?,
            limit,
            state: Mutex::default(),
            changed: Notify::new(),
            temporary: AtomicU64::new(0),
        }))
    }

    /// Its directory, without links on the way to it.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Takes all places of an action and fills those that need it. Also gives the bytes that
    /// were placed. What still writes after this was dropped is in `tasks`.
    pub(crate) async fn take(
        self: &Arc<Self>,
        claims: Vec<Claim>,
        store: &Arc<dyn Store>,
        tasks: &TaskTracker,
    ) -> Result<(Hold, u64), Stop> {
        let taken = self.wait_for(claims).await?;
        let (shelf, store) = (Arc::clone(self), Arc::clone(store));
        // A task of its own: whoever asked may go away, and a place that is half filled must
        // not be taken for whole.
        let filling = tasks.spawn(async move { shelf.fill(taken, &store).await });
        filling.await.map_err(|error| lost_task(&error))?
    }

    async fn wait_for(self: &Arc<Self>, claims: Vec<Claim>) -> Result<Taken, Stop> {
        let mut waiting = Waiting {
            shelf: self,
            ticket: None,
        };
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            // Stamps are looked at under the lock: it is a handful of files for each place, and
            // nobody can be given what another is about to find changed.
            let taken = tokio::task::block_in_place(|| self.try_take(&claims, &mut waiting.ticket));
            if let Some(to_fill) = taken {
                return Ok(Taken {
                    hold: Hold {
                        shelf: Arc::clone(self),
                        claims,
                    },
                    to_fill,
                });
            }
            changed.await;
        }
    }

    /// Takes all places, if none is used otherwise, and gives those that are to be filled.
    fn try_take(&self, claims: &[Claim], ticket: &mut Option<u64>) -> Option<Vec<Claim>> {
        let mut state = self.state();
        let mine = *ticket.get_or_insert_with(|| {
            state.next_ticket += 1;
            let ticket = state.next_ticket;
            state.waiting.push((ticket, claims.to_vec()));
            ticket
        });
        let earlier = state.waiting.iter().take_while(|(other, _)| *other != mine);
        if earlier
            .flat_map(|(_, others)| others)
            .any(|other| conflict(claims, other))
        {
            return None;
        }
        let mut to_fill = Vec::new();
        for claim in claims {
            let there = state.places.get(&claim.place);
            let as_wanted = there.is_some_and(|there| {
                there.content.as_ref() == Some(&claim.content)
                    && there.stamps.hold()
                    && claim.content != Content::Nothing
            });
            let in_use = there.is_some_and(|there| there.users > 0);
            let alone = claim.alone || there.is_some_and(|there| there.alone);
            if in_use && (alone || !as_wanted) {
                return None;
            }
            if !as_wanted {
                to_fill.push(claim.clone());
            }
        }
        state.waiting.retain(|(other, _)| *other != mine);
        *ticket = None;
        state.clock += 1;
        let clock = state.clock;
        for claim in claims {
            let fills = to_fill.iter().any(|other| other.place == claim.place);
            let place = state
                .places
                .entry(claim.place.clone())
                .or_insert_with(Place::unknown);
            place.users += 1;
            // Until it is filled it is nobody else's.
            place.alone = claim.alone || fills;
            place.last_used = clock;
            if fills {
                place.content = None;
            }
        }
        Some(to_fill)
    }

    async fn fill(
        self: Arc<Self>,
        taken: Taken,
        store: &Arc<dyn Store>,
    ) -> Result<(Hold, u64), Stop> {
        let Taken { hold, to_fill } = taken;
        if to_fill.is_empty() {
            return Ok((hold, 0));
        }
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.directory.join(format!(".new-{number}"));
        let filled = put_all(&temporary, &to_fill, store).await;
        let left = temporary.clone();
        let _ = tokio::task::spawn_blocking(move || remove(&left)).await;
        let (stamps, placed) = filled?;
        for stamps in &stamps {
            stamps.settle().await;
        }
        let evicted = self.filled(&to_fill, stamps);
        tokio::task::spawn_blocking(move || {
            for path in evicted {
                let _ = remove(&path);
            }
        });
        Ok((hold, placed))
    }

    /// Notes what lies at the places now; gives what has to go for it.
    fn filled(&self, claims: &[Claim], stamps: Vec<Stamps>) -> Vec<PathBuf> {
        let mut state = self.state();
        for (claim, stamps) in claims.iter().zip(stamps) {
            let bytes = stamps.bytes();
            state.bytes += bytes;
            if let Some(place) = state.places.get_mut(&claim.place) {
                place.content = Some(claim.content.clone());
                place.stamps = stamps;
                let earlier = std::mem::replace(&mut place.bytes, bytes);
                place.alone = claim.alone;
                state.bytes -= earlier;
            }
        }
        let evicted = self.evict(&mut state);
        drop(state);
        self.changed.notify_waiters();
        evicted
    }

    /// Takes the least recently used places that nobody uses off the shelf until the rest is
    /// under the limit, and gives where they were moved to.
    fn evict(&self, state: &mut State) -> Vec<PathBuf> {
        let mut moved = Vec::new();
        while state.bytes > self.limit || state.places.len() > MAX_PLACES {
            let unused = state.places.iter().filter(|(_, place)| place.users == 0);
            let oldest = unused
                .min_by_key(|(_, place)| place.last_used)
                .map(|(path, _)| path.clone());
            let Some(path) = oldest else { break };
            if let Some(place) = state.places.remove(&path) {
                state.bytes -= place.bytes;
            }
            let number = self.temporary.fetch_add(1, Ordering::Relaxed);
            let aside = self.directory.join(format!(".old-{number}"));
            if fs::rename(&path, &aside).is_ok() {
                moved.push(aside);
            }
        }
        moved
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a few assignments that can't panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn unknown() -> Self {
        Self {
            content: None,
            stamps: Stamps::default(),
            bytes: 0,
            users: 0,
            alone: false,
            last_used: 0,
        }
    }
}

/// One who waits, until it has its places or goes away.
struct Waiting<'a> {
    shelf: &'a Shelf,
    ticket: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shelf
                .state()
                .waiting
                .retain(|(other, _)| *other != ticket);
            self.shelf.changed.notify_waiters();
        }
    }
}

impl Hold {
    /// The places, as the trace is told of them.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Path> {
        self.claims.iter().map(|claim| claim.place.as_path())
    }

    /// What the action left at a place of its own is this tree, for others to use as it lies
    /// there. Looks at every file of it.
    pub(crate) fn adopt(&mut self, place: &Path, tree: Digest) {
        let Some(claim) = self.claims.iter_mut().find(|claim| claim.place == place) else {
            return;
        };
        let Ok(stamps) = Stamps::take(place) else {
            return;
        };
        claim.content = Content::Tree(tree);
        let claim = claim.clone();
        for evicted in self.shelf.filled(&[claim], vec![stamps]) {
            let _ = remove(&evicted);
        }
    }

    /// Gives the places back, and takes away what was written at them and nobody will use.
    pub(crate) async fn end(self) {
        let own = self.claims.iter();
        let left: Vec<PathBuf> = own
            .filter(|claim| claim.content == Content::Nothing)
            .map(|claim| claim.place.clone())
            .collect();
        if !left.is_empty() {
            let cleared = tokio::task::spawn_blocking(move || {
                for place in left {
                    if let Err(error) = clear(&place) {
                        tracing::warn!(place = %place.display(), %error, "can't be removed yet");
                    }
                }
            });
            let _ = cleared.await;
        }
    }

    /// A place that others use too and that is not any more what was put there.
    pub(crate) fn changed(&self) -> Option<PathBuf> {
        let state = self.shelf.state();
        let shared = self.claims.iter().filter(|claim| !claim.alone);
        let mut places = shared.map(|claim| &claim.place);
        places
            .find(|path| {
                state
                    .places
                    .get(*path)
                    .is_some_and(|place| !place.stamps.hold())
            })
            .cloned()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.shelf.state();
        for claim in &self.claims {
            if let Some(place) = state.places.get_mut(&claim.place) {
                place.users = place.users.saturating_sub(1);
                place.alone &= place.users > 0;
                // What an action wrote there is known to nobody.
                if claim.content == Content::Nothing {
                    place.content = None;
                }
            }
        }
        drop(state);
        self.shelf.changed.notify_waiters();
    }
}

/// Whether one of the claims can't be had beside `other`.
fn conflict(claims: &[Claim], other: &Claim) -> bool {
    claims.iter().any(|claim| {
        claim.place == other.place && (claim.alone || other.alone || claim.content != other.content)
    })
}

/// Each place once: an action that names one twice means the same.
pub(crate) fn once(claims: Vec<Claim>) -> Vec<Claim> {
    let mut seen = BTreeSet::new();
    claims
        .into_iter()
        .filter(|claim| seen.insert(claim.place.clone()))
        .collect()
}

#[cfg(test)]
mod tests;
