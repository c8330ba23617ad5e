//! What the store's tests share: a store of one's own, and short ways to use it.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use vx_cass::{Cass, CassConfig};
use vx_core::{
    ActionKey, ActionResult, Blob, Digest, GrantId, Holder, Output, OutputForm, PlaceFile,
    PlaceMode, PlaceRequest, RelPath, Results, Store, StoreService,
};

/// A store in a directory of its own, with one grant.
pub(crate) struct Home {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) cass: Arc<Cass>,
    pub(crate) grant: GrantId,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) results: Arc<dyn Results>,
}

pub(crate) const LIMIT: u64 = 1 << 30;

pub(crate) fn config(path: &Path) -> CassConfig {
    CassConfig {
        directory: path.to_owned(),
        limit: LIMIT,
        placing: true,
        accept_unisolated: false,
    }
}

pub(crate) fn me() -> Holder {
    Holder::Local {
        uid: rustix::process::geteuid().as_raw(),
    }
}

impl Home {
    pub(crate) async fn new() -> Self {
        Self::with_limit(LIMIT).await
    }

    pub(crate) async fn with_limit(limit: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(&directory.path().join("store"));
        config.limit = limit;
        Self::open(directory, config).await
    }

    pub(crate) async fn open(directory: tempfile::TempDir, config: CassConfig) -> Self {
        let cass = Cass::open(config).unwrap();
        let grant = cass.grant("test".to_owned()).await.unwrap();
        Self {
            store: cass.store(grant, me()),
            results: cass.results(grant),
            directory,
            cass,
            grant,
        }
    }

    /// Closes the store in order, and opens it anew.
    pub(crate) async fn reopen(self) -> Self {
        self.cass.close().await.unwrap();
        let directory = self.directory;
        let config = config(&directory.path().join("store"));
        drop((self.cass, self.store, self.results));
        Self::open(directory, config).await
    }

    /// Drops the store as if its process had died, and opens it anew.
    pub(crate) async fn crash(self) -> Self {
        let directory = self.directory;
        let config = config(&directory.path().join("store"));
        drop((self.store, self.results));
        drop(self.cass);
        Self::open(directory, config).await
    }

    /// Ends the grant and takes another.
    pub(crate) async fn regrant(&mut self) {
        self.cass.release(self.grant).await;
        self.grant = self.cass.grant("next".to_owned()).await.unwrap();
        self.store = self.cass.store(self.grant, me());
        self.results = self.cass.results(self.grant);
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_hex();
        self.path().join("blobs").join(&hex[..2]).join(hex)
    }

    pub(crate) async fn put(&self, content: &[u8]) -> Blob {
        put(&*self.store, content).await
    }

    pub(crate) async fn get(&self, digest: Digest) -> Option<Vec<u8>> {
        get(&*self.store, digest, 0).await
    }

    /// An empty directory to place into.
    pub(crate) fn target(&self, name: &str) -> PathBuf {
        let path = self.directory.path().canonicalize().unwrap().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    }
}

pub(crate) async fn put(store: &dyn Store, content: &[u8]) -> Blob {
    let mut writer = store.write().await.unwrap();
    for piece in content.chunks(100_000) {
        writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    writer.finish().await.unwrap()
}

pub(crate) async fn get(store: &dyn Store, digest: Digest, offset: u64) -> Option<Vec<u8>> {
    let mut reader = store.read(digest, offset).await.unwrap()?;
    let mut content = Vec::new();
    while let Some(piece) = reader.next().await.unwrap() {
        content.extend_from_slice(&piece);
    }
    Some(content)
}

/// Content that looks like nothing else.
pub(crate) fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut content = vec![0; length];
    let mut reader = blake3::Hasher::new().update(&[seed]).finalize_xof();
    reader.fill(&mut content);
    content
}

pub(crate) fn key(name: &str) -> ActionKey {
    ActionKey(Digest::of(name.as_bytes()))
}

pub(crate) fn output(name: &str, blob: Blob) -> Output {
    Output {
        name: name.to_owned(),
        blob,
        form: OutputForm::File { executable: false },
    }
}

pub(crate) fn result(outputs: Vec<Output>) -> ActionResult {
    ActionResult {
        outputs,
        payload: Bytes::from_static(b"payload"),
        unisolated: false,
    }
}

pub(crate) fn file(path: &str, digest: Digest, executable: bool, mode: PlaceMode) -> PlaceFile {
    PlaceFile {
        path: RelPath::new(path).unwrap(),
        digest,
        executable,
        mode,
    }
}

pub(crate) fn request(directory: &Path, files: Vec<PlaceFile>) -> PlaceRequest {
    PlaceRequest {
        directory: directory.to_str().unwrap().to_owned(),
        files,
    }
}

/// Flips one bit of a file and gives it its old modification time back.
pub(crate) fn flip(path: &Path) {
    use std::os::unix::fs::{FileExt, PermissionsExt};
    let modified = std::fs::metadata(path).unwrap().modified().unwrap();
    let mode = std::fs::metadata(path).unwrap().permissions();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let at = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    file.set_modified(modified).unwrap();
    file.set_permissions(mode).unwrap();
}
