//! A process that outlives the test's only to clean up after it.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Waits for a line: there is nothing to do. Where the pipe ends without one, the test's process
/// was killed: whatever names the test's directory is ended, several times over, since a process
/// may start another meanwhile; then the directory goes.
const SCRIPT: &str = r#"
read -r _ && exit 0
for _ in 1 2 3; do
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        [ "$pid" = "$$" ] && continue
        grep -qasF -e "$1" "$process/environ" "$process/cmdline" && kill -9 "$pid"
    done
done 2>/dev/null
rm -rf "$1"
"#;

/// Cleans up after a test that is killed.
pub(crate) struct Reaper {
    child: Child,
}

impl Reaper {
    /// For an environment, by its directory.
    pub(crate) fn new(directory: &Path) -> Self {
        let child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "vx-harness-reaper"])
            .arg(directory)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            // An interrupt from the terminal is for the test; this one has to survive it.
            .process_group(0)
            .spawn()
            .expect("a shell can be started");
        Self { child }
    }

    /// Its process id: it is no process of the environment, though it names it.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.child.stdin.take() {
            let _ = stdin.write_all(b"done\n");
        }
        let _ = self.child.wait();
    }
}
