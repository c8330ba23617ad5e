//! The guard of an action that can't be isolated: the program's parent on the host.
//!
//! Nothing holds the program together but its descent: this process adopts every orphan below
//! it, so that whatever the program starts stays among its descendants, in whatever session or
//! process group. Against a program that forks faster than it can be killed that is a best
//! effort; the kernel's own means (a PID namespace, a control group of one's own) are what is
//! missing here. Were this guard itself killed, its program would go with it, and what that had
//! left behind would not.

use std::collections::HashMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, wait};
use vx_core::Exit;

use super::control::Control;
use super::fault::{Fault, Step};
use super::spec::{GuardSpec, Report};
use super::start::Calls;
use super::supervise::{Household, ORPHANED, supervise};
use super::usage::Usage;
use super::{Jobs, confine, trace};

/// Guards an action on the host.
pub(super) fn guard(
    spec: &GuardSpec,
    control: &Control,
    jobs: Jobs,
    trace: &OwnedFd,
    started: Instant,
) -> Result<(), Fault> {
    confine::close_memory().step("close this process's memory")?;
    // Not the signal that kills: nobody else would end the program's descendants.
    let _ = rustix::process::set_parent_process_death_signal(Some(ORPHANED));
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .step("adopt what the program leaves behind")?;
    confine::leave_keyring();
    rustix::thread::set_no_new_privs(true).step("forbid new privileges")?;
    confine::limits(spec.bounds)?;
    let setup = started.elapsed();
    control.report(&Report::Ready { setup });
    let report = match &spec.program {
        Some(program) => supervise(
            program,
            control,
            jobs,
            trace,
            Household {
                end: end_descendants,
                usage: Usage::new(spec.bounds, below, None, Vec::new()),
                unwatched: Calls::Free,
            },
        ),
        None => match trace::probe() {
            Ok(()) => Report::Ended {
                exit: Exit::Code(0),
                duration: Duration::ZERO,
            },
            Err(reason) => Report::Unable {
                reason,
                refused: true,
            },
        },
    };
    control.report(&report);
    Ok(())
}

/// Ends every descendant of this process and waits until none is left.
///
/// Each round kills all that are seen. What was forked meanwhile has a parent that this round
/// ends, which wakes the next one.
fn end_descendants() {
    loop {
        // Whoever descends from here does so by way of a child.
        if matches!(wait(WaitOptions::NOHANG), Err(rustix::io::Errno::CHILD)) {
            return;
        }
        for process in descendants(rustix::process::getpid()) {
            process.kill();
        }
        loop {
            match wait(WaitOptions::empty()) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
        while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
    }
}

/// Every descendant of this process.
fn below() -> Vec<Pid> {
    let found = descendants(rustix::process::getpid());
    found.into_iter().map(|process| process.pid).collect()
}

/// A process, told from a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: Pid,
    parent: i32,
    /// In ticks since the machine's start.
    started: u64,
}

impl Process {
    /// Reads `/proc/<pid>/stat`; `None` for what is gone.
    fn read(pid: Pid) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        // The name in parentheses may hold anything, parentheses too.
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let parent = fields.nth(1)?.parse().ok()?;
        let started = fields.nth(17)?.parse().ok()?;
        Some(Self {
            pid,
            parent,
            started,
        })
    }

    /// Kills it, and no other that has its number by now.
    fn kill(&self) {
        let Ok(handle) = pidfd_open(self.pid, PidfdFlags::empty()) else {
            return;
        };
        let same = Self::read(self.pid).is_some_and(|now| now.started == self.started);
        if same {
            let _ = pidfd_send_signal(handle, Signal::KILL);
        }
    }
}

/// The running processes that descend from `ancestor`.
fn descendants(ancestor: Pid) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for entry in entries.flatten() {
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(process) = number.and_then(Pid::from_raw).and_then(Process::read) {
            children.entry(process.parent).or_default().push(process);
        }
    }
    let mut found = Vec::new();
    let mut parents = vec![ancestor.as_raw_nonzero().get()];
    while let Some(parent) = parents.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            parents.push(child.pid.as_raw_nonzero().get());
            found.push(child);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn grandchildren_are_found_and_killed_by_their_own_identity() {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "sleep 1000 & sleep 1000 & wait"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&shell);
        let below = loop {
            let below = descendants(pid);
            if below.len() == 2 {
                break below;
            }
        };
        let me = descendants(rustix::process::getpid());
        assert!(below.iter().all(|process| me.contains(process)));
        let stranger = Process {
            started: below[0].started + 1,
            ..below[0]
        };
        stranger.kill();
        assert_eq!(descendants(pid), below);
        for process in &below {
            process.kill();
        }
        shell.wait().unwrap();
        assert_eq!(descendants(pid), []);
    }
}
