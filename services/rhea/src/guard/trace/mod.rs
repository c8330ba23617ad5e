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
mod filter;
mod listener;
mod memory;
mod network;
mod note;
mod notes;
mod program;
mod real;
mod resolve;
mod scope;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use vx_core::readset::Trace;

use super::control;
use super::fault::{Fault, Step};
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
    /// From here on every call of this process is watched.
    pub(super) fn start(&self) -> Result<(), String> {
        let listener = filter::install()
            .map_err(|error| format!("the kernel refuses to trace system calls: {error}"))?;
        control::send_descriptor(&self.socket, listener.as_fd())
            .map_err(|error| format!("can't hand the trace on: {error}"))
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

/// Whether the kernel lets system calls be watched; says why not. The calling process is good
/// for nothing but its end afterwards.
pub(super) fn probe() -> Result<(), String> {
    filter::install()
        .map(drop)
        .map_err(|error| format!("the kernel refuses to trace system calls: {error}"))
}

/// Writes a trace to the file the executor gave for it.
pub(super) fn write(trace: &Trace, to: &OwnedFd) -> std::io::Result<()> {
    let bytes = postcard::to_stdvec(trace).map_err(std::io::Error::other)?;
    let mut file = std::fs::File::from(to.try_clone()?);
    std::io::Write::write_all(&mut file, &bytes)
}
