//! The life of a daemon: how it is started, says that it is ready, logs, and ends.
//!
//! A parent starts a daemon with [`spawn`] and gives it two descriptors and nothing else: the
//! read end of a *lifeline*, which reports the end of file when the parent is gone by whatever
//! way, and the write end of a *ready* pipe. The kernel's parent-death signal would follow the
//! thread that spawned, not the process, so it is not used. Nothing here waits by sleeping.
//!
//! This module must not know what the daemons do.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Mutex;

use rustix::io::FdFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The option that carries the lifeline's descriptor to a daemon.
pub const LIFELINE_OPTION: &str = "--lifeline";

/// The option that carries the ready pipe's descriptor to a daemon.
pub const READY_OPTION: &str = "--ready-fd";

/// The variable that says what is logged, in `tracing`'s filter language.
pub const LOG_VARIABLE: &str = "VX_LOG";

/// The variable that tells a daemon the path of the log it was given, so that it can keep it
/// bounded.
pub const LOG_FILE_VARIABLE: &str = "VX_LOG_FILE";

/// A log's size before it is rotated, in bytes; one older file is kept beside it. Enough for
/// days of warnings, small enough not to matter on a disk.
pub const LOG_LIMIT: u64 = 4 * 1024 * 1024;

/// How much of a daemon's report of its failure is read, in bytes: an error text, not a dump.
const MAX_READY_TEXT: usize = 16 * 1024;

/// How much of the end of a log an error shows, in bytes: a screenful.
const LOG_TAIL: u64 = 4 * 1024;

/// What a daemon writes to its ready pipe when it serves.
const READY_LINE: &str = "ready";

/// What a daemon's report of its failure starts with.
const FAILED_PREFIX: &str = "failed: ";

/// Takes over a descriptor that was inherited by number, and keeps it from children.
fn adopt(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor <= 2 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("descriptor {descriptor} is one of the standard ones, not an inherited pipe"),
        ));
    }
    // SAFETY: F_GETFD only asks whether the number names an open descriptor.
    if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and by the convention of `spawn` nothing else in this process owns it.
    let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
    rustix::io::fcntl_setfd(&owned, FdFlags::CLOEXEC)?;
    Ok(owned)
}

/// The read end of the pipe whose write end lives as long as whoever owns this process.
#[derive(Debug)]
pub struct Lifeline(Option<OwnedFd>);

impl Lifeline {
    /// The lifeline that `--lifeline FD` named; one that never ends where there was none.
    ///
    /// # Errors
    /// When the number does not name an open descriptor.
    pub fn from_args(descriptor: Option<RawFd>) -> io::Result<Self> {
        descriptor.map(adopt).transpose().map(Self)
    }

