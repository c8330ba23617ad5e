//! What changed since the last checkpoint.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use vx_core::{ActionKey, ActionResult, Digest, RecordName};

use super::State;
use crate::index::Rows;

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

impl State {
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
}
