//! Every bound of the store, each with its reason.

use std::time::Duration;

/// Open readers and writers at once: each holds a descriptor and up to half a MiB of pieces
/// under way, so this is a quarter of a GiB at worst.
pub(crate) const MAX_STREAMS: usize = 512;

/// Grants at once: one per build under way; a thousand builds at once is a leak.
pub(crate) const MAX_GRANTS: usize = 4096;

/// A grant's label, in bytes: a name for people.
pub(crate) const MAX_LABEL: usize = 256;

/// Jobs waiting for a worker; who wants to add more waits.
pub(crate) const MAX_QUEUED_JOBS: usize = 1024;

/// Bytes a reader fetches at once: big enough that handing a piece over costs little beside
/// reading it.
pub(crate) const READ_PIECE: usize = 256 * 1024;

/// Bytes that wait in a writer before a job takes them to disk.
pub(crate) const WRITE_PIECE: usize = 256 * 1024;

/// Bytes that wait in a writer before its sender has to: enough to overlap receiving and
/// hashing.
pub(crate) const WRITE_WAITING: usize = 1024 * 1024;

/// Bytes hashed between two reads of a file.
pub(crate) const HASH_BUFFER: usize = 512 * 1024;

/// Small blobs of a batch that one job takes: few enough that several work at a full batch,
/// enough that handing it over costs little.
pub(crate) const SMALL_SHARE: usize = 64;

/// Outputs of one result.
pub(crate) const MAX_OUTPUTS: usize = 4096;

/// A result's encoding, in bytes: it has to fit a message.
pub(crate) const MAX_RESULT: usize = vx_core::service::MAX_RECORD;

/// A tree's encoding, in bytes; it is decoded in memory.
pub(crate) const MAX_TREE_BYTES: u64 = 256 * 1024 * 1024;

/// Files placed by one request: what a tree may hold.
pub(crate) const MAX_PLACE_FILES: usize = vx_core::tree::MAX_ENTRIES;

/// Workers one request to place keeps busy, so that others still get some.
pub(crate) const PLACE_WORKERS: usize = 4;

/// Records up to this many bytes rest in the index; larger ones are blobs, so that the index
/// stays small enough to be checked whole at each start.
pub(crate) const INLINE_RECORD: usize = 16 * 1024;

/// Results and records waiting for a checkpoint, in bytes, before who adds more has to wait.
pub(crate) const MAX_PENDING: u64 = 32 * 1024 * 1024;

/// Decoded results kept at hand, in bytes.
pub(crate) const RESULT_CACHE: usize = 64 * 1024 * 1024;

/// How long a change waits for its checkpoint: what a crash may lose. Not shorter, because a
/// checkpoint brings everything on its file system to the disk, the builds' own files too.
pub(crate) const CHECKPOINT_AFTER: Duration = Duration::from_secs(4);

/// How long a mere last use waits: losing it costs nothing but a worse choice of what to
/// evict, and a build that changes nothing should not wake the disk.
pub(crate) const USES_AFTER: Duration = Duration::from_secs(60);

/// How long to wait after a checkpoint failed.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Blobs kept: bounds the memory that the index in memory takes, about 150 bytes each.
pub(crate) const MAX_BLOBS: u64 = 2_000_000;

/// What a file takes on disk is a multiple of this many bytes, whatever its length.
pub(crate) const BLOCK: u64 = 4096;

/// What a result or record costs in the index beyond its encoding, in bytes.
pub(crate) const ROW: u64 = 512;

/// Eviction goes on until this share of the limit is in use, in percent: so that it runs now
/// and then, not at each write.
pub(crate) const EVICT_TO_PERCENT: u64 = 90;

/// Files set aside that are kept for people to look at, and their bytes.
pub(crate) const MAX_ASIDE_FILES: usize = 16;
pub(crate) const MAX_ASIDE_BYTES: u64 = 256 * 1024 * 1024;

/// The longest a claim lasts: a link of a large program, with room to spare.
pub(crate) const CLAIM_LEASE: Duration = Duration::from_secs(600);

/// Claims at once: several builds of the largest workspaces.
pub(crate) const MAX_CLAIMS: usize = 65_536;

/// Callers that wait for claims at once; each is a task.
pub(crate) const MAX_CLAIM_WAITERS: usize = 16_384;

/// A limit below this many bytes would evict what a build has just put.
pub(crate) const MIN_LIMIT: u64 = 1024 * 1024;
