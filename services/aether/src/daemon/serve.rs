//! The program: arguments, serving, leaving.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use vx_core::orchestrator::settings_of;
use vx_rpc::daemon::{self, Lifeline, Ready};
use vx_rpc::{Endpoint, Hub, Secret, Server, ServerHandle};

use crate::daemon::aether::Aether;
use crate::daemon::services::{self, Services};

/// The most a log grows to, in bytes, before it is turned over.
const LOG_LIMIT: u64 = 8 * 1024 * 1024;

/// How long clients may take to read their answers when the last build is done.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// The orchestrator of vx. Started by `vx`; rarely by hand.
#[derive(Debug, Parser)]
#[command(name = "vx-aether", version)]
struct Arguments {
    /// The directory for sockets, logs and the store (`VX_HOME`).
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// Leave after so many seconds without a build or a client.
    #[arg(long, value_name = "SECONDS", default_value_t = 3 * 60 * 60)]
    idle: u64,
    /// Write the log to standard error.
    #[arg(long)]
    foreground: bool,
    /// End when this descriptor closes.
    #[arg(long, value_name = "FD", hide = true)]
    lifeline: Option<i32>,
    /// Say on this descriptor when ready, or why not.
    #[arg(long, value_name = "FD", hide = true)]
    ready_fd: Option<i32>,
}

/// Why the orchestrator can't serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A setting, the directory or the socket can't be used.
    #[error("{0}")]
    Setting(String),
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> ServeError {
    let what = what.into();
    move |source| ServeError::Io { what, source }
}

fn setting(error: impl std::fmt::Display) -> ServeError {
    ServeError::Setting(error.to_string())
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ready = match Ready::from_fd(arguments.ready_fd) {
        Ok(ready) => ready,
        Err(error) => return complain(&io("--ready-fd can't be used")(error)),
    };
    match run(&arguments, ready) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

fn complain(error: &ServeError) -> ExitCode {
    // Where standard error is gone there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::FAILURE
}

fn run(arguments: &Arguments, ready: Ready) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(io("the runtime can't be started"))?;
    let log = (!arguments.foreground).then(|| arguments.home.join("aether.log"));
    let result = runtime.block_on(async {
        match start(arguments, log.as_deref()).await {
            Ok(started) => {
                ready.ready();
                started.serve(arguments).await;
                Ok(())
            }
            Err(error) => {
                ready.failed(&error.to_string());
                Err(error)
            }
        }
    });
    // What still blocks a thread is of no use to anyone now.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

struct Started {
    aether: Arc<Aether>,
    server: ServerHandle,
    lifeline: Lifeline,
}

async fn start(arguments: &Arguments, log: Option<&Path>) -> Result<Started, ServeError> {
    let home = &arguments.home;
    if !home.is_absolute() {
        return Err(ServeError::Setting(format!(
            "--home must be an absolute path, not {}",
            home.display()
        )));
    }
    vx_rpc::directory::ensure_private(home).map_err(setting)?;
    daemon::init_log(log, LOG_LIMIT).map_err(io("the log can't be written"))?;
    let lifeline =
        Lifeline::from_args(arguments.lifeline).map_err(io("--lifeline can't be used"))?;
    let settings = settings_of(std::env::vars());
    let programs = std::env::current_exe()
        .map_err(io("the program's own place is unknown"))?
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default();
    let (cass, rhea) = services::places(home, &programs, &settings).map_err(setting)?;
    let hub = Hub::start("vx-aether", tokio::runtime::Handle::current())
        .map_err(io("the thread for connections can't be started"))?;
    let services = Services::new(hub, cass, rhea);
    let aether =
        Aether::new(home.join("aether"), Arc::clone(&services), std::env::vars()).map_err(io(
            format!("{} can't be used", home.join("aether").display()),
        ))?;
    let secret = Secret::load_or_create(&home.join("aether.secret")).map_err(setting)?;
    let endpoint = Endpoint::unix(home.join("aether.sock")).map_err(setting)?;
    let server = Server::builder("vx-aether", endpoint, secret)
        .serve_orchestrator(aether.clone())
        .start()
        .await
        .map_err(setting)?;
    // The first build finds the services there, or meets what is wrong with them.
    tokio::spawn(async move {
        if let Err(error) = services.warm().await {
            tracing::warn!(%error, "a service could not be started ahead of the first build");
        }
    });
    Ok(Started {
        aether,
        server,
        lifeline,
    })
}

impl Started {
    async fn serve(self, arguments: &Arguments) {
        let Self {
            aether,
            server,
            lifeline,
        } = self;
        let finished = tokio::select! {
            () = daemon::shutdown_signal() => {
                tracing::info!("told to end by a signal");
                false
            }
            () = lifeline.closed() => {
                tracing::info!("whoever started this is gone");
                false
            }
            () = drained(&aether, &server) => {
                tracing::info!("all builds are done");
                true
            }
            () = idle(&aether, &server, Duration::from_secs(arguments.idle)) => {
                tracing::info!("nothing to do for a long time");
                true
            }
        };
        aether.refuse_builds();
        if finished {
            // Clients still read the last answers; they close when they have them.
            let _ = tokio::time::timeout(LAST_ANSWERS, server.drain()).await;
        }
        server.shutdown().await;
        aether.end_services().await;
        aether.save();
    }
}

/// Returns when the process was asked to leave and no build is under way.
async fn drained(aether: &Aether, server: &ServerHandle) {
    let mut builds = aether.builds();
    loop {
        let done = aether.is_stopping() && *builds.borrow_and_update() == 0;
        if done {
            return;
        }
        tokio::select! {
            changed = builds.changed() => if changed.is_err() { return },
            () = server.drain_requested(), if !aether.is_stopping() => {
                aether.refuse_builds();
                // Who comes now waits for the lock, and then starts a successor.
                server.stop_accepting().await;
            }
        }
    }
}

/// Returns when there was neither a build nor a client for so long.
async fn idle(aether: &Aether, server: &ServerHandle, limit: Duration) {
    let mut builds = aether.builds();
    let mut clients = server.connections();
    loop {
        let busy = *builds.borrow_and_update() > 0 || *clients.borrow_and_update() > 0;
        tokio::select! {
            changed = builds.changed() => if changed.is_err() { return },
            changed = clients.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(limit), if !busy => return,
        }
    }
}
