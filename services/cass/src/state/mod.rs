//! What the store knows, in memory: blobs, results, records, grants.
//!
//! One lock guards it and is held for moments, never over file work. Changes collect in a
//! [`Pending`] batch which the keeper's thread writes to the index at each checkpoint.
//!
//! Invariants: `refs` of a blob counts the trees in use and results and records that name it;
//! `holds` counts the grants that hold it; an entry without a file, references and holds does
//! not exist; `size` is the cost of all files, results and records.

mod entry;
mod pending;
mod records;
mod results;

use std::collections::HashMap;
use std::sync::Arc;

use vx_core::{ActionKey, Digest, GrantId, RecordName};

use crate::stamp::Stamp;

pub(crate) use entry::{
    BlobEntry, BlobFile, Grant, Held, RecordItem, RecordList, ResultEntry, TreeEntry,
};
pub(crate) use pending::Pending;
pub(crate) use results::ResultCache;

/// Everything the store knows.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) blobs: HashMap<Digest, BlobEntry>,
    pub(crate) results: HashMap<ActionKey, ResultEntry>,
    pub(crate) trees: HashMap<Digest, TreeEntry>,
    pub(crate) lists: HashMap<RecordName, RecordList>,
    pub(crate) grants: HashMap<GrantId, Held>,
    pub(crate) last_grant: u64,
    /// Counts uses; a clock that nobody can set back.
    pub(crate) tick: u64,
    /// What all of it costs, in bytes.
    pub(crate) size: u64,
    /// Files of blobs, and their lengths.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) pending: Pending,
    /// What the keeper is writing at this moment.
    pub(crate) writing: Option<Arc<Pending>>,
    pub(crate) cache: ResultCache,
}

impl State {
    pub(crate) fn next_use(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    /// The blob's file, where it is present.
    pub(crate) fn file(&self, digest: &Digest) -> Option<&BlobFile> {
        self.blobs.get(digest)?.file.as_ref()
    }

    /// Notes a blob's file, new or in place of another.
    pub(crate) fn put_file(&mut self, digest: Digest, size: u64, stamp: Option<Stamp>) {
        self.remove_file(&digest);
        let file = BlobFile {
            size,
            stamp,
            used: self.next_use(),
        };
        self.size += file.cost();
        self.bytes += size;
        self.files += 1;
        self.blobs.entry(digest).or_default().file = Some(file);
        self.pending.blobs.insert(digest);
    }

    /// Forgets a blob's file; its references and holds stay.
    pub(crate) fn remove_file(&mut self, digest: &Digest) {
        let Some(entry) = self.blobs.get_mut(digest) else {
            return;
        };
        let Some(file) = entry.file.take() else {
            return;
        };
        self.size -= file.cost();
        self.bytes -= file.size;
        self.files -= 1;
        self.pending.blobs.insert(*digest);
        self.tidy(digest);
    }

    /// Notes how a blob's file looks now that its content is known to match.
    pub(crate) fn set_stamp(&mut self, digest: &Digest, stamp: Option<Stamp>) {
        if let Some(file) = self.file_mut(digest)
            && file.stamp != stamp
        {
            file.stamp = stamp;
            self.pending.used_blobs.insert(*digest);
        }
    }

    fn file_mut(&mut self, digest: &Digest) -> Option<&mut BlobFile> {
        self.blobs.get_mut(digest)?.file.as_mut()
    }

    /// Notes a use of a blob by a grant, which holds it from now on. `false`: it is not here.
    pub(crate) fn use_blob(&mut self, digest: &Digest, grant: GrantId) -> bool {
        let used = self.next_use();
        let Some(file) = self.file_mut(digest) else {
            return false;
        };
        file.used = used;
        self.pending.used_blobs.insert(*digest);
        self.hold(digest, grant);
        true
    }

    /// Makes a grant hold a blob; a grant that is over holds nothing.
    pub(crate) fn hold(&mut self, digest: &Digest, grant: GrantId) {
        if let Some(held) = self.grants.get_mut(&grant)
            && held.blobs.insert(*digest)
        {
            self.blobs.entry(*digest).or_default().holds += 1;
        }
    }

    /// Makes a grant hold the records under a name.
    pub(crate) fn hold_list(&mut self, name: RecordName, grant: GrantId) {
        if let Some(held) = self.grants.get_mut(&grant) {
            held.lists.insert(name);
        }
    }

    /// Whether a grant holds the records under a name. Only eviction asks, and grants are few.
    pub(crate) fn is_list_held(&self, name: &RecordName) -> bool {
        self.grants.values().any(|held| held.lists.contains(name))
    }

    /// Ends a grant and what it holds. `false`: there is none.
    pub(crate) fn end_grant(&mut self, grant: GrantId) -> bool {
        let Some(held) = self.grants.remove(&grant) else {
            return false;
        };
        held.grant.revoke();
        for digest in held.blobs {
            if let Some(entry) = self.blobs.get_mut(&digest) {
                entry.holds -= 1;
            }
            self.tidy(&digest);
        }
        true
    }

    /// Whether a blob's file may go.
    pub(crate) fn is_free(&self, digest: &Digest) -> bool {
        self.blobs
            .get(digest)
            .is_some_and(|entry| entry.file.is_some() && entry.refs == 0 && entry.holds == 0)
    }

    fn add_ref(&mut self, digest: &Digest) {
        self.blobs.entry(*digest).or_default().refs += 1;
    }

    /// Takes a reference away and says whether the blob is free now.
    fn drop_ref(&mut self, digest: &Digest, freed: &mut Vec<Digest>) {
        if let Some(entry) = self.blobs.get_mut(digest) {
            entry.refs -= 1;
        }
        if self.is_free(digest) {
            freed.push(*digest);
        }
        self.tidy(digest);
    }

    fn tidy(&mut self, digest: &Digest) {
        if self
            .blobs
            .get(digest)
            .is_some_and(|entry| entry.file.is_none() && entry.refs == 0 && entry.holds == 0)
        {
            self.blobs.remove(digest);
        }
    }

    /// Takes in a blob as the index has it.
    pub(crate) fn load_blob(&mut self, digest: Digest, file: BlobFile) {
        self.size += file.cost();
        self.bytes += file.size;
        self.files += 1;
        self.tick = self.tick.max(file.used);
        self.blobs.entry(digest).or_default().file = Some(file);
    }
}
