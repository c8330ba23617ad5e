//! The index on disk: what of the store's knowledge outlives its process.
//!
//! One transaction per checkpoint, durable when it returns, one at a time; between checkpoints
//! changes live in memory. So the index is always that of some
//! checkpoint, and what it says of blobs was on disk before it. Contents that are read on
//! their own later carry a check that binds them to their key, because the database checks
//! its pages only when it is opened.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use redb::{Builder, Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use vx_core::{ActionKey, ActionResult, Digest, RecordName};

use crate::state::{BlobFile, RecordList, ResultEntry, State};

const BLOBS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("blobs");
const ENTRIES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("result-entries");
const RESULTS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("results");
const TREES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("trees");
const LISTS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("record-lists");
const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");
const STATE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("state");

/// Present after a clean shutdown.
const CLEAN: &[u8] = b"clean";

/// Bytes of the check in front of a content.
const CHECK: usize = 16;

/// Memory the database may use for its pages, in bytes; what is hot is in memory anyway.
const PAGES: usize = 32 * 1024 * 1024;

/// Why the index can't be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    #[error("{0}")]
    Database(Box<redb::Error>),
    #[error("a row can't be decoded")]
    Row,
    #[error("the database failed while it was opened: {0}")]
    Panic(String),
    #[error("blobs can't be brought to the disk: {0}")]
    Sync(std::io::Error),
    #[error("the database is closed")]
    Closed,
}

impl<E: Into<redb::Error>> From<E> for IndexError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

/// The rows one checkpoint writes: each with its value, or without where it goes.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) blobs: Vec<(Digest, Option<BlobFile>)>,
    pub(crate) entries: Vec<(ActionKey, Option<ResultEntry>)>,
    pub(crate) results: Vec<(ActionKey, Option<Arc<ActionResult>>)>,
    pub(crate) trees: Vec<(Digest, Option<Arc<[Digest]>>)>,
    pub(crate) lists: Vec<(RecordName, Option<RecordList>)>,
    pub(crate) records: Vec<((RecordName, Digest), Option<Bytes>)>,
}

/// The index on disk.
pub(crate) struct Index {
    path: PathBuf,
    database: Mutex<Option<Arc<Database>>>,
}

/// What the index says at its opening.
pub(crate) struct Loaded {
    pub(crate) state: State,
    /// Whether the process before ended by closing the store.
    pub(crate) clean: bool,
}

impl Index {
    /// Opens or makes the index and reads what it knows.
    pub(crate) fn open(path: &Path) -> Result<(Self, Loaded), IndexError> {
        // The database panics on some damaged files instead of saying so.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = open_database(path)?;
            let loaded = load(&database)?;
            // From here on until the store is closed, a stop is an unclean one.
            let transaction = database.begin_write()?;
            transaction.open_table(STATE)?.remove(CLEAN)?;
            transaction.commit()?;
            Ok((database, loaded))
        }));
        let (database, loaded) =
            opened.unwrap_or_else(|panic| Err(IndexError::Panic(panic_text(&*panic))))?;
        let index = Self {
            path: path.to_owned(),
            database: Mutex::new(Some(Arc::new(database))),
        };
        Ok((index, loaded))
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Database>>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn database(&self) -> Result<Arc<Database>, IndexError> {
        self.slot().clone().ok_or(IndexError::Closed)
    }

    /// The database, opened again where an earlier fault closed it.
    fn revived(&self) -> Result<Arc<Database>, IndexError> {
        if let Some(database) = &*self.slot() {
            return Ok(Arc::clone(database));
        }
        let database = Arc::new(open_database(&self.path)?);
        *self.slot() = Some(Arc::clone(&database));
        Ok(database)
    }

    /// Writes the rows of a checkpoint; they are on disk when it returns.
    pub(crate) fn write(&self, rows: &Rows, clean: bool) -> Result<(), IndexError> {
        let database = self.revived()?;
        let written = write_rows(&database, rows, clean);
        if written.is_err() {
            // After a failed write the database answers nothing until it is opened again.
            *self.slot() = None;
        }
        written
    }

    /// Lets go of the file.
    pub(crate) fn close(&self) {
        *self.slot() = None;
    }

    /// A result's content; `None` where it is gone or damaged.
    pub(crate) fn result(&self, key: &ActionKey) -> Result<Option<ActionResult>, IndexError> {
        let transaction = self.database()?.begin_read()?;
        let table = transaction.open_table(RESULTS)?;
        let Some(row) = table.get(key.0.as_bytes().as_slice())? else {
            return Ok(None);
        };
        Ok(open_seal(key.0.as_bytes(), row.value())
            .and_then(|body| postcard::from_bytes(body).ok()))
    }

    /// Inline records' contents, in order; `None` for one that is gone or damaged.
    pub(crate) fn records(
        &self,
        keys: &[(RecordName, Digest)],
    ) -> Result<Vec<Option<Bytes>>, IndexError> {
        let transaction = self.database()?.begin_read()?;
        let table = transaction.open_table(RECORDS)?;
        keys.iter()
            .map(|(name, digest)| {
                let row = table.get(record_key(name, digest).as_slice())?;
                Ok(row
                    .map(|row| Bytes::copy_from_slice(row.value()))
                    .filter(|content| Digest::of(content) == *digest))
            })
            .collect()
    }
}

