//! Watches what an action looks at.
//!
//! A seccomp filter makes the kernel ask before each system call that takes a path; the
//! namespace's first process notes the path and what is there, and lets the call go on. So
//! reads, listings, look-ups that fail, and programs that are run are all seen, of whatever the
//! action starts, however it is linked.
//!
//! What is not seen: times of files, the clock, the processor and other facts of the machine,
//! and what a program does that changes the path in its memory between the note and the call.
//! The last takes intent; against that stands the isolation root, not the trace.

mod changes;
mod file;
mod filter;
mod kernel;
mod listener;
mod memory;
mod network;
mod note;
mod notes;
mod program;
mod real;
mod resolve;
mod scope;
mod walk;

use std::io::{PipeReader, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, WaitOptions};
use vx_core::readset::Trace;

use super::control;
use super::fault::{Fault, Step};
pub(crate) use file::{read, write};
use notes::Notes;
pub(crate) use scope::{Given, Reach, Scope, Writes};

/// The program's end: it starts being watched just before it is run.
pub(crate) struct Watched {
    socket: UnixStream,
}

/// The watching process's end.
pub(super) struct Watch {
    socket: UnixStream,
    notes: Arc<Mutex<Notes>>,
}

/// Both ends, to be made before the program is forked.
pub(super) fn pair(scope: Scope) -> Result<(Watch, Watched), Fault> {
    let (watch, watched) = UnixStream::pair().step("make a socket for the trace")?;
    let notes = Arc::new(Mutex::new(Notes::new(scope)));
    Ok((
        Watch {
            socket: watch,
            notes,
        },
        Watched { socket: watched },
    ))
}

impl Watched {
    /// From here on every call of this process is watched. The process must have one thread.
    pub(super) fn start(&self) -> Result<(), String> {
        let (number, tell_number) =
            std::io::pipe().map_err(|error| format!("can't make a pipe: {error}"))?;
        let sender = self.sender(number)?;
        let listener = filter::install()
            .map_err(|error| format!("the kernel refuses to trace system calls: {error}"))?;
        let told = (&tell_number).write_all(&listener.as_raw_fd().to_ne_bytes());
        // It has the same descriptors, and has to have sent this one before it is closed.
        let sent = rustix::process::waitpid(Some(sender), WaitOptions::empty());
        let sent = sent
            .ok()
            .flatten()
            .and_then(|(_, status)| status.exit_status());
        match (told, sent) {
            (Ok(()), Some(0)) => Ok(()),
            _ => Err("can't hand the trace on".to_owned()),
        }
    }

    /// A process that sends the descriptor of that number: a watched process could not send it
    /// itself, since nobody answers yet whether it may.
    fn sender(&self, mut number: PipeReader) -> Result<Pid, String> {
        // SAFETY: as fork, but that descriptors are shared; the process has one thread.
        let pid = unsafe {
            libc::syscall(
                libc::SYS_clone,
                libc::CLONE_FILES | libc::SIGCHLD,
                0,
                0,
                0,
                0,
            )
        };
        if pid == 0 {
            super::confine::open_more_files();
            let mut bytes = [0; size_of::<RawFd>()];
            let sent = number.read_exact(&mut bytes).is_ok_and(|()| {
                // SAFETY: whoever told the number keeps it open until this process has ended.
                let listener = unsafe { BorrowedFd::borrow_raw(RawFd::from_ne_bytes(bytes)) };
                control::send_descriptor(&self.socket, listener).is_ok()
            });
            // SAFETY: ends the process without running what a fork must not run twice.
            unsafe { libc::_exit(i32::from(!sent)) }
        }
        // With shared descriptors a close is one for both. The program's start closes it.
        std::mem::forget(number);
        i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .filter(|_| pid > 0)
            .ok_or_else(|| "can't fork".to_owned())
    }
}

impl Watch {
    /// Starts answering, on a thread of its own that ends with this process. Must come after
    /// the fork: that is only safe with one thread.
    pub(super) fn answer(&self) -> Result<(), Fault> {
        let socket = self.socket.try_clone().step("hold the trace's socket")?;
        let notes = Arc::clone(&self.notes);
        std::thread::Builder::new()
            .name("trace".to_owned())
            .spawn(move || {
                // Nothing comes when the program could not be started.
                if let Ok(listener) = control::receive_descriptor(&socket) {
                    listener::listen(&listener, &notes);
                }
            })
            .step("start the thread that traces")?;
        Ok(())
    }

    /// What was seen, once nothing runs any more.
    pub(super) fn trace(&self) -> Trace {
        let (mut notes, broken) = match self.notes.lock() {
            Ok(notes) => (notes, false),
            Err(broken) => (broken.into_inner(), true),
        };
        if broken {
            notes.give_up("the trace broke off");
        }
        notes.take()
    }
}

/// From here on the calling process and all that it starts can't make the calls that watched ones
/// can't make either.
pub(super) fn refuse() -> Result<(), String> {
    filter::install_untold()
        .map_err(|error| format!("the kernel refuses to filter system calls: {error}"))
}

/// Whether the kernel lets system calls be watched; says why not. The calling process is good
/// for nothing but its end afterwards.
pub(super) fn probe() -> Result<(), String> {
    filter::install()
        .map(drop)
        .map_err(|error| format!("the kernel refuses to trace system calls: {error}"))
}
