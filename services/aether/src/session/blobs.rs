//! Reading blobs through a Store, whole and verified.

use vx_core::digest::{Blob, Hasher};
use vx_core::error::{ServiceError, ServiceResult};
use vx_core::service::MAX_SMALL_BLOB;
use vx_core::{Digest, Store};

/// The largest blob read into memory: diagnostics, dep-info, what build scripts say.
pub(crate) const MAX_IN_MEMORY: u64 = 64 * 1024 * 1024;

/// A blob's content, checked against its digest; `None` when it is missing.
///
/// # Errors
/// When the store fails, sends other bytes, or the blob is too large for memory.
pub(crate) async fn read(store: &dyn Store, blob: Blob) -> ServiceResult<Option<Vec<u8>>> {
    if blob.size > MAX_IN_MEMORY {
        return Err(ServiceError::Failed(format!(
            "blob {} has {} bytes, more than is read into memory",
            blob.digest.short(),
            blob.size
        )));
    }
    let content = if blob.size <= MAX_SMALL_BLOB {
        let mut answers = store.read_small(vec![blob.digest]).await?;
        answers.pop().flatten().map(|bytes| bytes.to_vec())
    } else {
        stream(store, blob).await?
    };
    match content {
        Some(content) if Digest::of(&content) == blob.digest => Ok(Some(content)),
        Some(_) => Err(mismatch(blob.digest)),
        None => Ok(None),
    }
}

async fn stream(store: &dyn Store, blob: Blob) -> ServiceResult<Option<Vec<u8>>> {
    let Some(mut reader) = store.read(blob.digest, 0).await? else {
        return Ok(None);
    };
    let mut content = Vec::with_capacity(blob.size as usize);
    while let Some(piece) = reader.next().await? {
        if content.len() + piece.len() > blob.size as usize {
            return Err(mismatch(blob.digest));
        }
        content.extend_from_slice(&piece);
    }
    Ok(Some(content))
}

/// A blob of unknown size, up to `limit` bytes, checked against its digest; `None` when it is
/// missing.
///
/// # Errors
/// When the store fails, sends other bytes, or the blob is too large.
pub(crate) async fn read_by_digest(
    store: &dyn Store,
    digest: Digest,
    limit: u64,
) -> ServiceResult<Option<Vec<u8>>> {
    let Some(mut reader) = store.read(digest, 0).await? else {
        return Ok(None);
    };
    let mut content = Vec::new();
    while let Some(piece) = reader.next().await? {
        content.extend_from_slice(&piece);
        if content.len() as u64 > limit {
            return Err(ServiceError::Failed(format!(
                "blob {} has more than {limit} bytes, which is more than is read into memory",
                digest.short()
            )));
        }
    }
    if Digest::of(&content) == digest {
        Ok(Some(content))
    } else {
        Err(mismatch(digest))
    }
}

/// Streams a blob into a file and checks it; `false` when it is missing.
///
/// # Errors
/// When the store or the file fails, or other bytes came.
pub(crate) async fn read_to_file(
    store: &dyn Store,
    digest: Digest,
    path: &std::path::Path,
) -> ServiceResult<bool> {
    use tokio::io::AsyncWriteExt;
    let Some(mut reader) = store.read(digest, 0).await? else {
        return Ok(false);
    };
    let mut file = tokio::fs::File::create(path)
        .await
        .map_err(ServiceError::failed)?;
    let mut hasher = Hasher::new();
    while let Some(piece) = reader.next().await? {
        hasher.update(&piece);
        file.write_all(&piece).await.map_err(ServiceError::failed)?;
    }
    file.flush().await.map_err(ServiceError::failed)?;
    if hasher.finish().digest == digest {
        Ok(true)
    } else {
        Err(mismatch(digest))
    }
}

fn mismatch(digest: Digest) -> ServiceError {
    ServiceError::Failed(format!(
        "the store sent other bytes than blob {} has",
        digest.short()
    ))
}
