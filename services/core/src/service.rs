//! The traits that a service's core fits and that its RPC client fits too.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::action::{
    ActionSpec, Execution, HostEnd, HostProgram, Ingested, OutputStream, PackageSource,
};
use crate::digest::{Blob, Digest};
use crate::error::ServiceResult;
use crate::key::{ActionKey, RecordName};
use crate::path::RelPath;
use crate::result::{ActionResult, Output};

/// A blob on its way out, piece by piece.
///
/// Who acts on the content hashes it and compares first; a reader that ends before the
/// blob's size was cut short.
#[async_trait]
pub trait BlobReader: Send {
    /// The whole blob's size in bytes, whatever offset the reading started at.
    fn size(&self) -> u64;

    /// The next piece; `None` at the end.
    async fn next(&mut self) -> ServiceResult<Option<Bytes>>;
}

/// A blob on its way in. Dropping it without [`BlobWriter::finish`] leaves nothing behind.
#[async_trait]
pub trait BlobWriter: Send {
    /// Adds a piece; waits while too many are under way.
    async fn write(&mut self, piece: Bytes) -> ServiceResult<()>;

    /// Ends the blob and says what it is.
    async fn finish(self: Box<Self>) -> ServiceResult<Blob>;
}

/// How a file gets to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlaceMode {
    /// A hard link where possible: for files that are only ever seen through read-only mounts.
    SharedReadOnly,
    /// A file of its own, writable by its owner.
    Independent,
}

/// One file to place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceFile {
    /// Where, below the directory.
    pub path: RelPath,
    /// What.
    pub digest: Digest,
    /// Whether its owner may execute it.
    pub executable: bool,
    /// How.
    pub mode: PlaceMode,
}

/// Files to place into an empty directory of the holder's on the same host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceRequest {
    /// Its absolute path; it exists, is empty, and belongs to the holder.
    pub directory: String,
    /// The files; parents are made.
    pub files: Vec<PlaceFile>,
}

/// What became of a request to place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlaceOutcome {
    /// Everything is there; so many bytes were linked and copied.
    Placed {
        /// Bytes of files that are hard links.
        linked: u64,
        /// Bytes of files that are copies.
        copied: u64,
    },
    /// Nothing may be used: these blobs are missing.
    Missing(Vec<Digest>),
    /// This holder can't be placed for (another host or user, placing switched off): read the
    /// blobs instead.
    Unavailable(String),
}

/// Content by digest: what an executor may hold.
///
/// It is [`Any`] so that a client of a remote store can be told from others where one is handed
/// to an executor: it goes on as the capability it is.
#[async_trait]
pub trait Store: Any + Send + Sync {
    /// Which of these are not here; the others are held by the grant from now on.
    async fn missing(&self, digests: Vec<Digest>) -> ServiceResult<Vec<Digest>>;

    /// Streams a blob from `offset` bytes on; `None` when it is missing.
    async fn read(&self, digest: Digest, offset: u64)
    -> ServiceResult<Option<Box<dyn BlobReader>>>;

    /// Starts a blob.
    async fn write(&self) -> ServiceResult<Box<dyn BlobWriter>>;

    /// Whole small blobs, in order; `None` for one that is missing. A blob over
    /// [`MAX_SMALL_BLOB`] is [`crate::ServiceError::Invalid`].
    async fn read_small(&self, digests: Vec<Digest>) -> ServiceResult<Vec<Option<Bytes>>>;

    /// Adds small blobs and gives their digests, in order.
    async fn write_small(&self, blobs: Vec<Bytes>) -> ServiceResult<Vec<Digest>>;

    /// Puts files into a directory of the holder's.
    async fn place(&self, request: PlaceRequest) -> ServiceResult<PlaceOutcome>;
}

/// The largest blob that travels in a batch, in bytes: well under a message's limit.
pub const MAX_SMALL_BLOB: u64 = 64 * 1024;

/// The most items (digests, keys, small blobs) one call may carry; callers split.
pub const MAX_BATCH: usize = 1024;

/// The largest record kept beside results, in bytes.
pub const MAX_RECORD: usize = 4 * 1024 * 1024;

/// How many records one name keeps; the oldest go first.
pub const RECORDS_PER_NAME: usize = 8;

/// What was done, by key: what only orchestrators hold.
#[async_trait]
pub trait Results: Send + Sync {
    /// The results published under these keys, in order, each only while all its blobs are
    /// present; those are held by the grant from now on.
    async fn lookup(&self, keys: Vec<ActionKey>) -> ServiceResult<Vec<Option<ActionResult>>>;

