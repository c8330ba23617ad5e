//! What every store and every table of results has to do, as suites for tests.
//!
//! One suite runs over the local store, over its client directly, and over its client through a
//! relay. [`MemoryStore`] is the reference that the others can be held against, and a stand-in
//! where a test needs a store.
#![allow(
    clippy::unwrap_used,
    reason = "a suite is a test, though it is compiled into a library"
)]

mod memory;
mod results;
mod store;

use std::any::Any;
use std::sync::Arc;

use vx_core::{Blob, Digest, Results, ServiceResult, Store};

pub use memory::MemoryStore;
pub use results::{accepting_results_suite, results_suite};
pub use store::store_suite;

/// A fresh, empty store with everything it needs to live.
pub struct Subject {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The results under the same grant.
    pub results: Arc<dyn Results>,
    /// The results of the same store under another grant.
    pub other: Arc<dyn Results>,
    /// Whatever has to live as long.
    pub keep: Box<dyn Any + Send>,
}

/// Bytes that differ by `seed` and compress badly.
#[must_use]
pub fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Puts `content` into `store` in pieces of `piece` bytes.
///
/// # Errors
/// As the store.
pub async fn put(store: &dyn Store, content: &[u8], piece: usize) -> ServiceResult<Blob> {
    let mut writer = store.write().await?;
    for part in content.chunks(piece.max(1)) {
        writer.write(bytes::Bytes::copy_from_slice(part)).await?;
    }
    writer.finish().await
}

/// The bytes of a blob from `offset` on; `None` when it is missing.
///
/// # Errors
/// As the store.
pub async fn get(store: &dyn Store, digest: Digest, offset: u64) -> ServiceResult<Option<Vec<u8>>> {
    let Some(mut reader) = store.read(digest, offset).await? else {
        return Ok(None);
    };
    let mut all = Vec::new();
    while let Some(piece) = reader.next().await? {
        all.extend_from_slice(&piece);
    }
    Ok(Some(all))
}
