//! The parent's side: starting a daemon, and waiting for its word.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use super::log::{LOG_FILE_VARIABLE, log_tail, open_log};
use super::{FAILED_PREFIX, LIFELINE_OPTION, READY_LINE, READY_OPTION};

/// How much of a daemon's report of its failure is read, in bytes: an error text, not a dump.
const MAX_READY_TEXT: usize = 16 * 1024;

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

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::io::FdFlags;

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
}