    /// Returns once the owner is gone.
    pub async fn closed(self) {
        let Some(descriptor) = self.0 else {
            return std::future::pending().await;
        };
        let mut receiver = match pipe::Receiver::from_owned_fd(descriptor) {
            Ok(receiver) => receiver,
            Err(error) => {
                // Without a lifeline to watch this process could outlive its owner for ever.
                tracing::error!(%error, "the lifeline can't be watched; ending");
                return;
            }
        };
        let mut buffer = [0_u8; 64];
        loop {
            match receiver.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

/// Where a daemon tells who started it how its start went.
#[derive(Debug)]
pub struct Ready(Option<File>);

impl Ready {
    /// The pipe that `--ready-fd FD` named; nothing is told where there was none.
    ///
    /// # Errors
    /// When the number does not name an open descriptor.
    pub fn from_fd(descriptor: Option<RawFd>) -> io::Result<Self> {
        Ok(Self(descriptor.map(adopt).transpose()?.map(File::from)))
    }

    /// Says that the daemon serves. Nobody left to read it is no fault.
    pub fn ready(self) {
        self.say(&format!("{READY_LINE}\n"));
    }

    /// Says why the daemon can't serve.
    pub fn failed(self, text: &str) {
        self.say(&format!("{FAILED_PREFIX}{text}\n"));
    }

    fn say(self, text: &str) {
        if let Some(mut file) = self.0
            && let Err(error) = file.write_all(text.as_bytes())
        {
            tracing::debug!(%error, "nobody waits for the start to end");
        }
    }
}

/// Returns once this process is asked to end: SIGTERM, SIGINT or SIGHUP.
///
/// The handlers are in place when this function returns, not only when its future is polled,
/// so a signal that arrives in between is not lost.
pub fn shutdown_signal() -> impl Future<Output = ()> + Send {
    let kinds = [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ];
    let signals: Vec<_> = kinds
        .into_iter()
        .filter_map(|kind| {
            signal(kind)
                .inspect_err(|error| tracing::error!(%error, "a signal can't be handled"))
                .ok()
        })
        .collect();
    async move {
        if signals.is_empty() {
            return std::future::pending().await;
        }
        let waits = signals
            .into_iter()
            .map(|mut signal| Box::pin(async move { signal.recv().await }));
        futures::future::select_all(waits).await;
    }
}

/// Starts logging: to `path`, kept under `limit` bytes; without a path to the log that
/// [`spawn`] gave this process, bounded likewise, and without that to standard error.
///
/// # Errors
/// When the file can't be opened, or this process logs already.
pub fn init_log(path: Option<&Path>, limit: u64) -> io::Result<()> {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_target(true);
    let given = std::env::var_os(LOG_FILE_VARIABLE).map(PathBuf::from);
    let done = match path.or(given.as_deref()) {
        Some(path) => builder
            .with_writer(RotatingLog::open(path, limit)?)
            .try_init(),
        None => builder.with_writer(io::stderr).try_init(),
    };
    done.map_err(|error| io::Error::other(error.to_string()))
}

/// A log file that is moved aside when it grows past its limit, so that it and the one moved
/// aside never take more than twice the limit.
#[derive(Debug)]
struct RotatingLog(Mutex<LogFile>);

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    limit: u64,
    file: File,
    size: u64,
}

fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

impl RotatingLog {
    fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let file = open_log(path)?;
        let size = file.metadata()?.len();
        Ok(Self(Mutex::new(LogFile {
            path: path.to_owned(),
            limit,
            file,
            size,
        })))
    }
}

impl LogFile {
    fn rotate(&mut self) -> io::Result<()> {
        let mut older = self.path.clone().into_os_string();
        older.push(".1");
        std::fs::rename(&self.path, older)?;
        let fresh = open_log(&self.path)?;
        // Panics and libraries write to standard error: where that is this log, it follows.
        let follows = File::from(io::stderr().as_fd().try_clone_to_owned()?)
            .metadata()
            .and_then(|stderr| {
                let log = self.file.metadata()?;
                Ok((stderr.dev(), stderr.ino()) == (log.dev(), log.ino()))
            });
        if follows.unwrap_or(false) {
            rustix::stdio::dup2_stderr(&fresh)?;
            rustix::stdio::dup2_stdout(&fresh)?;
        }
        self.file = fresh;
        self.size = 0;
        Ok(())
    }
}

/// One event on its way into the log.
struct LogLine<'a>(std::sync::MutexGuard<'a, LogFile>);

impl Write for LogLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let log = &mut *self.0;
        if log.size > 0 && log.size + bytes.len() as u64 > log.limit {
            // A log that can't be rotated (a full disk) starts over in place: bounded anyway.
            if log.rotate().is_err() {
                log.file.set_len(0)?;
                log.size = 0;
            }
        }
        let written = log.file.write(bytes)?;
        log.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.file.flush()
    }
}

