//! What the store knows, in memory: blobs, results, records, grants.
//!
//! One lock guards it and is held for moments, never over file work. Changes collect in a
//! [`Pending`] batch which the keeper's thread writes to the index at each checkpoint.
//!
//! Invariants: `refs` of a blob counts the trees in use and results and records that name it;
//! `holds` counts the grants that hold it; an entry without a file, references and holds does
//! not exist; `size` is the cost of all files, results and records.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vx_core::{ActionKey, ActionResult, Digest, GrantId, RecordName, ServiceError, ServiceResult};

use crate::index::Rows;
use crate::limits::{BLOCK, INLINE_RECORD, RESULT_CACHE, ROW};
use crate::stamp::Stamp;

/// A blob's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlobFile {
    /// Length in bytes.
    pub(crate) size: u64,
    /// What the file looked like when its content was last known to match.
    pub(crate) stamp: Option<Stamp>,
    /// When it was last used, in the store's own count.
    pub(crate) used: u64,
}

impl BlobFile {
    /// What it takes on disk.
    pub(crate) fn cost(&self) -> u64 {
        self.size.next_multiple_of(BLOCK).max(BLOCK)
    }
}

/// What is known of a blob.
#[derive(Clone, Debug, Default)]
pub(crate) struct BlobEntry {
    pub(crate) file: Option<BlobFile>,
    pub(crate) refs: u32,
    pub(crate) holds: u32,
}

/// What is known of a result without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResultEntry {
    /// The outputs' blobs, each once.
    pub(crate) blobs: Vec<Digest>,
    /// Those of them that are trees.
    pub(crate) trees: Vec<Digest>,
    /// Length of the encoding in bytes.
    pub(crate) size: u64,
    /// When it was last used, in the store's own count.
    pub(crate) used: u64,
}

/// A tree that results name.
#[derive(Clone, Debug)]
pub(crate) struct TreeEntry {
    /// The blobs of its files, each once.
    pub(crate) members: Arc<[Digest]>,
    /// How many results name it.
    pub(crate) refs: u32,
}

/// One record of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordItem {
    /// Its content.
    pub(crate) digest: Digest,
    /// Length in bytes; decides whether it rests in the index or as a blob.
    pub(crate) size: u64,
}

impl RecordItem {
    pub(crate) fn is_inline(&self) -> bool {
        self.size <= INLINE_RECORD as u64
    }

    /// What the list pays for it; a blob is paid for as a blob.
    fn cost(&self) -> u64 {
        ROW + if self.is_inline() { self.size } else { 0 }
    }
}

/// The records under a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordList {
    /// Newest first.
    pub(crate) items: Vec<RecordItem>,
    /// When it was last used, in the store's own count.
    pub(crate) used: u64,
}

/// A grant, as those who act under it see it.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) id: GrantId,
    pub(crate) label: String,
    revoked: AtomicBool,
}

impl Grant {
    pub(crate) fn new(id: GrantId, label: String, revoked: bool) -> Self {
        Self {
            id,
            label,
            revoked: AtomicBool::new(revoked),
        }
    }

    /// Refuses once the grant is over.
    pub(crate) fn check(&self) -> ServiceResult<()> {
        if self.revoked.load(Ordering::Acquire) {
            Err(ServiceError::Revoked)
        } else {
            Ok(())
        }
    }

    pub(crate) fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
    }
}

/// A grant and what it holds.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) grant: Arc<Grant>,
    pub(crate) blobs: HashSet<Digest>,
    pub(crate) lists: HashSet<RecordName>,
}

/// Changes that the index does not have yet.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Blobs whose rows changed.
    pub(crate) blobs: HashSet<Digest>,
    /// Results that came (their content) or went (nothing).
    pub(crate) results: HashMap<ActionKey, Option<Arc<ActionResult>>>,
    /// Trees that came or went.
    pub(crate) trees: HashSet<Digest>,
    /// Lists that changed.
    pub(crate) lists: HashSet<RecordName>,
    /// Inline records that came or went.
    pub(crate) records: HashMap<(RecordName, Digest), Option<Bytes>>,
    /// Results of which only the last use changed.
    pub(crate) used_results: HashSet<ActionKey>,
    /// Blobs of which only the last use or the stamp changed.
    pub(crate) used_blobs: HashSet<Digest>,
    /// Lists of which only the last use changed.
    pub(crate) used_lists: HashSet<RecordName>,
    /// Bytes of content it holds in memory.
    pub(crate) bytes: u64,
}

