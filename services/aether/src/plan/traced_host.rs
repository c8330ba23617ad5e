//! The host for planning: programs are run by the executor, which watches them, and never by this
//! process.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use vx_core::error::{ServiceError, ServiceResult};
use vx_core::readset::{Observed, Read, ReadKind, ReadPlace};
use vx_core::{HostEnd, HostProgram, Observer, Output, OutputStream};
use vx_plan::{Outside, Ran};

use crate::host::observe::{Places, observe};
use crate::host::stat_cache::StatCache;
use crate::session::Session;

/// The most that a program may write to one stream, in bytes; the executor passes on no more.
const MOST_WRITTEN: usize = 128 * 1024 * 1024;

/// The host, as a build's session reaches it.
pub(crate) struct Watched {
    session: Arc<dyn Session>,
    cache: Arc<StatCache>,
    runtime: Handle,
    /// Ends programs whose plan nobody waits for any more.
    given_up: CancellationToken,
    /// Why a program could not be run by no fault of its own.
    fault: Mutex<Option<ServiceError>>,
}

impl Watched {
    /// The host; must be made within a runtime.
    pub(crate) fn new(
        session: Arc<dyn Session>,
        cache: Arc<StatCache>,
        given_up: CancellationToken,
    ) -> Self {
        Self {
            session,
            cache,
            runtime: Handle::current(),
            given_up,
            fault: Mutex::default(),
        }
    }

    /// Why a program could not be run by no fault of its own, if that happened.
    pub(crate) fn fault(&self) -> Option<ServiceError> {
        let fault = self.fault.lock();
        fault.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Outside for Watched {
    fn run(&self, program: HostProgram) -> Result<Ran, String> {
        let written = Arc::new(Written::default());
        let running = self.session.run_on_host(program, written.clone());
        // Called from threads that may block: those that plan.
        let ended = self.runtime.block_on(async {
            tokio::select! {
                ended = running => ended,
                () = self.given_up.cancelled() => Err(ServiceError::failed("the build was given up")),
            }
        });
        let ended = ended.map_err(|error| {
            let text = error.to_string();
            *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            text
        });
        match ended? {
            HostEnd::Unable(reason) => Err(reason),
            HostEnd::Ran { exit, trace } => {
                let mut streams = written.0.lock().unwrap_or_else(PoisonError::into_inner);
                let (stdout, stderr) = std::mem::take(&mut *streams);
                Ok(Ran {
                    exit,
                    stdout,
                    stderr,
                    trace,
                })
            }
        }
    }

    fn observe(&self, path: &str, kind: ReadKind) -> io::Result<Observed> {
        let read = Read {
            place: ReadPlace::Host(path.to_owned()),
            kind,
        };
        observe(&self.cache, &nowhere(), &read).map(|observation| observation.observed)
    }
}

/// Places for looks by absolute paths, of which nothing is hidden.
fn nowhere() -> Places {
    Places {
        checkout: "/vx".into(),
        cargo_home: "/vx".into(),
        sysroot: "/vx".into(),
        hidden: Vec::new(),
        unlisted: Vec::new(),
        repository: Vec::new(),
        relative_repository: false,
        named: Vec::new(),
        visibility: None,
    }
}

/// What a program wrote.
#[derive(Default)]
struct Written(Mutex<(Vec<u8>, Vec<u8>)>);

#[async_trait]
impl Observer for Written {
    async fn wrote(&self, stream: OutputStream, bytes: Bytes) -> ServiceResult<()> {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let to = match stream {
            OutputStream::Stdout => &mut streams.0,
            OutputStream::Stderr => &mut streams.1,
        };
        if to.len() + bytes.len() > MOST_WRITTEN {
            return Err(ServiceError::failed("a program wrote too much"));
        }
        to.extend_from_slice(&bytes);
        Ok(())
    }

    async fn stored(&self, _: Output) -> ServiceResult<()> {
        Ok(())
    }
}