impl<'a> MakeWriter<'a> for RotatingLog {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LogLine(
            self.0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

/// A daemon that serves.
#[derive(Debug)]
pub struct Spawned {
    /// The process; dropping it does not end it.
    pub child: Child,
    /// Its process id.
    pub pid: u32,
    /// The write end of its lifeline: the daemon ends when this closes.
    pub lifeline: OwnedFd,
}

impl Spawned {
    /// Ends the daemon by closing its lifeline, and waits for its end.
    ///
    /// # Errors
    /// When its end can't be waited for.
    pub async fn end(mut self) -> io::Result<ExitStatus> {
        drop(self.lifeline);
        self.child.wait().await
    }
}

/// Why a daemon does not serve.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// Its program can't be run, or what it needs can't be made.
    #[error("{program} can't be started: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It said why it can't serve.
    #[error("{program} can't serve: {text}")]
    Failed {
        /// The program.
        program: String,
        /// Its own words.
        text: String,
    },
    /// It ended before it was ready.
    #[error("{program} ended before it was ready ({status}){log}")]
    Died {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
        /// The end of its log, with an introduction; empty where it logged nothing.
        log: String,
    },
}

/// Starts `program` as a daemon and waits until it serves or has failed.
///
/// It gets a session of its own, `/` as its directory, nothing to read, `log` for what it
/// prints, and `--lifeline FD --ready-fd FD` behind `args`; no other descriptor. Dropping the
/// future ends the daemon, by its lifeline.
///
/// # Errors
/// When it can't be started, ends, or says that it can't serve.
pub async fn spawn(
    program: &Path,
    args: &[OsString],
    log: Option<&Path>,
) -> Result<Spawned, SpawnError> {
    let (lifeline_read, lifeline_write) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| start_error(program, error.into()))?;
    let child = start(program, args, log, Some(&lifeline_read)).await?;
    let pid = child.id().unwrap_or_default();
    Ok(Spawned {
        child,
        pid,
        lifeline: lifeline_write,
    })
}

/// As [`spawn`], for a daemon that outlives whoever started it: it gets no lifeline.
///
/// # Errors
/// As [`spawn`].
pub async fn spawn_free(
    program: &Path,
    args: &[OsString],
    log: Option<&Path>,
) -> Result<Child, SpawnError> {
    start(program, args, log, None).await
}

fn start_error(program: &Path, source: io::Error) -> SpawnError {
    SpawnError::Start {
        program: program.display().to_string(),
        source,
    }
}

async fn start(
    program: &Path,
    args: &[OsString],
    log: Option<&Path>,
    lifeline: Option<&OwnedFd>,
) -> Result<Child, SpawnError> {
    let fail = |error: io::Error| start_error(program, error);
    let (ready_read, ready_write) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| fail(error.into()))?;
    let log_start = log
        .and_then(|path| std::fs::metadata(path).ok())
        .map_or(0, |meta| meta.len());
    let (out, err) = match log {
        Some(path) => {
            let file = open_log(path).map_err(fail)?;
            (Stdio::from(file.try_clone().map_err(fail)?), file.into())
        }
        None => (Stdio::null(), Stdio::null()),
    };

    let mut command = daemon_command(program);
    command
        .args(args)
        .arg(READY_OPTION)
        .arg(ready_write.as_raw_fd().to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err);
    match log {
        Some(path) => command.env(LOG_FILE_VARIABLE, path),
        None => command.env_remove(LOG_FILE_VARIABLE),
    };
    let mut kept = vec![ready_write.as_raw_fd()];
    if let Some(lifeline) = lifeline {
        command
            .arg(LIFELINE_OPTION)
            .arg(lifeline.as_raw_fd().to_string());
        kept.push(lifeline.as_raw_fd());
    }
    // SAFETY: only system calls between fork and exec; nothing allocates.
    unsafe {
        command.pre_exec(move || detach(&kept));
    }
    let mut child = command.spawn().map_err(fail)?;
    drop(ready_write);

    let receiver = pipe::Receiver::from_owned_fd(ready_read).map_err(fail)?;
    let text = read_answer(receiver).await;
    if text.trim_end() == READY_LINE {
        return Ok(child);
    }
    let name = program.display().to_string();
    if let Some(reason) = text.trim_end().strip_prefix(FAILED_PREFIX) {
        let text = reason.to_owned();
        return Err(SpawnError::Failed {
            program: name,
            text,
        });
    }
    // The pipe is closed: it ended, or is about to for want of its starter.
    let status = match child.wait().await {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    Err(SpawnError::Died {
        program: name,
        status,
        log: log.map_or_else(String::new, |path| log_tail(path, log_start)),
    })
}

