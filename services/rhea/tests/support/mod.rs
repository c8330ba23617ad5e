//! A store in memory, an observer that remembers, and actions that are quick to write down.

// Each test program uses a part of this.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

pub mod probe;
pub mod user;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::mpsc;
use vx_core::service::MAX_SMALL_BLOB;
use vx_core::{
    ActionSpec, Blob, BlobReader, BlobWriter, CheckoutMode, CheckoutMount, Collect, CollectForm,
    Digest, Execution, Executor, Exit, FileInput, Marked, MessageFormat, Observer, Output,
    OutputStream, PlaceOutcome, PlaceRequest, ServiceError, ServiceResult, Store, Watch, places,
};
use vx_rhea::{Rhea, Settings};

/// Blobs in memory. Places by copying, where it places.
#[derive(Default)]
pub struct MemoryStore {
    pub blobs: Mutex<HashMap<Digest, Bytes>>,
    pub places: bool,
    /// Given in place of the content asked for.
    pub lies: Mutex<HashMap<Digest, Bytes>>,
    pub written: Mutex<Vec<Blob>>,
    pub read: Mutex<u64>,
}

impl MemoryStore {
    pub fn placing() -> Self {
        Self {
            places: true,
            ..Self::default()
        }
    }

    pub fn add(&self, content: impl Into<Bytes>) -> Blob {
        let content = content.into();
        let blob = Blob::of(&content);
        self.blobs.lock().unwrap().insert(blob.digest, content);
        blob
    }

    pub fn content(&self, digest: Digest) -> Bytes {
        self.blobs.lock().unwrap()[&digest].clone()
    }

    fn look(&self, digest: Digest) -> Option<Bytes> {
        if let Some(lie) = self.lies.lock().unwrap().get(&digest) {
            return Some(lie.clone());
        }
        self.blobs.lock().unwrap().get(&digest).cloned()
    }
}

struct Reader {
    size: u64,
    rest: Bytes,
}

#[async_trait]
impl BlobReader for Reader {
    fn size(&self) -> u64 {
        self.size
    }

    async fn next(&mut self) -> ServiceResult<Option<Bytes>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let piece = self.rest.len().min(100_000);
        Ok(Some(self.rest.split_to(piece)))
    }
}

struct Writer {
    store: Arc<MemoryStore>,
    content: Vec<u8>,
}

#[async_trait]
impl BlobWriter for Writer {
    async fn write(&mut self, piece: Bytes) -> ServiceResult<()> {
        self.content.extend_from_slice(&piece);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> ServiceResult<Blob> {
        let blob = self.store.add(self.content);
        self.store.written.lock().unwrap().push(blob);
        Ok(blob)
    }
}

/// What is handed to the executor; the tests keep the [`MemoryStore`].
pub struct Handed(pub Arc<MemoryStore>);

#[async_trait]
impl Store for Handed {
    async fn missing(&self, digests: Vec<Digest>) -> ServiceResult<Vec<Digest>> {
        let blobs = self.0.blobs.lock().unwrap();
        Ok(digests
            .into_iter()
            .filter(|digest| !blobs.contains_key(digest))
            .collect())
    }

    async fn read(
        &self,
        digest: Digest,
        offset: u64,
    ) -> ServiceResult<Option<Box<dyn BlobReader>>> {
        *self.0.read.lock().unwrap() += 1;
        Ok(self.0.look(digest).map(|content| {
            let mut rest = content;
            let size = rest.len() as u64;
            let _ = rest.split_to(usize::try_from(offset).unwrap());
            Box::new(Reader { size, rest }) as Box<dyn BlobReader>
        }))
    }

    async fn write(&self) -> ServiceResult<Box<dyn BlobWriter>> {
        Ok(Box::new(Writer {
            store: Arc::clone(&self.0),
            content: Vec::new(),
        }))
    }

