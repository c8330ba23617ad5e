//! The executor as a process: started, served, and ended in order.
//!
//! It ends when its owner's lifeline closes, on SIGTERM, SIGINT or SIGHUP, at once and with
//! every action; and when a newer build asks it to leave, once those who use it are gone.

use std::num::NonZeroUsize;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use vx_core::Executor;
use vx_core::size::{SizeError, parse_size};
use vx_rpc::daemon::{self, Lifeline, Ready};
use vx_rpc::{Endpoint, Handover, Hub, ListenError, Secret, SecretError, Server, ServerHandle};

use crate::engine::{Rhea, Settings, StartError};
use crate::memory::MemoryBounds;

/// The name under which the executor introduces itself.
const NAME: &str = "vx-rhea";

/// The variables that bound an action's memory and disk where the command line does not.
const MEMORY_VARIABLE: &str = "VX_RHEA_MEMORY";
const DISK_VARIABLE: &str = "VX_RHEA_DISK";

/// Run actions in isolation roots, for whoever has the secret.
#[derive(Clone, Debug, Parser)]
#[command(name = "vx-rhea", version = vx_rpc::BUILD)]
pub struct Arguments {
    /// Where to listen: unix:/path, an absolute path, tcp://host:port or host:port.
    #[arg(long, value_name = "ENDPOINT")]
    listen: Endpoint,

    /// The directory to work in, for this executor alone; made where it is not there.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// The file that holds the secret; made with a new one where it is not there.
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,

    /// How many programs may run at once [default: one per processor].
    #[arg(long, value_name = "N")]
    slots: Option<NonZeroUsize>,

    /// The memory that an action may have, such as 4G [default: the machine's, of which build
    /// scripts get a third; VX_RHEA_MEMORY].
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    memory: Option<u64>,

    /// What an action may write into its output directories, such as 20G [default: three
    /// quarters of what is free; VX_RHEA_DISK].
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    disk: Option<u64>,

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

/// Why the executor can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It can't start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A size that can't be meant.
    #[error("{MEMORY_VARIABLE}: {0}")]
    Memory(#[from] SizeError),
    /// The secret can't be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The endpoint can't be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
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
        .and_then(|()| {
            Lifeline::from_args(arguments.lifeline)
                .map_err(|error| ServeError::Io("--lifeline can't be used", error))
        })
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

fn failed(error: &ServeError) -> ExitCode {
    tracing::error!(%error, "vx-rhea ends");
    eprintln!("vx-rhea: {error}");
    ExitCode::FAILURE
}

/// Two threads: what they do is wait and hand on; files and hashing have threads of their own.
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
    let (rhea, server) = match start(arguments).await {
        Ok(started) => started,
        Err(error) => {
            ready.failed(&error.to_string());
            return Err(error);
        }
    };
    println!("listening on {}", server.endpoint());
    tracing::info!(endpoint = %server.endpoint(), dir = %arguments.dir.display(), "listening");
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
    tracing::info!(why, "ending");
    // Every action ends with the connection it was asked for on.
    server.shutdown().await;
    rhea.settle().await;
    Ok(())
}

async fn start(arguments: &Arguments) -> Result<(Arc<Rhea>, ServerHandle), ServeError> {
    raise_descriptor_limit();
    let mut settings = Settings::new(&arguments.dir);
    settings.slots = arguments.slots;
    let variable = std::env::var(MEMORY_VARIABLE).unwrap_or_default();
    if let Some(memory) = arguments.memory {
        settings.memory = MemoryBounds::of_all(memory);
    } else if !variable.is_empty() {
        settings.memory = MemoryBounds::of_all(parse_size(&variable)?);
    }
    let variable = std::env::var(DISK_VARIABLE).unwrap_or_default();
    settings.disk = match arguments.disk {
        None if !variable.is_empty() => Some(parse_size(&variable)?),
        given => given,
    };
    let rhea = Arc::new(Rhea::start(settings).await?);
    let secret = Secret::load_or_create(&arguments.secret_file)?;
    let hub = Hub::start(NAME, tokio::runtime::Handle::current())
        .map_err(|error| ServeError::Io("no thread can be had", error))?;
    let executor: Arc<dyn Executor> = rhea.clone();
    let server = Server::builder(NAME, arguments.listen.clone(), secret)
        .serve_executor(executor, hub, Handover::default())
        .start()
        .await?;
    Ok((rhea, server))
}

/// Pipes and streams of many actions need more descriptors than the usual soft limit of 1024
/// allows.
fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays low");
    }
}
