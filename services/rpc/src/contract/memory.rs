//! A store in memory.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use vx_core::service::{MAX_BATCH, MAX_RECORD, MAX_SMALL_BLOB, RECORDS_PER_NAME};
use vx_core::{
    ActionKey, ActionResult, Blob, BlobReader, BlobWriter, Digest, GrantId, Holder, PlaceOutcome,
    PlaceRequest, RecordName, Results, ServiceError, ServiceResult, Store, StoreService,
    StoreStatus,
};

/// How large the pieces are that a blob is read in.
const PIECE: usize = 100_000;

#[derive(Default)]
struct State {
    blobs: HashMap<Digest, Bytes>,
    results: HashMap<ActionKey, ActionResult>,
    records: HashMap<RecordName, Vec<Bytes>>,
    claims: HashMap<Digest, GrantId>,
    grants: HashSet<GrantId>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    next: AtomicU64,
    /// Told whenever a claim or a grant ends.
    ended: Notify,
}

/// A store's core that keeps everything in memory and never lets go of it. Clones are the same
/// store.
#[derive(Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Inner>,
    accepts_unisolated: bool,
}

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// This store, keeping results of actions that were not isolated too.
    #[must_use]
    pub fn accepting_unisolated(mut self) -> Self {
        self.accepts_unisolated = true;
        self
    }

    /// How many grants are in force.
    #[must_use]
    pub fn grants(&self) -> usize {
        self.inner.lock().grants.len()
    }

    /// Returns when no grant is in force.
    pub async fn without_grants(&self) {
        loop {
            let ended = self.inner.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.grants() == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Loses a blob.
    pub fn lose(&self, digest: Digest) {
        self.inner.lock().blobs.remove(&digest);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, content: Bytes) -> Blob {
        let blob = Blob::of(&content);
        self.lock().blobs.entry(blob.digest).or_insert(content);
        blob
    }
}

#[async_trait]
impl StoreService for MemoryStore {
    async fn grant(&self, _label: String) -> ServiceResult<GrantId> {
        let id = GrantId(self.inner.next.fetch_add(1, Ordering::Relaxed));
        self.inner.lock().grants.insert(id);
        Ok(id)
    }

    async fn release(&self, grant: GrantId) {
        let mut state = self.inner.lock();
        state.grants.remove(&grant);
        state.claims.retain(|_, holder| *holder != grant);
        drop(state);
        self.inner.ended.notify_waiters();
    }

    fn store(&self, _grant: GrantId, _holder: Holder) -> Arc<dyn Store> {
        Arc::new(MemoryBlobs(self.inner.clone()))
    }

    fn results(&self, grant: GrantId) -> Arc<dyn Results> {
        Arc::new(MemoryResults {
            inner: self.inner.clone(),
            grant,
            accepts_unisolated: self.accepts_unisolated,
        })
    }

    async fn status(&self) -> ServiceResult<StoreStatus> {
        let state = self.inner.lock();
        Ok(StoreStatus {
            directory: "memory".to_owned(),
            blobs: state.blobs.len() as u64,
            bytes: state.blobs.values().map(|blob| blob.len() as u64).sum(),
            results: state.results.len() as u64,
            grants: state.grants.len() as u64,
            accepts_unisolated: self.accepts_unisolated,
            ..StoreStatus::default()
        })
    }
}

struct MemoryBlobs(Arc<Inner>);

fn batch(count: usize) -> ServiceResult<()> {
    if count > MAX_BATCH {
        return Err(ServiceError::Invalid(format!("a batch of {count}")));
    }
    Ok(())
}

#[async_trait]
impl Store for MemoryBlobs {
    async fn missing(&self, digests: Vec<Digest>) -> ServiceResult<Vec<Digest>> {
        batch(digests.len())?;
        let state = self.0.lock();
        let missing = digests
            .into_iter()
            .filter(|digest| !state.blobs.contains_key(digest));
        Ok(missing.collect())
    }

    async fn read(
        &self,
        digest: Digest,
        offset: u64,
    ) -> ServiceResult<Option<Box<dyn BlobReader>>> {
        let Some(content) = self.0.lock().blobs.get(&digest).cloned() else {
            return Ok(None);
        };
        let start = usize::try_from(offset)
            .ok()
            .filter(|start| *start <= content.len())
            .ok_or_else(|| ServiceError::Invalid(format!("offset {offset} is past the end")))?;
        Ok(Some(Box::new(MemoryReader {
            size: content.len() as u64,
            rest: content.slice(start..),
        })))
    }

    async fn write(&self) -> ServiceResult<Box<dyn BlobWriter>> {
        Ok(Box::new(MemoryWriter {
            inner: self.0.clone(),
            content: BytesMut::new(),
        }))
    }

    async fn read_small(&self, digests: Vec<Digest>) -> ServiceResult<Vec<Option<Bytes>>> {
        batch(digests.len())?;
        let state = self.0.lock();
        let found: Vec<_> = digests
            .iter()
            .map(|digest| state.blobs.get(digest).cloned())
            .collect();
        if let Some(large) = found
            .iter()
            .flatten()
            .find(|blob| blob.len() as u64 > MAX_SMALL_BLOB)
        {
            return Err(ServiceError::Invalid(format!(
                "a blob of {} bytes is not small",
                large.len()
            )));
        }
        Ok(found)
    }

    async fn write_small(&self, blobs: Vec<Bytes>) -> ServiceResult<Vec<Digest>> {
        batch(blobs.len())?;
        if blobs.iter().any(|blob| blob.len() as u64 > MAX_SMALL_BLOB) {
            return Err(ServiceError::Invalid("a blob is not small".to_owned()));
        }
        let named = blobs.into_iter().map(|blob| self.0.keep(blob).digest);
        Ok(named.collect())
    }

    async fn place(&self, request: PlaceRequest) -> ServiceResult<PlaceOutcome> {
        let wanted = request.files.iter().map(|file| file.digest).collect();
        let missing = self.missing(wanted).await?;
        Ok(if missing.is_empty() {
            PlaceOutcome::Unavailable("this store has no files".to_owned())
        } else {
            PlaceOutcome::Missing(missing)
        })
    }
}

struct MemoryReader {
    size: u64,
    rest: Bytes,
}

#[async_trait]
impl BlobReader for MemoryReader {
    fn size(&self) -> u64 {
        self.size
    }

    async fn next(&mut self) -> ServiceResult<Option<Bytes>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.rest.split_to(self.rest.len().min(PIECE))))
    }
}

