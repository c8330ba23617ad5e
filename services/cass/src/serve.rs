//! The store as a process: opened, served, and closed in order.
//!
//! It ends when its owner's lifeline closes, on SIGTERM, SIGINT or SIGHUP, at once; and when a
//! newer build asks it to leave, once those who use it are gone.

use std::io::Write;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use vx_rpc::daemon::{self, Lifeline, Ready};
use vx_rpc::{Endpoint, ListenError, Secret, SecretError, Server, ServerHandle};

use crate::config::{CassConfig, ConfigError, parse_limit};
use crate::directory::OpenError;
use crate::service::{Cass, CloseError};

/// The name under which the store introduces itself.
const NAME: &str = "vx-cass";

/// The file in the store's directory that holds its secret.
const SECRET_FILE: &str = "secret";

/// Keep what builds produced, by content, for any number of them.
///
/// Whoever has the secret file can use the store: set VX_CASS to the endpoint and
/// VX_CASS_SECRET_FILE to the file.
#[derive(Clone, Debug, Parser)]
#[command(name = "vx-cass", version = vx_rpc::BUILD)]
pub struct Arguments {
    /// The directory that holds everything; made where it is not there.
    #[arg(long, value_name = "DIR")]
    store: PathBuf,

    /// Where to listen: unix:/path, an absolute path, tcp://host:port or host:port.
    #[arg(long, value_name = "ENDPOINT")]
    listen: Endpoint,

    /// The size to stay under, such as 20G [default: 20G or a tenth of the disk; VX_CASS_LIMIT].
    #[arg(long, value_name = "BYTES", value_parser = parse_limit)]
    limit: Option<u64>,

    /// Keep results of actions that ran where the kernel refuses to isolate them: whoever uses
    /// the store then trusts what such machines hold and run.
    #[arg(long)]
    accept_unisolated: bool,

    /// The file that holds the secret; made with a new one where it is not there [default:
    /// DIR/secret].
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,

    /// The log; standard error without it.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

    /// An inherited descriptor; its end of file ends this process.
    #[arg(long, value_name = "FD", hide = true)]
    lifeline: Option<RawFd>,

    /// An inherited descriptor that is told how the start went.
    #[arg(long, value_name = "FD", hide = true)]
    ready_fd: Option<RawFd>,
}

/// Why the store can't be served, or was not closed in order.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A variable can't be meant.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The directory can't be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The secret can't be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The endpoint can't be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The last checkpoint failed.
    #[error(transparent)]
    Close(#[from] CloseError),
    /// The process lacks something else.
    #[error("{0}: {1}")]
    Io(&'static str, std::io::Error),
}

/// The program: parses its arguments, serves, and says how it went.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ready = match Ready::from_fd(arguments.ready_fd) {
        Ok(ready) => ready,
        Err(error) => return failed(&ServeError::Io("--ready-fd can't be used", error)),
    };
    let started = daemon::init_log(arguments.log.as_deref(), daemon::LOG_LIMIT)
        .map_err(|error| ServeError::Io("the log can't be used", error))
        .and_then(|()| Lifeline::from_args(arguments.lifeline).map_err(no_lifeline))
        .and_then(|lifeline| Ok((lifeline, runtime()?)));
    let (lifeline, runtime) = match started {
        Ok(started) => started,
        Err(error) => {
            ready.failed(&error.to_string());
            return failed(&error);
        }
    };
    match runtime.block_on(serve(&arguments, lifeline, ready)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn no_lifeline(error: std::io::Error) -> ServeError {
    ServeError::Io("--lifeline can't be used", error)
}

fn failed(error: &ServeError) -> ExitCode {
    tracing::error!(%error, "vx-cass ends");
    let _unread = writeln!(std::io::stderr(), "vx-cass: {error}");
    ExitCode::FAILURE
}

/// Two threads: what they do is decode, wait and encode; file work has threads of its own.
fn runtime() -> Result<tokio::runtime::Runtime, ServeError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| ServeError::Io("no threads can be had", error))
}

async fn serve(arguments: &Arguments, lifeline: Lifeline, ready: Ready) -> Result<(), ServeError> {
    // In place before anyone learns of this process.
    let asked = daemon::shutdown_signal();
    let started = start(arguments).await;
    let (cass, server) = match started {
        Ok(started) => started,
        Err(error) => {
            ready.failed(&error.to_string());
            return Err(error);
        }
    };
    // Whoever started it may have closed the stream; it serves nevertheless.
    let _unread = writeln!(std::io::stdout(), "listening on {}", server.endpoint());
    tracing::info!(endpoint = %server.endpoint(), store = %arguments.store.display(), "listening");
    ready.ready();
    let drained = async {
        server.drain_requested().await;
        tracing::info!("asked to leave: finishing what is under way");
        server.drain().await;
    };
    let why = tokio::select! {
        () = lifeline.closed() => "its owner is gone",
        () = asked => "a signal",
        () = drained => "drained",
    };
    tracing::info!(why, "closing");
    server.shutdown().await;
    cass.close().await?;
    Ok(())
}

async fn start(arguments: &Arguments) -> Result<(Arc<Cass>, ServerHandle), ServeError> {
    raise_descriptor_limit();
    let mut config =
        CassConfig::new(&arguments.store).with_variables(|name| std::env::var(name).ok())?;
    if let Some(limit) = arguments.limit {
        config.limit = limit;
    }
    config.accept_unisolated = arguments.accept_unisolated;
    let secret_file = arguments
        .secret_file
        .clone()
        .unwrap_or_else(|| arguments.store.join(SECRET_FILE));
    let opened = tokio::task::spawn_blocking(move || {
        let cass = Cass::open(config)?;
        let secret = Secret::load_or_create(&secret_file)?;
        Ok::<_, ServeError>((cass, secret))
    });
    let (cass, secret) = opened
        .await
        .map_err(|error| ServeError::Io("the store can't be opened", error.into()))??;
    let server = Server::builder(NAME, arguments.listen.clone(), secret)
        .serve_store(cass.clone())
        .start()
        .await;
    match server {
        Ok(server) => Ok((cass, server)),
        Err(error) => {
            cass.close().await?;
            Err(error.into())
        }
    }
}

/// Streams and connections need more descriptors than the usual soft limit of 1024 allows.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays low");
    }
}
