//! Programs that run on the host as it is, and are watched: what a plan is made with.
//!
//! They are no actions: nothing is given to them or kept of them, and they wait neither for a
//! token of the jobserver nor for room among actions, because a build can't even start without
//! what they say.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use vx_core::readset::Trace;
use vx_core::{HostEnd, HostProgram, Observer, OutputStream, ServiceError};

use crate::attend::attend;
use crate::engine::Engine;
use crate::fault::{Stop, Tried};
use crate::guard::spec::{Ground, GuardSpec, Program, Report};
use crate::guard::trace::{self, Reach, Scope, Writes};
use crate::spawner::Guarded;
use crate::streams::Pump;

/// How many run at once; a plan needs a handful, and each is a few processes.
pub(crate) const AT_ONCE: usize = 64;

/// Runs a program to its end; it and all it started are gone afterwards.
pub(crate) async fn run(
    engine: &Engine,
    program: HostProgram,
    observer: Arc<dyn Observer>,
    cancelled: &CancellationToken,
) -> Result<HostEnd, Stop> {
    let _room = tokio::select! {
        room = engine.on_host.acquire() => room,
        () = cancelled.cancelled() => return Err(Stop::Cancelled),
    };
    let fault = engine.bare.as_ref().map(|bare| bare.trace_fault.clone());
    let fault = fault.filter(|fault| !fault.is_empty());
    let label = program.argv.first().cloned().unwrap_or_default();
    let spec = GuardSpec {
        ground: Ground::Host,
        bounds: engine.bounds.of_compiles(),
        program: Some(Program {
            trace: fault.is_none().then(|| scope(&program)),
            argv: program.argv,
            env: program.env,
            cwd: program.cwd,
        }),
    };
    let guarded = engine.spawner.spawn(&spec, &engine.jobs).await;
    let Guarded {
        process,
        mut control,
        stdout,
        stderr,
        trace: seen,
    } = guarded.tried("start a guard")?;
    let ended = CancellationToken::new();
    let out = Pump::text(OutputStream::Stdout, Arc::clone(&observer));
    let err = Pump::text(OutputStream::Stderr, observer);
    let charge = engine.meter.charge(&label);
    let attended = async {
        tokio::try_join!(
            attend(&mut control, &process, &charge, &ended),
            out.run(stdout, &ended),
            err.run(stderr, &ended),
        )
    };
    let finished = tokio::select! {
        finished = attended => finished,
        () = cancelled.cancelled() => Err(Stop::Cancelled),
    };
    // Closing the socket is the order to end everything.
    drop(control);
    process.end().await.tried("wait for a guard")?;
    match finished?.0 {
        Some(Report::Ended { exit, .. }) => Ok(HostEnd::Ran {
            exit,
            trace: match fault {
                None => trace::read(&seen).tried("read what the guard saw")?,
                Some(fault) => Trace {
                    incomplete: Some(fault),
                    ..Trace::default()
                },
            },
        }),
        Some(
            Report::Unable { reason, .. }
            | Report::NotStarted(reason)
            | Report::Exceeded { what: reason, .. },
        ) => Ok(HostEnd::Unable(reason)),
        Some(Report::Ready { .. } | Report::Alive { .. }) | None => {
            Err(Stop::Service(ServiceError::Failed(format!(
                "what guards {label} ended without a report; it may have been killed, for example \
             because memory ran out"
            ))))
        }
    }
}

/// Everything on the host counts but what the caller knows to be nobody's input.
fn scope(program: &HostProgram) -> Scope {
    Scope {
        checkout: None,
        toolchain: None,
        writes: Writes::Stay,
        own: program.nobodys.clone(),
        hidden: Vec::new(),
        host: Reach::Everything,
        watched: Vec::new(),
        given: None,
    }
}