struct MemoryWriter {
    inner: Arc<Inner>,
    content: BytesMut,
}

#[async_trait]
impl BlobWriter for MemoryWriter {
    async fn write(&mut self, piece: Bytes) -> ServiceResult<()> {
        self.content.extend_from_slice(&piece);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> ServiceResult<Blob> {
        Ok(self.inner.keep(self.content.freeze()))
    }
}

struct MemoryResults {
    inner: Arc<Inner>,
    grant: GrantId,
    accepts_unisolated: bool,
}

impl MemoryResults {
    /// `Some` once it is settled.
    fn try_claim(&self, name: Digest) -> bool {
        let mut state = self.inner.lock();
        if state.claims.contains_key(&name) {
            return false;
        }
        state.claims.insert(name, self.grant);
        true
    }
}

#[async_trait]
impl Results for MemoryResults {
    async fn lookup(&self, keys: Vec<ActionKey>) -> ServiceResult<Vec<Option<ActionResult>>> {
        batch(keys.len())?;
        let state = self.inner.lock();
        let found = keys.iter().map(|key| {
            let result = state.results.get(key)?;
            let whole = result
                .digests()
                .all(|digest| state.blobs.contains_key(&digest));
            let accepted = !result.unisolated || self.accepts_unisolated;
            (whole && accepted).then(|| result.clone())
        });
        Ok(found.collect())
    }

    async fn publish(&self, key: ActionKey, result: ActionResult) -> ServiceResult<ActionResult> {
        if result.unisolated && !self.accepts_unisolated {
            return Err(ServiceError::Unaccepted("not told to".to_owned()));
        }
        let mut state = self.inner.lock();
        let State { blobs, results, .. } = &mut *state;
        let whole = |result: &ActionResult| result.digests().all(|at| blobs.contains_key(&at));
        if !whole(&result) {
            return Err(ServiceError::Invalid("an output is missing".to_owned()));
        }
        match results.get(&key) {
            Some(standing) if whole(standing) => Ok(standing.clone()),
            _ => {
                results.insert(key, result.clone());
                Ok(result)
            }
        }
    }

    async fn records(&self, names: Vec<RecordName>) -> ServiceResult<Vec<Vec<Bytes>>> {
        batch(names.len())?;
        let state = self.inner.lock();
        let lists = names
            .iter()
            .map(|name| state.records.get(name).cloned().unwrap_or_default());
        Ok(lists.collect())
    }

    async fn record(&self, name: RecordName, record: Bytes) -> ServiceResult<()> {
        if record.len() > MAX_RECORD {
            return Err(ServiceError::Invalid("the record is too large".to_owned()));
        }
        let mut state = self.inner.lock();
        let list = state.records.entry(name).or_default();
        list.retain(|known| *known != record);
        list.insert(0, record);
        list.truncate(RECORDS_PER_NAME);
        Ok(())
    }

    async fn claim(&self, name: Digest, wait: Duration) -> ServiceResult<bool> {
        let ended = self.inner.ended.notified();
        tokio::pin!(ended);
        ended.as_mut().enable();
        if self.try_claim(name) {
            return Ok(true);
        }
        let _ = tokio::time::timeout(wait, ended).await;
        Ok(false)
    }

    async fn release(&self, name: Digest) -> ServiceResult<()> {
        let mut state = self.inner.lock();
        if state.claims.get(&name) == Some(&self.grant) {
            state.claims.remove(&name);
        }
        drop(state);
        self.inner.ended.notify_waiters();
        Ok(())
    }
}
