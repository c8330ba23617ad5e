//! Daemons that a test starts itself.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::env::Env;

/// Turns standard input into the lifeline and standard output into the ready pipe: a shell can
/// give descriptors numbers without the harness having to do so between fork and exec.
const LAUNCH: &str = r#"exec "$@" --lifeline 4 --ready-fd 3 3>&1 4<&0 </dev/null >/dev/null"#;

/// How much of the end of each log a failure shows, in lines.
const LOG_TAIL: usize = 30;

/// A daemon that serves. It ends with this value, and with the test's process.
pub struct Daemon {
    child: Child,
    /// Its end is the daemon's.
    lifeline: Option<ChildStdin>,
}

impl Daemon {
    /// Starts one of the four programs and waits until it serves.
    ///
    /// # Errors
    /// What it said of why it does not.
    ///
    /// # Panics
    /// When it can't be started at all.
    pub fn start(env: &Env, program: &str, arguments: &[&str]) -> Result<Self, String> {
        let mut launcher: Command = env.command("/bin/sh", env.root());
        launcher
            .args(["-c", LAUNCH, "launch"])
            .arg(env.program(program))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0);
        let mut child = launcher.spawn().expect("a shell can be started");
        let lifeline = child.stdin.take();
        let mut said = String::new();
        let ready = child.stdout.take().expect("stdout is piped");
        BufReader::new(ready)
            .read_line(&mut said)
            .expect("a pipe can be read");
        let mut daemon = Self { child, lifeline };
        if said.trim_end() == "ready" {
            return Ok(daemon);
        }
        daemon.lifeline = None;
        let status = daemon.child.wait().expect("the child was not waited for");
        Err(format!("{program} ended ({status}): {}", said.trim_end()))
    }

    /// A store that any number of homes share.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    ///
    /// # Panics
    /// When the store's path is not text.
    pub fn cass(env: &Env, store: &Path, listen: &str) -> Result<Self, String> {
        let store = store.to_str().expect("an environment's paths are text");
        Self::start(env, "vx-cass", &["--store", store, "--listen", listen])
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Ends it without any chance to tidy up.
    ///
    /// # Panics
    /// When it can't be waited for.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("the child was not waited for");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        if let Some(pid) = Pid::from_raw(self.pid()) {
            // Asked to, it may still be writing; the environment kills what does not leave.
            let _ = kill_process(pid, Signal::TERM);
        }
        let pid = crate::ProcessInfo {
            pid: self.pid(),
            name: String::new(),
            command: String::new(),
        };
        if !pid.wait_gone(std::time::Duration::from_secs(20)) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The ends of the logs below a `VX_HOME`.
pub(crate) fn logs(home: &Path) -> String {
    let Ok(entries) = fs::read_dir(home) else {
        return String::new();
    };
    let mut text = String::new();
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.extension().is_some_and(|extension| extension == "log") {
            let content = fs::read(&path).unwrap_or_default();
            let content = String::from_utf8_lossy(&content);
            let lines: Vec<&str> = content.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL)..];
            text += &format!("--- {}\n{}\n", path.display(), tail.join("\n"));
        }
    }
    text
}
