//! Becoming the program: descriptors, signals, and `exec`.

use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Jobs;
use super::control::Control;
use super::mounts::last_errno;
use super::spec::{JOBS_READ, JOBS_WRITE, Program, Report};
use super::trace::{self, Watched};

/// What becomes of a program's system calls.
#[derive(Clone, Copy)]
pub(super) enum Calls<'a> {
    /// They are told, and some are refused.
    Watched(&'a Watched),
    /// The same are refused, and none is told.
    Refused,
    /// All are made.
    Free,
}

/// Becomes the program; reports and ends the process where that fails.
pub(super) fn start(program: &Program, control: &Control, jobs: &Jobs, calls: Calls<'_>) -> ! {
    let Err(text) = execute(program, jobs, calls);
    control.report(&Report::NotStarted(text));
    // SAFETY: ends the process without running what a fork must not run twice.
    unsafe { libc::_exit(127) }
}

fn execute(
    program: &Program,
    jobs: &Jobs,
    calls: Calls<'_>,
) -> Result<std::convert::Infallible, String> {
    reset_signals();
    // A signal to its group is none to its guard.
    rustix::process::setpgid(None, None)
        .map_err(|error| format!("can't make a process group: {error}"))?;
    // Nothing else runs yet that could look.
    super::confine::open_memory()
        .map_err(|error| format!("can't open the program's memory to its guard: {error}"))?;
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
    match calls {
        Calls::Watched(watched) => watched.start()?,
        Calls::Refused => trace::refuse()?,
        Calls::Free => {}
    }
    super::confine::open_fewer_files()
        .map_err(|error| format!("can't limit the program's open files: {error}"))?;
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
