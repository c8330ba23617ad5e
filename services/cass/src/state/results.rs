//! Results and the trees they name: references counted, contents at hand.

use std::collections::HashMap;
use std::sync::Arc;

use vx_core::{ActionKey, ActionResult, Digest, GrantId};

use super::{ResultEntry, State, TreeEntry};
use crate::limits::{RESULT_CACHE, ROW};

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

impl State {
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
}
