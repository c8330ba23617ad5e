//! Records: short lists under names, newest first. Small ones rest in the index, large ones
//! as blobs.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use vx_core::service::{MAX_RECORD, RECORDS_PER_NAME};
use vx_core::{Digest, RecordName, ServiceError, ServiceResult};

use crate::shared::Shared;
use crate::state::{Grant, RecordItem, State};

/// The most bytes of records one call gives; older ones beyond it are left out, which costs a
/// caller at most work that it did before.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// Whether there is a record under any of the names.
pub(crate) fn any(shared: &Shared, names: &[RecordName]) -> bool {
    let state = shared.state();
    names.iter().any(|name| state.lists.contains_key(name))
}

/// An inline record's content where it is in memory.
fn at_hand(state: &State, key: &(RecordName, Digest)) -> Option<Bytes> {
    let changed = |pending: &crate::state::Pending| pending.records.get(key).cloned().flatten();
    changed(&state.pending).or_else(|| state.writing.as_deref().and_then(changed))
}

/// The records under each name, newest first. What is damaged is left out.
pub(crate) fn read(
    shared: &Shared,
    grant: &Grant,
    names: &[RecordName],
) -> ServiceResult<Vec<Vec<Bytes>>> {
    let mut contents: HashMap<(RecordName, Digest), Bytes> = HashMap::new();
    let mut lists: Vec<Vec<RecordItem>> = Vec::with_capacity(names.len());
    let mut to_load = Vec::new();
    let mut room = MAX_ANSWER;
    {
        let mut state = shared.state();
        for name in names {
            let used = state.next_use();
            let Some(list) = state.lists.get_mut(name) else {
                lists.push(Vec::new());
                continue;
            };
            list.used = used;
            let items: Vec<RecordItem> = list
                .items
                .iter()
                .take_while(|item| {
                    let fits = item.size <= room;
                    room = room.saturating_sub(item.size);
                    fits
                })
                .copied()
                .collect();
            state.hold_list(*name, grant.id);
            state.pending.used_lists.insert(*name);
            for item in &items {
                let key = (*name, item.digest);
                if !item.is_inline() {
                    state.use_blob(&item.digest, grant.id);
                } else if let Some(content) = at_hand(&state, &key) {
                    contents.insert(key, content);
                } else {
                    to_load.push(key);
                }
            }
            lists.push(items);
        }
    }
    shared.keeper.wake();
    let loaded = shared
        .index
        .records(&to_load)
        .map_err(|error| ServiceError::Failed(format!("records can't be read: {error}")))?;
    for (key, content) in to_load.into_iter().zip(loaded) {
        match content {
            Some(content) => {
                contents.insert(key, content);
            }
            None => tracing::warn!(name = %key.0, "a record is damaged in the index"),
        }
    }
    names
        .iter()
        .zip(lists)
        .map(|(name, items)| {
            let mut list = Vec::with_capacity(items.len());
            for item in items {
                if item.is_inline() {
                    list.extend(contents.get(&(*name, item.digest)).cloned());
                } else {
                    list.extend(shared.read_whole(&item.digest, MAX_RECORD as u64)?);
                }
            }
            Ok(list)
        })
        .collect()
}

/// Puts a record in front of those under a name.
pub(crate) fn put(
    shared: &Arc<Shared>,
    grant: &Grant,
    name: RecordName,
    record: Bytes,
) -> ServiceResult<()> {
    let item = RecordItem {
        digest: Digest::of(&record),
        size: record.len() as u64,
    };
    if !item.is_inline() {
        // The grant holds the blob, so it stays until the list names it.
        shared.keep_bytes(&record, grant)?;
    }
    grant.check()?;
    let mut state = shared.state();
    state.put_record(name, item, RECORDS_PER_NAME);
    state.hold_list(name, grant.id);
    if item.is_inline() {
        state.pending.bytes += item.size;
        state
            .pending
            .records
            .insert((name, item.digest), Some(record));
    }
    let over = shared.is_over(&state);
    drop(state);
    shared.keeper.wake();
    if over {
        shared.evictor.wake();
    }
    Ok(())
}
