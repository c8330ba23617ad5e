//! What is known of each thing the store keeps.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use vx_core::{Digest, GrantId, RecordName, ServiceError, ServiceResult};

use crate::limits::{BLOCK, INLINE_RECORD, ROW};
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
    pub(super) fn cost(&self) -> u64 {
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
