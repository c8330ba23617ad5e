//! What both kinds of guard do with the program: start it, answer its trace, reap, report, and
//! see to it that nothing it started outlives it.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, wait};
use vx_core::Exit;

use super::Jobs;
use super::control::{Control, Heard};
use super::fault::{Fault, Step};
use super::mounts::last_errno;
use super::spec::{Program, Report};
use super::start::{Calls, start};
use super::trace;
use super::usage::Usage;

/// What a guard knows of what the program started.
pub(super) struct Household {
    /// Ends all of it and waits until it is gone.
    pub(super) end: fn(),
    /// What it uses.
    pub(super) usage: Usage,
    /// What becomes of its system calls where nothing watches it.
    pub(super) unwatched: Calls<'static>,
}

/// Runs the program to its end, and says how it went.
pub(super) fn supervise(
    program: &Program,
    control: &Control,
    jobs: Jobs,
    trace: &OwnedFd,
    mut household: Household,
) -> Report {
    match try_supervise(program, control, jobs, trace, &mut household) {
        Ok(report) => report,
        Err(fault) => {
            (household.end)();
            Report::NotStarted(fault.to_string())
        }
    }
}

fn try_supervise(
    program: &Program,
    control: &Control,
    jobs: Jobs,
    trace: &OwnedFd,
    household: &mut Household,
) -> Result<Report, Fault> {
    let signals = signals()?;
    let parent = rustix::process::getppid();
    let (watch, watched) = program.trace.clone().map(trace::pair).transpose()?.unzip();
    let started = Instant::now();
    // SAFETY: this process has one thread, so the child may do what the parent may.
    let child = unsafe { libc::fork() };
    let child = match child {
        0 => {
            // The guard may be killed by itself.
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            let calls = watched.as_ref().map_or(household.unwatched, Calls::Watched);
            start(program, control, &jobs, calls)
        }
        pid => Pid::from_raw(pid)
            .filter(|_| pid > 0)
            .ok_or_else(last_errno)
            .step("fork")?,
    };
    drop((watched, jobs));
    if let Some(watch) = &watch {
        watch.answer()?;
    }
    super::silence();
    loop {
        let mut events = [
            PollFd::new(&signals, PollFlags::IN),
            PollFd::from_borrowed_fd(control.as_fd(), PollFlags::IN | PollFlags::RDHUP),
        ];
        match poll(&mut events, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).step("wait for the program"),
        }
        drain(&signals);
        // The signal is only what wakes: anybody may send it.
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        if events[1].revents().intersects(gone) || rustix::process::getppid() != parent {
            (household.end)();
            std::process::exit(1);
        }
        if let Err(what) = answer(control, household) {
            let duration = started.elapsed();
            (household.end)();
            return Ok(Report::Exceeded { what, duration });
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid != child {
                continue;
            }
            let exit = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => continue,
            };
            let duration = started.elapsed();
            (household.end)();
            if let Some(watch) = &watch {
                trace::write(&watch.trace(), trace).step("write the trace")?;
            }
            return Ok(Report::Ended { exit, duration });
        }
    }
}

/// Answers what the executor asked; `Err` is why everything has to end.
fn answer(control: &Control, household: &mut Household) -> Result<(), String> {
    match control.heard() {
        Heard::Nothing => Ok(()),
        Heard::Order(why) => Err(why),
        Heard::Question => {
            control.report(&household.usage.measure()?);
            Ok(())
        }
    }
}

/// What wakes a guard whose executor is gone, beside the control socket's end.
pub(super) const ORPHANED: Signal = Signal::TERM;

/// A descriptor that is readable when a child changed state, or the executor is gone.
fn signals() -> Result<OwnedFd, Fault> {
    // SAFETY: the set is initialised by `sigemptyset` before it is used, and both it and the
    // returned descriptor are this function's own.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigaddset(&raw mut set, ORPHANED.as_raw());
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(last_errno()).step("block signals");
        }
        let descriptor = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if descriptor < 0 {
            return Err(last_errno()).step("open a signal descriptor");
        }
        Ok(std::os::fd::FromRawFd::from_raw_fd(descriptor))
    }
}

fn drain(signals: &OwnedFd) {
    let mut buffer = [0_u8; size_of::<libc::signalfd_siginfo>() * 8];
    while rustix::io::read(signals, &mut buffer).is_ok_and(|read| read > 0) {}
}
