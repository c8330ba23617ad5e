//! The store as its users and its RPC front see it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use vx_core::{
    GrantId, Holder, Results, ServiceError, ServiceResult, Store, StoreService, StoreStatus,
};

use crate::config::CassConfig;
use crate::directory::{Directory, INDEX, OpenError};
use crate::index::{Index, Loaded};
use crate::keeper;
use crate::limits::{MAX_GRANTS, MAX_LABEL, MAX_STREAMS};
use crate::pool::Pool;
use crate::results::GrantResults;
use crate::shared::{Shared, lock};
use crate::stamp::Clock;
use crate::state::{Grant, Held};
use crate::store::GrantStore;

/// An open store. [`Cass::close`] ends it in order; dropping it is as if its process had died.
pub struct Cass {
    shared: Arc<Shared>,
    /// Those of an open store; nothing once it is closed.
    threads: Mutex<Option<Vec<JoinHandle<()>>>>,
}

/// Why a store could not be closed in order. The next start counts its blobs anew and may miss
/// what was published last.
#[derive(Debug, thiserror::Error)]
#[error("the store's index can't be written: {0}")]
pub struct CloseError(String);

impl Cass {
    /// Opens the store of `config`, making it where there is none. Does file work: not for
    /// threads that answer calls.
    ///
    /// # Errors
    /// When the directory can't be used, is another version's, or is held by another process.
    pub fn open(config: CassConfig) -> Result<Arc<Self>, OpenError> {
        let directory = Directory::open(&config.directory)?;
        let io = |action: &str| {
            let (action, directory) = (action.to_owned(), directory.path.clone());
            move |source: std::io::Error| OpenError::Io {
                directory,
                action,
                source,
            }
        };
        let probe = tempfile_in(&directory).map_err(io("make a temporary file"))?;
        let clock = Clock::probe(&probe).map_err(io("look at its clock"))?;
        let (index, loaded) = open_index(&directory)?;
        let mut state = loaded.state;
        if !loaded.clean {
            keeper::reconcile(&directory, &mut state).map_err(io("count its blobs"))?;
        }
        // Two threads a core: half of them wait for the disk.
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let pool = Pool::start((2 * cores).clamp(4, 16)).map_err(io("start threads"))?;
        let start_failed = io("start threads");
        let shared = Arc::new(Shared {
            config,
            directory,
            clock,
            user: rustix::process::geteuid().as_raw(),
            state: Mutex::new(state),
            shards: (0..256).map(|_| Mutex::new(())).collect(),
            hashing: crate::shared::Hashing::default(),
            index,
            pool,
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            claims: crate::claims::Claims::default(),
            counters: crate::shared::Counters::default(),
            keeper: crate::shared::Signal::default(),
            evictor: crate::shared::Signal::default(),
            checkpointing: Mutex::new(()),
            checkpointed: tokio::sync::Notify::new(),
        });
        let threads = [
            keeper::start(&shared, "cass-keeper", Shared::keep_checkpoints),
            keeper::start(&shared, "cass-evictor", Shared::evict_when_over),
        ]
        .into_iter()
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(start_failed)?;
        shared.keeper.wake();
        // A limit may be lower than at the last start.
        shared.evictor.wake();
        Ok(Arc::new(Self {
            shared,
            threads: Mutex::new(Some(threads)),
        }))
    }

    /// Finishes what is under way, refuses what comes, and writes everything down. Closing
    /// again does nothing.
    ///
    /// # Errors
    /// When the index can't be written.
    pub async fn close(&self) -> Result<(), CloseError> {
        let Some(threads) = lock(&self.threads).take() else {
            return Ok(());
        };
        let shared = Arc::clone(&self.shared);
        let (done, told) = tokio::sync::oneshot::channel();
        let close = move || {
            halt(&shared, threads);
            let written = shared.checkpoint(true);
            shared.index.close();
            shared.directory.unlock();
            drop(done.send(written));
        };
        std::thread::Builder::new()
            .name("cass-close".to_owned())
            .spawn(close)
            .map_err(|error| CloseError(error.to_string()))?;
        match told.await {
            Ok(written) => written.map_err(|error| CloseError(error.to_string())),
            Err(_) => Err(CloseError("it failed on the way".to_owned())),
        }
    }

