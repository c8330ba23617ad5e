//! Publishing: a result stands once every blob it names is here, those of its trees' files
//! too. The first that was published stands, unless its blobs are lost.

use std::collections::HashMap;
use std::sync::Arc;

use vx_core::{
    ActionKey, ActionResult, Blob, Digest, OutputForm, ServiceError, ServiceResult, Tree,
};

use crate::limits::{MAX_OUTPUTS, MAX_RESULT, MAX_TREE_BYTES};
use crate::results::{at_hand, once};
use crate::shared::Shared;
use crate::state::{Grant, ResultEntry, State};

fn not_here(digest: &Digest, whose: &str) -> ServiceError {
    ServiceError::Invalid(format!(
        "the blob {digest} of {whose} is not in the store; add it, then publish"
    ))
}

/// Publishes and gives the standing result.
pub(crate) fn publish(
    shared: &Shared,
    grant: &Grant,
    key: ActionKey,
    result: ActionResult,
) -> ServiceResult<ActionResult> {
    let entry = describe(&result)?;
    for output in &result.outputs {
        hold(
            shared,
            grant,
            output.blob,
            &format!("output {:?}", output.name),
        )?;
    }
    let mut members = HashMap::new();
    for tree in &entry.trees {
        members.insert(*tree, members_of(shared, grant, tree)?);
    }
    let result = Arc::new(result);
    loop {
        grant.check()?;
        let known = {
            let mut state = shared.state();
            let stands = state
                .results
                .get(&key)
                .is_some_and(|standing| state.is_complete(standing));
            if !stands {
                put(&mut state, key, entry, &members, &result)?;
                state.use_result(&key, grant.id);
                let over = shared.is_over(&state);
                drop(state);
                shared.keeper.wake();
                if over {
                    shared.evictor.wake();
                }
                return Ok((*result).clone());
            }
            state.use_result(&key, grant.id);
            at_hand(&state, &key)
        };
        let standing = match known {
            Some(standing) => Some(standing),
            None => shared.load_result(&key)?,
        };
        if let Some(standing) = standing {
            if shared.accepts(&standing) {
                return Ok((*standing).clone());
            }
            // Accepted earlier, and not any more.
            shared.state().remove_result(&key, &mut Vec::new());
        }
        // One that was damaged is forgotten: this one may stand now.
    }
}

/// What the store keeps of a result beside its content, its use still to be counted.
fn describe(result: &ActionResult) -> ServiceResult<ResultEntry> {
    if result.outputs.len() > MAX_OUTPUTS {
        return Err(ServiceError::Invalid(format!(
            "a result of {} outputs is over the limit of {MAX_OUTPUTS}",
            result.outputs.len()
        )));
    }
    let size = postcard::to_stdvec(result)
        .map_err(ServiceError::failed)?
        .len();
    if size > MAX_RESULT {
        return Err(ServiceError::Invalid(format!(
            "a result of {size} bytes is over the limit of {MAX_RESULT}"
        )));
    }
    let trees = result
        .outputs
        .iter()
        .filter(|output| output.form == OutputForm::Tree)
        .map(|output| output.blob.digest);
    Ok(ResultEntry {
        blobs: once(result.digests()),
        trees: once(trees),
        size: size as u64,
        used: 0,
    })
}

/// Holds a blob that must be here and as long as is said.
fn hold(shared: &Shared, grant: &Grant, blob: Blob, whose: &str) -> ServiceResult<()> {
    let mut state = shared.state();
    if !state.use_blob(&blob.digest, grant.id) {
        return Err(not_here(&blob.digest, whose));
    }
    let size = state.file(&blob.digest).map_or(0, |file| file.size);
    if size != blob.size {
        return Err(ServiceError::Invalid(format!(
            "the blob {} of {whose} has {size} bytes, not {}",
            blob.digest, blob.size
        )));
    }
    Ok(())
}

/// The blobs of a tree's files, all of them held now.
fn members_of(shared: &Shared, grant: &Grant, tree: &Digest) -> ServiceResult<Arc<[Digest]>> {
    let known = shared
        .state()
        .trees
        .get(tree)
        .map(|known| Arc::clone(&known.members));
    if let Some(members) = known {
        let mut state = shared.state();
        for digest in members.iter() {
            if !state.use_blob(digest, grant.id) {
                return Err(not_here(digest, &format!("a file of the tree {tree}")));
            }
        }
        return Ok(members);
    }
    let bytes = shared
        .read_whole(tree, MAX_TREE_BYTES)?
        .ok_or_else(|| not_here(tree, "a tree output"))?;
    let decoded = Tree::decode(&bytes)
        .map_err(|error| ServiceError::Invalid(format!("the blob {tree} is no tree: {error}")))?;
    for blob in decoded.blobs() {
        hold(shared, grant, blob, &format!("a file of the tree {tree}"))?;
    }
    Ok(once(decoded.blobs().map(|blob| blob.digest)).into())
}

fn put(
    state: &mut State,
    key: ActionKey,
    mut entry: ResultEntry,
    members: &HashMap<Digest, Arc<[Digest]>>,
    result: &Arc<ActionResult>,
) -> ServiceResult<()> {
    // A blob may have been found damaged since it was held.
    let lost = entry
        .blobs
        .iter()
        .chain(members.values().flat_map(|members| members.iter()))
        .find(|digest| state.file(digest).is_none());
    if let Some(digest) = lost {
        return Err(not_here(digest, "the result"));
    }
    entry.used = state.next_use();
    let size = entry.size;
    state.put_result(key, entry, members);
    state.cache.put(key, Arc::clone(result), size);
    state.pending.results.insert(key, Some(Arc::clone(result)));
    state.pending.bytes += size;
    Ok(())
}
