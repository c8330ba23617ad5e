//! Lists of records.

use vx_core::{Digest, RecordName};

use super::{RecordItem, RecordList, State};

impl State {
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
}