/// What a daemon says of its start: up to the line that says it serves, else to the end.
async fn read_answer(mut receiver: pipe::Receiver) -> String {
    let ready = format!("{READY_LINE}\n").into_bytes();
    let mut text = Vec::new();
    let mut buffer = [0_u8; 1024];
    // An unreadable answer is judged like a missing one, by how the daemon ended.
    while text != ready
        && text.len() < MAX_READY_TEXT
        && let Ok(length @ 1..) = receiver.read(&mut buffer).await
    {
        text.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The one place that makes a command here.
#[allow(
    clippy::disallowed_methods,
    reason = "the constructor that sets directory and streams"
)]
fn daemon_command(program: &Path) -> Command {
    Command::new(program)
}

/// Runs in the child before exec: a session of its own, and no descriptors but the standard
/// ones and `kept`.
fn detach(kept: &[RawFd]) -> io::Result<()> {
    rustix::process::setsid()?;
    // SAFETY: marks descriptors of this process, which is about to exec.
    let marked = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3_u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if marked < 0 {
        // Kernels before 5.11; the bound covers the usual limit of open files.
        for descriptor in 3..65_536 {
            // SAFETY: as above; numbers that are not open are refused.
            unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    for &descriptor in kept {
        // SAFETY: both are open; the parent holds them until this child was made.
        if unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// What a log says from `start` on, at most its end, introduced; empty when that is nothing.
fn log_tail(path: &Path, start: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(start.max(size.saturating_sub(LOG_TAIL))))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) if !text.trim().is_empty() => {
            format!("; its log {} ends:\n{}", path.display(), text.trim_end())
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<OsString> {
        vec!["-c".into(), script.into()]
    }

    /// `$1` is the ready pipe's descriptor and `$3` the lifeline's.
    async fn run(script: &str, log: Option<&Path>) -> Result<Spawned, SpawnError> {
        spawn(Path::new("/bin/sh"), &shell(script), log).await
    }

    #[tokio::test]
    async fn a_daemon_serves_until_its_lifeline_closes() {
        let script = "echo ready > /proc/self/fd/$1; read line < /proc/self/fd/$3; exit 7";
        let spawned = run(script, None).await.unwrap();
        assert_eq!(spawned.end().await.unwrap().code(), Some(7));
    }

    #[tokio::test]
    async fn a_daemon_gets_its_two_descriptors_and_no_other() {
        let kept = File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(&kept, FdFlags::empty()).unwrap();
        let script = "for n in 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            [ -e /proc/$$/fd/$n ] && [ $n != $1 ] && [ $n != $3 ] &&
                { echo \"failed: $n is open\" > /proc/self/fd/$1; exit 1; }
        done
        [ \"$(pwd)\" = / ] || { echo \"failed: in $(pwd)\" > /proc/self/fd/$1; exit 1; }
        echo ready > /proc/self/fd/$1; read line < /proc/self/fd/$3";
        run(script, None).await.unwrap().end().await.unwrap();
    }

    #[tokio::test]
    async fn a_failure_is_told_in_its_own_words() {
        let told = run("echo 'failed: no luck' > /proc/self/fd/$1", None).await;
        assert!(
            matches!(&told, Err(SpawnError::Failed { text, .. }) if text == "no luck"),
            "{told:?}"
        );
    }

    #[tokio::test]
    async fn a_death_shows_the_end_of_this_starts_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "of an earlier start\n").unwrap();
        let told = run("echo too bad >&2; exit 3", Some(&path)).await;
        let Err(SpawnError::Died { log, status, .. }) = told else {
            panic!("{told:?}");
        };
        assert!(log.contains("too bad") && !log.contains("earlier"), "{log}");
        assert!(status.contains('3'), "{status}");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let told = spawn(Path::new("/nonexistent/vx"), &[], None).await;
        assert!(matches!(told, Err(SpawnError::Start { .. })), "{told:?}");
    }

    #[test]
    fn a_log_stays_under_twice_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let log = RotatingLog::open(&path, 100).unwrap();
        for number in 0..50 {
            writeln!(log.make_writer(), "line {number}").unwrap();
        }
        let size = |name: &str| {
            std::fs::metadata(directory.path().join(name))
                .unwrap()
                .len()
        };
        assert!(size("log") <= 100 && size("log.1") <= 100);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("line 49\n"), "{text}");
    }

    #[test]
    fn standard_descriptors_are_not_adopted() {
        assert!(Lifeline::from_args(Some(1)).is_err());
        assert!(Ready::from_fd(Some(999_999)).is_err());
    }
}