impl Pending {
    /// Whether something is lost if it is never written.
    pub(crate) fn has_changes(&self) -> bool {
        !(self.blobs.is_empty()
            && self.results.is_empty()
            && self.trees.is_empty()
            && self.lists.is_empty()
            && self.records.is_empty())
    }

    /// Whether there is anything at all to write.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_changes()
            && self.used_blobs.is_empty()
            && self.used_results.is_empty()
            && self.used_lists.is_empty()
    }

    /// Puts back what could not be written, below what came since.
    pub(crate) fn put_back(&mut self, older: &Self) {
        self.blobs.extend(&older.blobs);
        self.trees.extend(&older.trees);
        self.lists.extend(&older.lists);
        self.used_blobs.extend(&older.used_blobs);
        self.used_results.extend(&older.used_results);
        self.used_lists.extend(&older.used_lists);
        for (key, value) in &older.results {
            self.results.entry(*key).or_insert_with(|| value.clone());
        }
        for (key, value) in &older.records {
            self.records.entry(*key).or_insert_with(|| value.clone());
        }
        self.bytes += older.bytes;
    }
}

/// Decoded results at hand; emptied when it grows too large, for what is in use comes back.
#[derive(Debug, Default)]
pub(crate) struct ResultCache {
    results: HashMap<ActionKey, Arc<ActionResult>>,
    bytes: usize,
}

impl ResultCache {
    pub(crate) fn get(&self, key: &ActionKey) -> Option<Arc<ActionResult>> {
        self.results.get(key).cloned()
    }

    pub(crate) fn put(&mut self, key: ActionKey, result: Arc<ActionResult>, size: u64) {
        let size = usize::try_from(size + ROW).unwrap_or(RESULT_CACHE);
        if self.bytes + size > RESULT_CACHE {
            self.results.clear();
            self.bytes = 0;
        }
        if self.results.insert(key, result).is_none() {
            self.bytes += size;
        }
    }