    async fn read_small(&self, digests: Vec<Digest>) -> ServiceResult<Vec<Option<Bytes>>> {
        *self.0.read.lock().unwrap() += 1;
        let blobs: Vec<_> = digests
            .into_iter()
            .map(|digest| self.0.look(digest))
            .collect();
        let large = |blob: &Option<Bytes>| {
            blob.as_ref()
                .is_some_and(|blob| blob.len() as u64 > MAX_SMALL_BLOB)
        };
        if blobs.iter().any(large) {
            return Err(ServiceError::Invalid("a blob is not small".to_owned()));
        }
        Ok(blobs)
    }

    async fn write_small(&self, blobs: Vec<Bytes>) -> ServiceResult<Vec<Digest>> {
        Ok(blobs
            .into_iter()
            .map(|content| {
                let blob = self.0.add(content);
                self.0.written.lock().unwrap().push(blob);
                blob.digest
            })
            .collect())
    }

    async fn place(&self, request: PlaceRequest) -> ServiceResult<PlaceOutcome> {
        if !self.0.places {
            return Ok(PlaceOutcome::Unavailable("in memory".to_owned()));
        }
        let base = Path::new(&request.directory);
        assert_eq!(
            fs::read_dir(base).unwrap().count(),
            0,
            "place wants it empty"
        );
        let missing: Vec<Digest> = request
            .files
            .iter()
            .map(|file| file.digest)
            .filter(|digest| self.0.look(*digest).is_none())
            .collect();
        if !missing.is_empty() {
            return Ok(PlaceOutcome::Missing(missing));
        }
        let mut copied = 0;
        for file in request.files {
            let content = self.0.look(file.digest).unwrap();
            copied += content.len() as u64;
            let path = file.path.under(base);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            let mode = if file.executable { 0o755 } else { 0o444 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        Ok(PlaceOutcome::Placed { linked: 0, copied })
    }
}

/// Remembers what it is told, in order, and passes it on.
pub struct Recorder {
    pub events: mpsc::UnboundedSender<Event>,
    pub fails: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Wrote(OutputStream, String),
    Stored(Output),
}

#[async_trait]
impl Observer for Recorder {
    async fn wrote(&self, stream: OutputStream, bytes: Bytes) -> ServiceResult<()> {
        if self.fails {
            return Err(ServiceError::disconnected("the observer", "test"));
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let _ = self.events.send(Event::Wrote(stream, text));
        Ok(())
    }

    async fn stored(&self, output: Output) -> ServiceResult<()> {
        let _ = self.events.send(Event::Stored(output));
        Ok(())
    }
}

/// An executor with a checkout and a store.
pub struct Bench {
    pub rhea: Arc<Rhea>,
    pub store: Arc<MemoryStore>,
    pub checkout: TempDir,
    _directory: TempDir,
}

/// What came of an execution.
pub struct Outcome {
    pub exit: Exit,
    pub outputs: Vec<Output>,
    pub marked: Vec<Marked>,
    pub store: Arc<MemoryStore>,
    pub events: Vec<Event>,
}

impl Outcome {
    pub fn output(&self, name: &str) -> Option<Bytes> {
        let output = self.outputs.iter().find(|output| output.name == name)?;
        Some(self.store.content(output.blob.digest))
    }

    /// The outputs that hold a marker.
    pub fn marked(&self, marker: usize) -> Vec<&str> {
        let marked = self.marked.iter().filter(|one| one.marker == marker);
        marked.map(|one| one.output.as_str()).collect()
    }

    pub fn text(&self, name: &str) -> String {
        let bytes = self.output(name).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert!(
            self.exit.success(),
            "{:?}: {}",
            self.exit,
            self.text("stderr")
        );
        self
    }
}

pub async fn start(directory: &Path) -> Rhea {
    start_with(directory, |_| {}).await
}

/// An executor with settings of the test's own.
pub async fn start_with(directory: &Path, set: impl FnOnce(&mut Settings)) -> Rhea {
    let mut settings = Settings::new(directory);
    settings.guard = user::guard();
    set(&mut settings);
    Rhea::start(settings).await.unwrap()
}

impl Bench {
    pub async fn new() -> Self {
        Self::with(MemoryStore::placing()).await
    }

    pub async fn with(store: MemoryStore) -> Self {
        Self::set(store, |_| {}).await
    }

    pub async fn set(store: MemoryStore, set: impl FnOnce(&mut Settings)) -> Self {
        let directory = TempDir::new().unwrap();
        Self {
            rhea: Arc::new(start_with(&directory.path().join("rhea"), set).await),
            store: Arc::new(store),
            checkout: TempDir::new().unwrap(),
            _directory: directory,
        }
    }

    pub fn directory(&self) -> PathBuf {
        self._directory.path().join("rhea")
    }

    pub fn write(&self, path: &str, content: &str) {
        let path = self.checkout.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn mount(&self, mode: CheckoutMode) -> Option<CheckoutMount> {
        Some(CheckoutMount {
            at: vx_core::places::CHECKOUT.to_owned(),
            host: self.checkout.path().to_str().unwrap().to_owned(),
            hidden: Vec::new(),
            mode,
        })
    }

    pub async fn try_run(&self, action: ActionSpec) -> (ServiceResult<Execution>, Vec<Event>) {
        let (events, mut received) = mpsc::unbounded_channel();
        let observer = Recorder {
            events,
            fails: false,
        };
        let store = Arc::new(Handed(Arc::clone(&self.store)));
        let result = self.rhea.execute(action, store, Arc::new(observer)).await;
        let mut events = Vec::new();
        while let Ok(event) = received.try_recv() {
            events.push(event);
        }
        (result, events)
    }

    pub async fn run(&self, action: ActionSpec) -> Outcome {
        let (result, events) = self.try_run(action).await;
        match result.unwrap() {
            Execution::Ran {
                exit,
                outputs,
                marked,
                ..
            } => Outcome {
                exit,
                outputs,
                marked,
                store: Arc::clone(&self.store),
                events,
            },
            other => panic!("{other:?}"),
        }
    }

    /// Runs a shell script in the checkout, read-only.
    pub async fn shell(&self, script: &str) -> Outcome {
        let mut action = shell(script);
        action.checkout = self.mount(CheckoutMode::ReadOnly);
        self.run(action).await
    }

    pub fn file(&self, at: &str, content: impl Into<Bytes>, executable: bool) -> FileInput {
        let blob = self.store.add(content);
        FileInput {
            at: at.to_owned(),
            digest: blob.digest,
            size: blob.size,
            executable,
        }
    }
}

/// Defines `no`, which ends a script whose command should have failed; the shell itself lets
/// a script go on after `! command`.
const PRELUDE: &str =
    "no() { if \"$@\" 2>/dev/null; then echo \"this worked: $*\" >&2; exit 9; fi; }; ";

/// An action that runs a shell script.
pub fn shell(script: &str) -> ActionSpec {
    ActionSpec {
        label: "test".to_owned(),
        argv: ["/bin/sh", "-ec", &format!("{PRELUDE}{script}")]
            .map(str::to_owned)
            .to_vec(),
        env: vec![
            ("PATH".to_owned(), places::PATH.to_owned()),
            ("HOME".to_owned(), places::HOME.to_owned()),
        ],
        cwd: "/".to_owned(),
        toolchain: toolchain(),
        checkout: None,
        packages: Vec::new(),
        files: Vec::new(),
        trees: Vec::new(),
        collect: Vec::new(),
        messages: MessageFormat::Plain,
        markers: Vec::new(),
        watch: Watch::Nothing,
        host_paths: Vec::new(),
        network: false,
        real_places: Vec::new(),
        base: String::new(),
    }
}

pub fn collect_files(at: &str) -> Collect {
    Collect {
        at: at.to_owned(),
        form: CollectForm::Files,
    }
}

pub fn collect_tree(at: &str, name: &str) -> Collect {
    Collect {
        at: at.to_owned(),
        form: CollectForm::Tree {
            name: name.to_owned(),
        },
    }
}

/// The toolchain that compiles these tests.
pub fn toolchain() -> String {
    if let Ok(given) = std::env::var("VX_TEST_TOOLCHAIN") {
        return given;
    }
    let printed = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .unwrap();
    String::from_utf8(printed.stdout).unwrap().trim().to_owned()
}

pub fn make_fifo(path: &Path) {
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o666),
        0,
    )
    .unwrap();
}
