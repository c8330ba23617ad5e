//! Results, records and claims under a grant.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use vx_core::service::{MAX_BATCH, MAX_RECORD};
use vx_core::{ActionKey, ActionResult, Digest, RecordName, Results, ServiceError, ServiceResult};

use crate::publish;
use crate::records;
use crate::shared::Shared;
use crate::state::{Grant, State};

/// The results under a grant.
pub(crate) struct GrantResults {
    pub(crate) shared: Arc<Shared>,
    pub(crate) grant: Arc<Grant>,
}

/// Refuses a batch that is too long.
pub(crate) fn check_batch(items: usize) -> ServiceResult<()> {
    if items > MAX_BATCH {
        return Err(ServiceError::Invalid(format!(
            "{items} items in one call, over the limit of {MAX_BATCH}; split it"
        )));
    }
    Ok(())
}

/// A result's content where it is in memory.
pub(crate) fn at_hand(state: &State, key: &ActionKey) -> Option<Arc<ActionResult>> {
    let changed = |pending: &crate::state::Pending| pending.results.get(key).cloned().flatten();
    state
        .cache
        .get(key)
        .or_else(|| changed(&state.pending))
        .or_else(|| state.writing.as_deref().and_then(changed))
}

impl Shared {
    /// Reads a standing result's content from the index; where it is damaged, the result is
    /// forgotten.
    pub(crate) fn load_result(&self, key: &ActionKey) -> ServiceResult<Option<Arc<ActionResult>>> {
        let loaded = self
            .index
            .result(key)
            .map_err(|error| ServiceError::Failed(format!("a result can't be read: {error}")))?;
        let mut state = self.state();
        // A checkpoint, or another reader, may have been quicker.
        if let Some(result) = at_hand(&state, key) {
            return Ok(Some(result));
        }
        let Some(result) = loaded.map(Arc::new) else {
            tracing::warn!(%key, "a result is damaged in the index; it is forgotten");
            state.remove_result(key, &mut Vec::new());
            return Ok(None);
        };
        let size = state.results.get(key).map_or(0, |entry| entry.size);
        state.cache.put(*key, Arc::clone(&result), size);
        Ok(Some(result))
    }
}

impl Shared {
    /// Whether this store keeps and serves such a result.
    pub(crate) fn accepts(&self, result: &ActionResult) -> bool {
        !result.unisolated || self.config.accept_unisolated
    }
}

fn unaccepted() -> ServiceError {
    ServiceError::Unaccepted(
        "the store does not keep results of actions that were not isolated; start it with \
         --accept-unisolated where everybody who uses it may trust them"
            .to_owned(),
    )
}

/// How far a look-up got without reading the index.
enum Looked {
    Nothing,
    Here(Arc<ActionResult>),
    ToLoad,
}

#[async_trait]
impl Results for GrantResults {
    async fn lookup(&self, keys: Vec<ActionKey>) -> ServiceResult<Vec<Option<ActionResult>>> {
        self.grant.check()?;
        check_batch(keys.len())?;
        let looked: Vec<Looked> = {
            let mut state = self.shared.state();
            keys.iter()
                .map(|key| look(&mut state, key, &self.grant))
                .collect()
        };
        self.shared.keeper.wake();
        let to_load: Vec<ActionKey> = keys
            .iter()
            .zip(&looked)
            .filter(|(_, looked)| matches!(looked, Looked::ToLoad))
            .map(|(key, _)| *key)
            .collect();
        let mut loaded = if to_load.is_empty() {
            HashMap::new()
        } else {
            let shared = Arc::clone(&self.shared);
            self.shared
                .pool
                .run(move || {
                    to_load
                        .into_iter()
                        .map(|key| Ok((key, shared.load_result(&key)?)))
                        .collect::<ServiceResult<HashMap<_, _>>>()
                })
                .await??
        };
        self.grant.check()?;
        let found = keys.iter().zip(looked).map(|(key, looked)| match looked {
            Looked::Nothing => None,
            Looked::Here(result) => Some((*result).clone()),
            Looked::ToLoad => loaded
                .get_mut(key)
                .and_then(|result| result.as_deref().cloned()),
        });
        Ok(found
            .map(|found| found.filter(|result| self.shared.accepts(result)))
            .collect())
    }

    async fn publish(&self, key: ActionKey, result: ActionResult) -> ServiceResult<ActionResult> {
        self.grant.check()?;
        if !self.shared.accepts(&result) {
            return Err(unaccepted());
        }
        self.shared.room_for_content().await?;
        let (shared, grant) = (Arc::clone(&self.shared), Arc::clone(&self.grant));
        self.shared
            .pool
            .run(move || publish::publish(&shared, &grant, key, result))
            .await?
    }

    async fn records(&self, names: Vec<RecordName>) -> ServiceResult<Vec<Vec<Bytes>>> {
        self.grant.check()?;
        check_batch(names.len())?;
        if !records::any(&self.shared, &names) {
            return Ok(vec![Vec::new(); names.len()]);
        }
        let (shared, grant) = (Arc::clone(&self.shared), Arc::clone(&self.grant));
        self.shared
            .pool
            .run(move || records::read(&shared, &grant, &names))
            .await?
    }

    async fn record(&self, name: RecordName, record: Bytes) -> ServiceResult<()> {
        self.grant.check()?;
        if record.len() > MAX_RECORD {
            return Err(ServiceError::Invalid(format!(
                "a record of {} bytes is over the limit of {MAX_RECORD}",
                record.len()
            )));
        }
        self.shared.room_for_content().await?;
        let (shared, grant) = (Arc::clone(&self.shared), Arc::clone(&self.grant));
        self.shared
            .pool
            .run(move || records::put(&shared, &grant, name, record))
            .await?
    }

    async fn claim(&self, name: Digest, wait: Duration) -> ServiceResult<bool> {
        self.grant.check()?;
        let claimed = self.shared.claims.claim(name, &self.grant, wait).await?;
        // A grant that ended meanwhile can't give back what it got after its end.
        if let Err(revoked) = self.grant.check() {
            self.shared.claims.release(&name, &self.grant);
            return Err(revoked);
        }
        Ok(claimed)
    }

    async fn release(&self, name: Digest) -> ServiceResult<()> {
        self.grant.check()?;
        self.shared.claims.release(&name, &self.grant);
        Ok(())
    }
}

fn look(state: &mut State, key: &ActionKey, grant: &Grant) -> Looked {
    let complete = state
        .results
        .get(key)
        .is_some_and(|entry| state.is_complete(entry));
    if !complete {
        return Looked::Nothing;
    }
    state.use_result(key, grant.id);
    match at_hand(state, key) {
        Some(result) => {
            let size = state.results.get(key).map_or(0, |entry| entry.size);
            state.cache.put(*key, Arc::clone(&result), size);
            Looked::Here(result)
        }
        None => Looked::ToLoad,
    }
}

/// Each digest once, in order of appearance.
pub(crate) fn once(digests: impl IntoIterator<Item = Digest>) -> Vec<Digest> {
    let mut seen = HashSet::new();
    digests
        .into_iter()
        .filter(|digest| seen.insert(*digest))
        .collect()
}
