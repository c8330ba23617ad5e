//! The socket between the executor and a guard.
//!
//! The executor sends one message, descriptors alone; the guard sends reports. From then on the
//! executor asks now and then whether the guard is there ([`QUESTION`]); any other text is why
//! everything has to end. The socket's end is the order to end at once: the executor closes it to
//! cancel, and the kernel closes it when the executor dies.

use std::io::{Error, IoSlice, IoSliceMut, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::Jobs;
use super::spec::Report;

/// What a guard starts with: its spec's file, a file for the trace, and the jobserver's ends.
const HANDED: usize = 4;

/// What asks a guard whether it is there.
pub(crate) const QUESTION: u8 = b'?';

/// The longest reason that is taken, in bytes.
const LONGEST_ORDER: usize = 4096;

/// Sends a guard what it starts with. The message fits every socket's buffer, so this does
/// not wait for the guard.
pub(crate) fn hand(
    socket: &UnixStream,
    spec: BorrowedFd<'_>,
    trace: BorrowedFd<'_>,
    jobs_read: BorrowedFd<'_>,
    jobs_write: BorrowedFd<'_>,
) -> Result<()> {
    send(socket, &[spec, trace, jobs_read, jobs_write])
}

/// Sends one descriptor.
pub(super) fn send_descriptor(socket: &UnixStream, descriptor: BorrowedFd<'_>) -> Result<()> {
    send(socket, &[descriptor])
}

/// Takes the descriptor that [`send_descriptor`] sent.
pub(super) fn receive_descriptor(socket: &UnixStream) -> Result<OwnedFd> {
    let [descriptor] = receive(socket)?;
    Ok(descriptor)
}

fn send(socket: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDED))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Error::other("no room for the descriptors"));
    }
    sendmsg(
        socket,
        &[IoSlice::new(b"g")],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

fn receive<const N: usize>(socket: &UnixStream) -> Result<[OwnedFd; N]> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDED))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0_u8; 1];
    recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::with_capacity(N);
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    <[OwnedFd; N]>::try_from(descriptors)
        .map_err(|_| Error::other("other descriptors came than were to"))
}

/// What a guard hears.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing.
    Nothing,
    /// Whether it is there.
    Question,
    /// That everything has to end, and why.
    Order(String),
}

/// A guard's end.
pub(super) struct Control {
    socket: UnixStream,
}

impl Control {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self { socket }
    }

    /// Takes what the executor sent: the spec's file, the file for the trace, and the
    /// jobserver.
    pub(super) fn receive(&self) -> Result<(OwnedFd, OwnedFd, Jobs)> {
        let [spec, trace, read, write] = receive(&self.socket)?;
        Ok((spec, trace, Jobs { read, write }))
    }

    /// Sends a report. An executor that is gone needs none.
    pub(super) fn report(&self, report: &Report) {
        let _ = report.send(&self.socket);
    }

    /// What the executor sent since, without waiting for more.
    pub(super) fn heard(&self) -> Heard {
        let mut bytes = [0_u8; LONGEST_ORDER];
        let read = rustix::net::recv(&self.socket, &mut bytes, RecvFlags::DONTWAIT);
        let Ok((count @ 1.., _)) = read else {
            return Heard::Nothing;
        };
        let order: Vec<u8> = bytes[..count]
            .iter()
            .copied()
            .filter(|byte| *byte != QUESTION)
            .collect();
        if order.is_empty() {
            Heard::Question
        } else {
            Heard::Order(String::from_utf8_lossy(&order).into_owned())
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