    pub(crate) fn forget(&mut self, key: &ActionKey) {
        self.results.remove(key);
    }
}

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

    /// Every blob of a result: outputs and the members of its trees.
    pub(crate) fn blobs_of<'a>(
        &'a self,
        entry: &'a ResultEntry,
    ) -> impl Iterator<Item = &'a Digest> + 'a {
        let members = entry
            .trees
            .iter()
            .filter_map(|tree| self.trees.get(tree))
            .flat_map(|tree| tree.members.iter());
        entry.blobs.iter().chain(members)
    }

    /// Whether all blobs of a result are present.
    pub(crate) fn is_complete(&self, entry: &ResultEntry) -> bool {
        entry.trees.iter().all(|tree| self.trees.contains_key(tree))
            && self
                .blobs_of(entry)
                .all(|digest| self.file(digest).is_some())
    }

    /// Notes a use of a result by a grant, which holds its blobs from now on.
    pub(crate) fn use_result(&mut self, key: &ActionKey, grant: GrantId) {
        let used = self.next_use();
        let Some(entry) = self.results.get_mut(key) else {
            return;
        };
        entry.used = used;
        let entry = entry.clone();
        self.pending.used_results.insert(*key);
        let blobs: Vec<Digest> = self.blobs_of(&entry).copied().collect();
        for digest in blobs {
            self.hold(&digest, grant);
        }
    }

    /// Notes a result that is known to be complete. `members` has the trees that are new.
    pub(crate) fn put_result(
        &mut self,
        key: ActionKey,
        entry: ResultEntry,
        members: &HashMap<Digest, Arc<[Digest]>>,
    ) {
        // First the new references, so that a tree both results name is not forgotten.
        self.reference(&entry, members);
        self.remove_result(&key, &mut Vec::new());
        self.size += entry.size + ROW;
        self.results.insert(key, entry);
    }

    /// Counts a result's references.
    pub(crate) fn reference(
        &mut self,
        entry: &ResultEntry,
        members: &HashMap<Digest, Arc<[Digest]>>,
    ) {
        for digest in &entry.blobs {
            self.add_ref(digest);
        }
        for tree in &entry.trees {
            if let Some(known) = self.trees.get_mut(tree) {
                known.refs += 1;
            } else if let Some(members) = members.get(tree) {
                for digest in members.iter() {
                    self.add_ref(digest);
                }
                let members = Arc::clone(members);
                self.trees.insert(*tree, TreeEntry { members, refs: 1 });
                self.pending.trees.insert(*tree);
            }
        }
    }

    /// Forgets a result; `freed` gets the blobs that nothing needs any more.
    pub(crate) fn remove_result(&mut self, key: &ActionKey, freed: &mut Vec<Digest>) {
        let Some(entry) = self.results.remove(key) else {
            return;
        };
        self.size -= entry.size + ROW;
        self.cache.forget(key);
        self.pending.results.insert(*key, None);
        for tree in &entry.trees {
            let Some(known) = self.trees.get_mut(tree) else {
                continue;
            };
            known.refs -= 1;
            if known.refs == 0 {
                let members = Arc::clone(&known.members);
                self.trees.remove(tree);
                self.pending.trees.insert(*tree);
                for digest in members.iter() {
                    self.drop_ref(digest, freed);
                }
            }
        }
        for digest in &entry.blobs {
            self.drop_ref(digest, freed);
        }
    }

    /// Puts a record in front of a list; gives those that fell off its end.
    pub(crate) fn put_record(&mut self, name: RecordName, item: RecordItem, keep: usize) {
        let used = self.next_use();
        let mut list = self.lists.remove(&name).unwrap_or_default();
        list.used = used;
        if let Some(at) = list.items.iter().position(|old| old.digest == item.digest) {
            list.items.remove(at);
        } else {
            self.size += item.cost();
            if !item.is_inline() {
                self.add_ref(&item.digest);
            }
        }
        list.items.insert(0, item);
        for old in list.items.split_off(keep.min(list.items.len())) {
            self.drop_record(name, old, &mut Vec::new());
        }
        self.lists.insert(name, list);
        self.pending.lists.insert(name);
    }

    /// Forgets one record that is in its list no longer.
    pub(crate) fn drop_record(
        &mut self,
        name: RecordName,
        item: RecordItem,
        freed: &mut Vec<Digest>,
    ) {
        self.size -= item.cost();
        if item.is_inline() {
            self.pending.records.insert((name, item.digest), None);
        } else {
            self.drop_ref(&item.digest, freed);
        }
    }

    /// Forgets all records under a name.
    pub(crate) fn remove_list(&mut self, name: &RecordName, freed: &mut Vec<Digest>) {
        let Some(list) = self.lists.remove(name) else {
            return;
        };
        for item in list.items {
            self.drop_record(*name, item, freed);
        }
        self.pending.lists.insert(*name);
    }

    /// Takes the changes for a checkpoint: as rows, and as what they came from.
    pub(crate) fn take_pending(&mut self) -> (Rows, Arc<Pending>) {
        let pending = Arc::new(std::mem::take(&mut self.pending));
        let blobs = pending.blobs.union(&pending.used_blobs);
        let entries: HashSet<&ActionKey> = pending
            .results
            .keys()
            .chain(&pending.used_results)
            .collect();
        let lists = pending.lists.union(&pending.used_lists);
        let rows = Rows {
            blobs: blobs
                .map(|digest| (*digest, self.file(digest).copied()))
                .collect(),
            entries: entries
                .into_iter()
                .map(|key| (*key, self.results.get(key).cloned()))
                .collect(),
            results: pending
                .results
                .iter()
                .map(|(key, result)| (*key, result.clone()))
                .collect(),
            trees: pending
                .trees
                .iter()
                .map(|tree| {
                    let members = self.trees.get(tree).map(|known| Arc::clone(&known.members));
                    (*tree, members)
                })
                .collect(),
            lists: lists
                .map(|name| (*name, self.lists.get(name).cloned()))
                .collect(),
            records: pending
                .records
                .iter()
                .map(|(key, content)| (*key, content.clone()))
                .collect(),
        };
        self.writing = Some(Arc::clone(&pending));
        (rows, pending)
    }

    /// Takes in a list as the index has it.
    pub(crate) fn load_list(&mut self, name: RecordName, list: RecordList) {
        for item in &list.items {
            self.size += item.cost();
            if !item.is_inline() {
                self.add_ref(&item.digest);
            }
        }
        self.tick = self.tick.max(list.used);
        self.lists.insert(name, list);
    }

    /// Takes in a result as the index has it.
    pub(crate) fn load_result(
        &mut self,
        key: ActionKey,
        entry: ResultEntry,
        members: &HashMap<Digest, Arc<[Digest]>>,
    ) {
        self.reference(&entry, members);
        self.size += entry.size + ROW;
        self.tick = self.tick.max(entry.used);
        self.results.insert(key, entry);
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
