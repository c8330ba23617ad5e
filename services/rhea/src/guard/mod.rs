//! The guard: a process per action, between the executor and what it runs.
//!
//! The executor's binary starts itself again with [`ARGUMENT`]; mounts can't be set up safely
//! between the fork and the exec of a process with threads. Nothing here knows what the program
//! is or where its files come from.
//!
//! On most kernels the guard enters new namespaces ([`isolated`]) and forks their first process,
//! [`init`], which builds the root, drops every privilege and starts the program. Where the
//! kernel refuses that, the guard itself is the program's parent on the host ([`bare`]). What
//! both do with the program is [`supervise`].
//!
//! Three things end an isolated action, each alone enough: the control socket closes (the
//! executor cancels or is gone), the parent-death signals from executor to guard to first
//! process, and the kernel, which kills a PID namespace whose first process ends. Of a bare one
//! the guard ends every descendant by itself, when the socket closes or at the signal. Either
//! guard ends only after everything it guards has.

use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use self::control::Control;
use self::fault::{Fault, Step};
use self::spec::{Ground, GuardSpec, Report};

mod bare;
mod confine;
pub(crate) mod control;
mod fault;
mod ids;
mod init;
mod isolated;
mod mounts;
mod root;
pub(crate) mod spec;
mod start;
mod supervise;
pub(crate) mod trace;
mod usage;

/// The first argument of an executor's binary that is to be a guard.
pub(crate) const ARGUMENT: &str = "guard";

/// The jobserver's ends.
pub(crate) struct Jobs {
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
}

/// Becomes a guard and ends the process, if this process was started as one.
///
/// Must be the first thing a binary that starts guards does: the process must have one thread.
pub fn enter_if_asked() {
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|first| first == ARGUMENT) {
        run();
    }
}

fn run() -> ! {
    let started = Instant::now();
    // SAFETY: the executor starts guards with the control socket as their standard input, and
    // nothing else in this process uses it. It is duplicated so that descriptor 0 can be
    // given away.
    let socket = unsafe { UnixStream::from_raw_fd(0) };
    let Ok(control) = socket.try_clone().map(Control::new) else {
        std::process::exit(2);
    };
    std::mem::forget(socket);
    if let Err(report) = guard(&control, started) {
        control.report(&report);
        std::process::exit(2);
    }
    std::process::exit(0)
}

fn guard(control: &Control, started: Instant) -> Result<(), Report> {
    let orders = orders(control);
    let (spec, trace, jobs) = orders.map_err(|fault| Report::NotStarted(fault.to_string()))?;
    // A terminal's signals must not reach actions.
    let _ = rustix::process::setsid();
    match &spec.ground {
        Ground::Root(root) => isolated::guard(&spec, root, control, jobs, trace, started)
            .map_err(|fault| fault.report(fault.explain())),
        Ground::Host => bare::guard(&spec, control, jobs, &trace, started)
            .map_err(|fault| fault.report(format!("can't guard an action: {fault}"))),
    }
}

fn orders(control: &Control) -> Result<(GuardSpec, OwnedFd, Jobs), Fault> {
    let (spec, trace, jobs) = control.receive().step("receive the guard's orders")?;
    let spec = GuardSpec::read(File::from(spec)).step("read the guard's orders")?;
    Ok((spec, trace, jobs))
}

/// Gives up the program's output pipes, so that they end with the program.
fn silence() {
    // SAFETY: no memory is involved; the descriptors are this process's own.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        if null >= 0 {
            libc::dup2(null, 0);
            libc::dup2(null, 1);
            libc::dup2(null, 2);
        }
    }
}