    /// Publishes and returns the standing result: an earlier one, unless its blobs are lost.
    /// Every blob must be present. A result that is marked as unisolated is
    /// [`crate::ServiceError::Unaccepted`] unless the store was told to accept such; one that
    /// it accepted earlier is not found while it is not told to.
    async fn publish(&self, key: ActionKey, result: ActionResult) -> ServiceResult<ActionResult>;

    /// The records under each name, newest first.
    async fn records(&self, names: Vec<RecordName>) -> ServiceResult<Vec<Vec<Bytes>>>;

    /// Puts a record in front of those under `name`; one that is there already moves to the
    /// front.
    async fn record(&self, name: RecordName, record: Bytes) -> ServiceResult<()>;

    /// Asks to be the one who does `name`. `true`: the caller is, until it releases the claim,
    /// its grant ends, or the lease runs out. `false`: someone else was, for all of `wait` or
    /// until they were done; look the result up, then ask again.
    async fn claim(&self, name: Digest, wait: Duration) -> ServiceResult<bool>;

    /// Gives a claim back.
    async fn release(&self, name: Digest) -> ServiceResult<()>;
}

/// Names a grant within its store's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(pub u64);

/// Who holds a Store, as its connection shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A process on this host, by its Unix socket's credentials.
    Local {
        /// Its user.
        uid: u32,
    },
    /// Anyone else.
    Remote,
}

/// What a store says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Its directory.
    pub directory: String,
    /// Blobs kept.
    pub blobs: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// The size it is kept under, in bytes.
    pub limit: u64,
    /// Results kept.
    pub results: u64,
    /// Grants in force.
    pub grants: u64,
    /// Blobs set aside because they did not match their digest, since the start.
    pub set_aside: u64,
    /// Bytes placed as links since the start.
    pub linked: u64,
    /// Bytes placed as copies since the start.
    pub copied: u64,
    /// Whether it keeps results of actions that were not isolated.
    pub accepts_unisolated: bool,
}

/// A store's core as its RPC front sees it.
#[async_trait]
pub trait StoreService: Send + Sync {
    /// Opens a grant.
    async fn grant(&self, label: String) -> ServiceResult<GrantId>;

    /// Ends a grant: what it alone held may go.
    async fn release(&self, grant: GrantId);

    /// The store under a grant, for this holder.
    fn store(&self, grant: GrantId, holder: Holder) -> Arc<dyn Store>;

    /// The results under a grant.
    fn results(&self, grant: GrantId) -> Arc<dyn Results>;

    /// Figures.
    async fn status(&self) -> ServiceResult<StoreStatus>;
}

/// Who is told how an action goes. Losing it cancels the action.
#[async_trait]
pub trait Observer: Send + Sync {
    /// What the program wrote, in whole lines where it writes lines.
    async fn wrote(&self, stream: OutputStream, bytes: Bytes) -> ServiceResult<()>;

    /// An output is in the store; the program may still run.
    async fn stored(&self, output: Output) -> ServiceResult<()>;
}

/// What an executor says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorStatus {
    /// Actions under way.
    pub running: u64,
    /// Actions run since the start.
    pub executed: u64,
    /// How many run at once at most.
    pub slots: u64,
    /// Why isolation does not work here; empty where it does.
    pub isolation_fault: String,
    /// Where it runs actions that it can't isolate: the directory that their bases lie in;
    /// empty where isolation works.
    pub base_directory: String,
    /// Why it can't watch what actions read, where it can't isolate them; empty where it can.
    pub trace_fault: String,
    /// Bytes moved to and from stores over their own connections since the start.
    pub direct_bytes: u64,
    /// Bytes moved to and from stores through whoever handed them over, since the start.
    pub relayed_bytes: u64,
    /// Bytes of inputs placed by stores since the start.
    pub placed_bytes: u64,
}

/// Runs actions. Dropping the future of [`Executor::execute`] kills the action.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Runs one action with the inputs that `store` has, and puts its outputs there.
    async fn execute(
        &self,
        action: ActionSpec,
        store: Arc<dyn Store>,
        observer: Arc<dyn Observer>,
    ) -> ServiceResult<Execution>;

    /// Puts a package's sources, which lie on this host, into `store`.
    async fn ingest(&self, source: PackageSource, store: Arc<dyn Store>)
    -> ServiceResult<Ingested>;

    /// Runs a program on the host, watched; what it writes goes to `observer`. It waits for no
    /// action. Dropping the future kills it.
    async fn run_on_host(
        &self,
        program: HostProgram,
        observer: Arc<dyn Observer>,
    ) -> ServiceResult<HostEnd>;

    /// Figures.
    async fn status(&self) -> ServiceResult<ExecutorStatus>;
}