    /// Returns when everything published so far would survive a power cut.
    ///
    /// # Errors
    /// When the index can't be written.
    pub async fn settle(&self) -> ServiceResult<()> {
        let shared = Arc::clone(&self.shared);
        self.shared
            .pool
            .run(move || shared.checkpoint(false))
            .await?
            .map_err(|error| ServiceError::Failed(format!("the index can't be written: {error}")))
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    fn find_grant(&self, grant: GrantId) -> Arc<Grant> {
        let state = self.shared.state();
        match state.grants.get(&grant) {
            Some(held) => Arc::clone(&held.grant),
            None => Arc::new(Grant::new(grant, String::new(), true)),
        }
    }
}

/// Ends the threads; what was under way is finished.
fn halt(shared: &Shared, threads: Vec<JoinHandle<()>>) {
    shared.pool.stop();
    shared.keeper.stop();
    shared.evictor.stop();
    for thread in threads {
        // A panic in it was reported where it happened.
        drop(thread.join());
    }
    // Nobody writes for those who wait any more.
    shared.checkpointed.notify_waiters();
}

impl Drop for Cass {
    fn drop(&mut self) {
        let Some(threads) = lock(&self.threads).take() else {
            return;
        };
        halt(&self.shared, threads);
        self.shared.index.close();
        self.shared.directory.unlock();
    }
}

fn tempfile_in(directory: &Directory) -> std::io::Result<std::fs::File> {
    use rustix::fs::{AtFlags, Mode, OFlags};
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&directory.tmp, "probe", flags, Mode::from_raw_mode(0o600))?;
    rustix::fs::unlinkat(&directory.tmp, "probe", AtFlags::empty())?;
    Ok(file.into())
}

/// Opens the index; one that can't be read is set aside, and an empty one takes its place: the
/// blobs are still there, and only results are lost.
fn open_index(directory: &Directory) -> Result<(Index, Loaded), OpenError> {
    let path = directory.path.join(INDEX);
    let first = match Index::open(&path) {
        Ok(opened) => return Ok(opened),
        Err(error) => error,
    };
    let fail = |action: &str, source: std::io::Error| OpenError::Io {
        directory: directory.path.clone(),
        action: action.to_owned(),
        source,
    };
    if let crate::index::IndexError::Database(error) = &first
        && matches!(**error, redb::Error::DatabaseAlreadyOpen)
    {
        return Err(OpenError::InUse {
            directory: directory.path.clone(),
            holder: None,
        });
    }
    if let crate::index::IndexError::Database(error) = &first
        && let redb::Error::Io(io) = &**error
        && io.kind() != std::io::ErrorKind::InvalidData
        && io.kind() != std::io::ErrorKind::UnexpectedEof
    {
        let source = std::io::Error::new(io.kind(), io.to_string());
        return Err(fail("open its index", source));
    }
    tracing::error!(
        error = %first,
        "the store's index can't be read; it is set aside and results are lost, blobs are not"
    );
    let aside = directory.path.join("aside").join(format!(
        "{INDEX}-{}",
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |time| time.as_nanos())
    ));
    std::fs::rename(&path, aside).map_err(|error| fail("set its index aside", error))?;
    if let Err(error) = crate::blobs::prune_aside(&directory.aside) {
        tracing::warn!(%error, "files set aside can't be counted");
    }
    Index::open(&path).map_err(|error| fail("make a new index", std::io::Error::other(error)))
}

#[async_trait]
impl StoreService for Cass {
    async fn grant(&self, label: String) -> ServiceResult<GrantId> {
        if label.len() > MAX_LABEL {
            return Err(ServiceError::Invalid(format!(
                "a grant's label of {} bytes is over the limit of {MAX_LABEL}",
                label.len()
            )));
        }
        let mut state = self.shared.state();
        if state.grants.len() >= MAX_GRANTS {
            return Err(ServiceError::Overloaded(format!(
                "{MAX_GRANTS} grants are in force already"
            )));
        }
        state.last_grant += 1;
        let id = GrantId(state.last_grant);
        let held = Held {
            grant: Arc::new(Grant::new(id, label, false)),
            blobs: std::collections::HashSet::new(),
            lists: std::collections::HashSet::new(),
        };
        state.grants.insert(id, held);
        Ok(id)
    }

    async fn release(&self, grant: GrantId) {
        let over = {
            let mut state = self.shared.state();
            let label = state
                .grants
                .get(&grant)
                .map(|held| held.grant.label.clone());
            if !state.end_grant(grant) {
                return;
            }
            tracing::debug!(label, "a grant ended");
            self.shared.is_over(&state)
        };
        self.shared.claims.release_all(grant);
        if over {
            self.shared.evictor.wake();
        }
    }

    fn store(&self, grant: GrantId, holder: Holder) -> Arc<dyn Store> {
        Arc::new(GrantStore {
            shared: Arc::clone(&self.shared),
            grant: self.find_grant(grant),
            holder,
        })
    }

    fn results(&self, grant: GrantId) -> Arc<dyn Results> {
        Arc::new(GrantResults {
            shared: Arc::clone(&self.shared),
            grant: self.find_grant(grant),
        })
    }

    async fn status(&self) -> ServiceResult<StoreStatus> {
        let state = self.shared.state();
        let counters = &self.shared.counters;
        Ok(StoreStatus {
            directory: self.shared.directory.path.display().to_string(),
            blobs: state.files,
            bytes: state.bytes,
            limit: self.shared.config.limit,
            results: state.results.len() as u64,
            grants: state.grants.len() as u64,
            set_aside: counters.set_aside.load(Ordering::Relaxed),
            linked: counters.linked.load(Ordering::Relaxed),
            copied: counters.copied.load(Ordering::Relaxed),
            accepts_unisolated: self.shared.config.accept_unisolated,
        })
    }
}
