//! The socket between the executor and a guard.
//!
//! The executor sends one message, descriptors alone; the guard sends reports. The socket's
//! end is the order to end: the executor closes it to cancel, and the kernel closes it when
//! the executor dies.

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

/// What a guard starts with: its spec's file and the jobserver's ends.
const HANDED: usize = 3;

/// Sends a guard what it starts with. The message fits every socket's buffer, so this does
/// not wait for the guard.
pub(crate) fn hand(
    socket: &UnixStream,
    spec: BorrowedFd<'_>,
    jobs_read: BorrowedFd<'_>,
    jobs_write: BorrowedFd<'_>,
) -> Result<()> {
    let descriptors = [spec, jobs_read, jobs_write];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDED))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Error::other("no room for the guard's descriptors"));
    }
    sendmsg(
        socket,
        &[IoSlice::new(b"g")],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// A guard's end.
pub(super) struct Control {
    socket: UnixStream,
}

impl Control {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self { socket }
    }

    /// Takes what the executor sent: the spec's file and the jobserver.
    pub(super) fn receive(&self) -> Result<(OwnedFd, Jobs)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDED))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0_u8; 1];
        recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut byte)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let mut descriptors = Vec::with_capacity(HANDED);
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
        let [spec, read, write] = <[OwnedFd; HANDED]>::try_from(descriptors)
            .map_err(|_| Error::other("the executor sent no spec"))?;
        Ok((spec, Jobs { read, write }))
    }

    /// Sends a report. An executor that is gone needs none.
    pub(super) fn report(&self, report: &Report) {
        let _ = report.send(&self.socket);
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
