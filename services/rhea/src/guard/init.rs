//! The first process of an action's PID namespace: builds the root, starts the program,
//! reaps, reports, and takes everything down with it when it ends.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, wait};
use vx_core::Exit;

use super::control::Control;
use super::fault::{Fault, Step};
use super::mounts::last_errno;
use super::spec::{GuardSpec, JOBS_READ, JOBS_WRITE, Program, Report};
use super::trace::{self, Watched};
use super::{Jobs, confine, root};

/// Runs as the namespace's first process and ends the process.
pub(super) fn run(
    spec: &GuardSpec,
    control: &Control,
    jobs: &Jobs,
    trace: &OwnedFd,
    started: Instant,
) -> ! {
    // The guard is watched too, through `control`, should it be gone before this takes hold.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let report = match prepare(spec) {
        Ok(()) => {
            let setup = started.elapsed();
            control.report(&Report::Ready { setup });
            match &spec.program {
                Some(program) => supervise(program, control, jobs, trace),
                None => Report::Ended {
                    exit: Exit::Code(0),
                    duration: std::time::Duration::ZERO,
                },
            }
        }
        Err(fault) => Report::Unable(fault.explain()),
    };
    control.report(&report);
    std::process::exit(0)
}

fn prepare(spec: &GuardSpec) -> Result<(), Fault> {
    root::build(spec)?;
    confine::identify(spec.network)?;
    confine::leave_keyring();
    confine::bound_processes();
    confine::drop_privileges()?;
    confine::limits(spec.memory)
}

fn supervise(program: &Program, control: &Control, jobs: &Jobs, trace: &OwnedFd) -> Report {
    match try_supervise(program, control, jobs, trace) {
        Ok(report) => report,
        Err(fault) => Report::NotStarted(fault.to_string()),
    }
}

fn try_supervise(
    program: &Program,
    control: &Control,
    jobs: &Jobs,
    trace: &OwnedFd,
) -> Result<Report, Fault> {
    let children = child_signals()?;
    let (watch, watched) = program.trace.clone().map(trace::pair).transpose()?.unzip();
    let started = Instant::now();
    // SAFETY: this process has one thread, so the child may do what the parent may.
    let child = unsafe { libc::fork() };
    let child = match child {
        0 => start(program, control, jobs, watched.as_ref()),
        pid => Pid::from_raw(pid)
            .filter(|_| pid > 0)
            .ok_or_else(last_errno)
            .step("fork")?,
    };
    drop(watched);
    if let Some(watch) = &watch {
        watch.answer()?;
    }
    super::silence();
    loop {
        let mut events = [
            PollFd::new(&children, PollFlags::IN),
            PollFd::from_borrowed_fd(control.as_fd(), PollFlags::RDHUP),
        ];
        match poll(&mut events, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).step("wait for the program"),
        }
        if !events[1].revents().is_empty() {
            std::process::exit(1);
        }
        drain(&children);
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
            end_others();
            if let Some(watch) = &watch {
                trace::write(&watch.trace(), trace).step("write the trace")?;
            }
            return Ok(Report::Ended { exit, duration });
        }
    }
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

/// A descriptor that is readable when a child changed state.
fn child_signals() -> Result<OwnedFd, Fault> {
    // SAFETY: the set is initialised by `sigemptyset` before it is used, and both it and the
    // returned descriptor are this function's own.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(last_errno()).step("block SIGCHLD");
        }
        let descriptor = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if descriptor < 0 {
            return Err(last_errno()).step("open a signal descriptor");
        }
        Ok(std::os::fd::FromRawFd::from_raw_fd(descriptor))
    }
}

fn drain(children: &OwnedFd) {
    let mut buffer = [0_u8; size_of::<libc::signalfd_siginfo>() * 8];
    while rustix::io::read(children, &mut buffer).is_ok_and(|read| read > 0) {}
}

/// Becomes the program; reports and ends the process where that fails.
fn start(program: &Program, control: &Control, jobs: &Jobs, watched: Option<&Watched>) -> ! {
    let Err(text) = execute(program, jobs, watched);
    control.report(&Report::NotStarted(text));
    // SAFETY: ends the process without running what a fork must not run twice.
    unsafe { libc::_exit(127) }
}

fn execute(
    program: &Program,
    jobs: &Jobs,
    watched: Option<&Watched>,
) -> Result<std::convert::Infallible, String> {
    reset_signals();
    rustix::process::chdir(program.cwd.as_str())
        .map_err(|error| format!("can't enter the working directory {}: {error}", program.cwd))?;
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDONLY,
        rustix::fs::Mode::empty(),
    )
    .map_err(|error| format!("can't open /dev/null: {error}"))?;
    install(null.as_raw_fd(), 0)?;
    // The control socket sits on descriptor 3 or above and closes when the program starts;
    // it must stay open until then, to report a failure.
    close_on_exec(3, JOBS_READ.cast_unsigned() - 1)?;
    install(jobs.read.as_raw_fd(), JOBS_READ)?;
    install(jobs.write.as_raw_fd(), JOBS_WRITE)?;
    close_on_exec(JOBS_WRITE.cast_unsigned() + 1, u32::MAX)?;
    let path = find(program);
    let argv = c_strings(program.argv.iter().map(String::as_str))?;
    let env: Vec<String> = program
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let env = c_strings(env.iter().map(String::as_str))?;
    let c_path = CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    let argv = pointers(&argv);
    let env = pointers(&env);
    if let Some(watched) = watched {
        watched.start()?;
    }
    // SAFETY: the path and both lists are NUL-terminated and outlive the call.
    unsafe { libc::execve(c_path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    Err(format!("can't start {}: {}", path.display(), last_errno()))
}

/// The program's file: its path, or where `PATH` has its name.
fn find(program: &Program) -> PathBuf {
    let name = program.argv.first().map_or("", String::as_str);
    if name.contains('/') {
        return PathBuf::from(name);
    }
    let path = program.env.iter().find(|(key, _)| key == "PATH");
    path.map_or("", |(_, value)| value.as_str())
        .split(':')
        .map(|directory| Path::new(directory).join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| PathBuf::from(name))
}

/// Programs expect the default dispositions; Rust's runtime ignores SIGPIPE.
fn reset_signals() {
    // SAFETY: no handler is installed, and the set is initialised before it is used.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

fn install(from: i32, to: i32) -> Result<(), String> {
    // SAFETY: no pointers; this process is about to be replaced and owns its descriptors.
    if unsafe { libc::dup2(from, to) } < 0 {
        return Err(format!("can't hand on a descriptor: {}", last_errno()));
    }
    Ok(())
}

fn close_on_exec(first: u32, last: u32) -> Result<(), String> {
    // SAFETY: no pointers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            last,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(format!("can't close descriptors: {}", last_errno()))
    }
}

fn c_strings<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<CString>, String> {
    texts
        .map(|text| CString::new(text).map_err(|_| format!("{text:?} holds a NUL byte")))
        .collect()
}

fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    texts
        .iter()
        .map(|text| text.as_ptr())
        .chain(std::iter::once(std::ptr::null()))
        .collect()
}
