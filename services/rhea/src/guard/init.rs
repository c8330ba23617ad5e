//! The first process of an action's PID namespace: builds the root, supervises the program,
//! and takes everything down with it when it ends.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, wait};
use vx_core::Exit;

use super::confine::Rights;
use super::control::Control;
use super::fault::Fault;
use super::ids::StandIn;
use super::root::Sources;
use super::spec::{BindAccess, Bounds, GuardSpec, Report, RootSpec};
use super::start::Calls;
use super::supervise::{Household, supervise};
use super::usage::Usage;
use super::{Jobs, confine, root};

/// Runs as the namespace's first process and ends the process.
pub(super) fn run(
    spec: &GuardSpec,
    root: &RootSpec,
    sources: Option<Sources>,
    control: &Control,
    jobs: Jobs,
    trace: &OwnedFd,
    started: Instant,
) -> ! {
    let report = match prepare(root, sources, spec.bounds) {
        Ok(()) => {
            let setup = started.elapsed();
            control.report(&Report::Ready { setup });
            match &spec.program {
                Some(program) => supervise(program, control, jobs, trace, household(spec, root)),
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

/// `sources` are there where this process is to become the action's user.
fn prepare(root: &RootSpec, sources: Option<Sources>, bounds: Bounds) -> Result<(), Fault> {
    let rights = match &sources {
        Some(sources) if sources.unshifted => Rights::OverRootsFiles,
        _ => Rights::None,
    };
    if sources.is_some() {
        StandIn::become_user()?;
    }
    // The guard is watched too, through the control socket, should it be gone before this takes
    // hold. A change of user would undo it.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    root::build(root, sources, bounds.memory)?;
    confine::identify(root.network)?;
    confine::leave_keyring();
    confine::bound_processes();
    root::seal()?;
    confine::drop_privileges(rights)?;
    confine::limits(bounds)
}

fn household(spec: &GuardSpec, root: &RootSpec) -> Household {
    let collected = root.binds.iter();
    let collected = collected.filter(|bind| bind.access == BindAccess::Writable);
    let collected = collected.map(|bind| bind.at.clone()).collect();
    Household {
        end: end_others,
        usage: Usage::new(spec.bounds, others, Some("/tmp"), collected),
        unwatched: Calls::Refused,
    }
}

/// Every process of the namespace but this one.
fn others() -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.flatten().filter_map(|entry| {
        let number: i32 = entry.file_name().to_str()?.parse().ok()?;
        Pid::from_raw(number)
    });
    pids.filter(|pid| !pid.is_init()).collect()
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
