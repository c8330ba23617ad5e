//! The first process of an action's PID namespace: builds the root, supervises the program,
//! and takes everything down with it when it ends.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::{Signal, WaitOptions, wait};
use vx_core::Exit;

use super::control::Control;
use super::fault::Fault;
use super::spec::{GuardSpec, Report, RootSpec};
use super::supervise::supervise;
use super::{Jobs, confine, root};

/// Runs as the namespace's first process and ends the process.
pub(super) fn run(
    spec: &GuardSpec,
    root: &RootSpec,
    control: &Control,
    jobs: &Jobs,
    trace: &OwnedFd,
    started: Instant,
) -> ! {
    // The guard is watched too, through `control`, should it be gone before this takes hold.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let report = match prepare(root, spec.memory) {
        Ok(()) => {
            let setup = started.elapsed();
            control.report(&Report::Ready { setup });
            match &spec.program {
                Some(program) => supervise(program, control, jobs, trace, end_others),
                None => Report::Ended {
                    exit: Exit::Code(0),
                    duration: Duration::ZERO,
                },
            }
        }
        Err(fault) => fault.report(fault.explain()),
    };
    control.report(&report);
    std::process::exit(0)
}

fn prepare(root: &RootSpec, memory: u64) -> Result<(), Fault> {
    root::build(root)?;
    confine::identify(root.network)?;
    confine::leave_keyring();
    confine::bound_processes();
    confine::drop_privileges()?;
    confine::limits(memory)
}

/// Ends whatever the program left running and waits until all of it is gone: this process is
/// the parent of every orphan in its namespace. So a report of the end is about everything,
/// and nobody has to wait until the kernel has taken the namespaces down.
fn end_others() {
    // SAFETY: no pointers. In a PID namespace, -1 is every process in it but the first.
    unsafe { libc::kill(-1, libc::SIGKILL) };
    loop {
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
