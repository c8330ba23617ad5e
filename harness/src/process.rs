//! What runs on this machine on behalf of a test, found without asking vx.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// A process of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its id.
    pub pid: i32,
    /// The file name of its program, as the kernel has it.
    pub name: String,
    /// Its command line, with spaces between the arguments.
    pub command: String,
}

impl ProcessInfo {
    /// Ends it at once; one that is gone already is no fault.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Sends it a signal; one that is gone already is no fault.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits until it has ended; `false` when the time is up before.
    #[must_use]
    pub fn wait_gone(&self, patience: Duration) -> bool {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return true;
        };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => wait_readable(&descriptor, patience),
            Err(_) => true,
        }
    }
}

/// Waits until a descriptor can be read; a process's can be when it has ended.
pub(crate) fn wait_readable(descriptor: &OwnedFd, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(
            &mut [PollFd::new(descriptor, PollFlags::IN)],
            Some(&timeout),
        ) {
            Ok(ready) => return ready > 0,
            Err(Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}

/// The running processes for which `wanted` holds; it is given the directory below `/proc`.
pub(crate) fn find(wanted: impl Fn(&Path) -> bool) -> Vec<ProcessInfo> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let directory = entry.path();
            (alive(&directory) && wanted(&directory)).then(|| describe(pid, &directory))
        })
        .collect()
}

/// Whether it runs: one that ended and was not yet waited for does not.
fn alive(directory: &Path) -> bool {
    let stat = fs::read_to_string(directory.join("stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

fn describe(pid: i32, directory: &Path) -> ProcessInfo {
    let command = fs::read(directory.join("cmdline")).unwrap_or_default();
    let name = fs::read_to_string(directory.join("comm")).unwrap_or_default();
    ProcessInfo {
        pid,
        name: name.trim_end().to_owned(),
        command: String::from_utf8_lossy(&command)
            .replace('\0', " ")
            .trim_end()
            .to_owned(),
    }
}

/// Whether a process's command line or initial environment names `path`.
pub(crate) fn names(directory: &Path, path: &str) -> bool {
    ["cmdline", "environ"].iter().any(|file| {
        let content = fs::read(directory.join(file)).unwrap_or_default();
        content
            .windows(path.len())
            .any(|window| window == path.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn finds_and_awaits() {
        let word = format!("vx-harness-{}", std::process::id());
        let mut child = Command::new("cat")
            .env("VX_HARNESS_WORD", &word)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let id = child.id().cast_signed();
        let found = find(|directory| names(directory, &word));
        assert!(found.iter().any(|process| process.pid == id), "{found:?}");
        let process = &found[0];
        assert!(!process.wait_gone(Duration::ZERO));
        process.kill();
        assert!(process.wait_gone(Duration::from_secs(60)));
        child.wait().unwrap();
    }
}