fn open_database(path: &Path) -> Result<Database, IndexError> {
    let database = Builder::new()
        .set_cache_size(PAGES)
        .set_check_integrity_on_open(true)
        .create(path)?;
    Ok(database)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it does not say why")
        .to_owned()
}

fn record_key(name: &RecordName, digest: &Digest) -> [u8; 2 * Digest::LEN] {
    let mut key = [0; 2 * Digest::LEN];
    key[..Digest::LEN].copy_from_slice(name.0.as_bytes());
    key[Digest::LEN..].copy_from_slice(digest.as_bytes());
    key
}

fn check(key: &[u8], body: &[u8]) -> [u8; CHECK] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    let mut check = [0; CHECK];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK]);
    check
}

fn seal(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut row = check(key, body).to_vec();
    row.extend_from_slice(body);
    row
}

fn open_seal<'a>(key: &[u8], row: &'a [u8]) -> Option<&'a [u8]> {
    let (stored, body) = row.split_at_checked(CHECK)?;
    (check(key, body) == stored).then_some(body)
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain values always encode")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, IndexError> {
    postcard::from_bytes(bytes).map_err(|_| IndexError::Row)
}

fn digest(bytes: &[u8]) -> Result<Digest, IndexError> {
    Digest::from_slice(bytes).ok_or(IndexError::Row)
}

fn load(database: &Database) -> Result<Loaded, IndexError> {
    // Opening a table for writing makes it where it is not there yet.
    let transaction = database.begin_write()?;
    let mut state = State::default();
    for row in transaction.open_table(BLOBS)?.iter()? {
        let (key, value) = row?;
        state.load_blob(digest(key.value())?, decode::<BlobFile>(value.value())?);
    }
    let mut members = HashMap::new();
    for row in transaction.open_table(TREES)?.iter()? {
        let (key, value) = row?;
        let blobs = value
            .value()
            .chunks(Digest::LEN)
            .map(digest)
            .collect::<Result<Arc<[Digest]>, _>>()?;
        members.insert(digest(key.value())?, blobs);
    }
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (key, value) = row?;
        let key = ActionKey(digest(key.value())?);
        state.load_result(key, decode(value.value())?, &members);
    }
    for row in transaction.open_table(LISTS)?.iter()? {
        let (key, value) = row?;
        state.load_list(RecordName(digest(key.value())?), decode(value.value())?);
    }
    transaction.open_table(RESULTS)?;
    transaction.open_table(RECORDS)?;
    let clean = transaction.open_table(STATE)?.get(CLEAN)?.is_some();
    transaction.commit()?;
    // Loading notes trees as new; the index has them.
    state.pending = crate::state::Pending::default();
    Ok(Loaded { state, clean })
}

fn put(
    table: &mut redb::Table<'_, &'static [u8], &'static [u8]>,
    key: &[u8],
    value: Option<Vec<u8>>,
) -> Result<(), IndexError> {
    match value {
        Some(value) => table.insert(key, value.as_slice())?,
        None => table.remove(key)?,
    };
    Ok(())
}

fn write_rows(database: &Database, rows: &Rows, clean: bool) -> Result<(), IndexError> {
    let mut transaction = database.begin_write()?;
    transaction
        .set_durability(Durability::Immediate)
        .map_err(|_| IndexError::Closed)?;
    {
        let mut blobs = transaction.open_table(BLOBS)?;
        for (key, file) in &rows.blobs {
            put(&mut blobs, key.as_bytes(), file.as_ref().map(encode))?;
        }
        let mut entries = transaction.open_table(ENTRIES)?;
        for (key, entry) in &rows.entries {
            put(&mut entries, key.0.as_bytes(), entry.as_ref().map(encode))?;
        }
        let mut results = transaction.open_table(RESULTS)?;
        for (key, result) in &rows.results {
            let bytes = key.0.as_bytes();
            let row = result
                .as_ref()
                .map(|result| seal(bytes, &encode(&**result)));
            put(&mut results, bytes, row)?;
        }
        let mut trees = transaction.open_table(TREES)?;
        for (key, members) in &rows.trees {
            let row = members.as_ref().map(|members| {
                let bytes = members.iter().flat_map(|digest| digest.as_bytes());
                bytes.copied().collect()
            });
            put(&mut trees, key.as_bytes(), row)?;
        }
        let mut lists = transaction.open_table(LISTS)?;
        for (key, list) in &rows.lists {
            put(&mut lists, key.0.as_bytes(), list.as_ref().map(encode))?;
        }
        let mut records = transaction.open_table(RECORDS)?;
        for ((name, digest), content) in &rows.records {
            let row = content.as_ref().map(|content| content.to_vec());
            put(&mut records, &record_key(name, digest), row)?;
        }
        if clean {
            transaction
                .open_table(STATE)?
                .insert(CLEAN, [].as_slice())?;
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_binds_content_to_its_key() {
        let row = seal(b"key", b"body");
        assert_eq!(open_seal(b"key", &row), Some(b"body".as_slice()));
        assert_eq!(open_seal(b"yek", &row), None);
        let mut flipped = row.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert_eq!(open_seal(b"key", &flipped), None);
        assert_eq!(open_seal(b"key", b"short"), None);
    }
}
