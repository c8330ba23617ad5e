//! One jobserver over everything this executor runs.
//!
//! A pipe holds a token per slot, as GNU make and cargo do it. Each action takes one token
//! before it starts and gives it back when it has ended; what it needs beyond that one it
//! takes from the pipe itself. A program that is killed keeps what it took, so the pipe is
//! filled afresh whenever nothing runs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::guard::spec::{JOBS_READ, JOBS_WRITE};

/// The byte GNU make uses.
const TOKEN: u8 = b'+';

/// The variable and the value that tell a program of the jobserver, as cargo words them.
pub(crate) fn variable() -> (String, String) {
    let ends = format!("{JOBS_READ},{JOBS_WRITE}");
    (
        "CARGO_MAKEFLAGS".to_owned(),
        format!("-j --jobserver-fds={ends} --jobserver-auth={ends}"),
    )
}

/// The jobserver.
pub(crate) struct Jobserver {
    slots: usize,
    /// The pipe.
    shared: (OwnedFd, OwnedFd),
    /// This process's own description of the read end, which does not block.
    read: AsyncFd<OwnedFd>,
    /// This process's own description of the write end, which does not block.
    write: OwnedFd,
    /// Who waits for a token, first come first served.
    queue: tokio::sync::Mutex<()>,
    /// Tokens taken by actions that run.
    taken: Mutex<usize>,
}

impl Jobserver {
    /// A jobserver of so many slots. Must be called within a runtime.
    pub(crate) fn new(slots: usize) -> std::io::Result<Arc<Self>> {
        let shared = pipe_with(PipeFlags::CLOEXEC)?;
        let read = reopen(shared.0.as_fd(), OFlags::RDONLY | OFlags::NONBLOCK)?;
        let write = reopen(shared.1.as_fd(), OFlags::WRONLY | OFlags::NONBLOCK)?;
        // SAFETY: the descriptor is owned by what watches it and closes with it.
        let read = unsafe { AsyncFd::register_with_interest(read, Interest::READABLE) }?;
        let jobserver = Self {
            slots,
            shared,
            read,
            write,
            queue: tokio::sync::Mutex::new(()),
            taken: Mutex::new(0),
        };
        jobserver.refill();
        Ok(Arc::new(jobserver))
    }

    /// The ends that the programs of one action inherit, for reading and for writing. Their
    /// descriptions are that action's alone, so that no flag one sets on them is another's, and
    /// blocking, as `make` before 4.4 needs.
    pub(crate) fn own_ends(&self) -> std::io::Result<(OwnedFd, OwnedFd)> {
        Ok((
            reopen(self.shared.0.as_fd(), OFlags::RDONLY)?,
            reopen(self.shared.1.as_fd(), OFlags::WRONLY)?,
        ))
    }

    /// Waits for a token.
    pub(crate) async fn acquire(self: &Arc<Self>) -> std::io::Result<Token> {
        let _turn = self.queue.lock().await;
        loop {
            let mut ready = self.read.readable().await?;
            // Taken and counted under one lock, so that a refill never comes between.
            let mut taken = self.taken();
            match rustix::io::read(self.read.get_ref(), &mut [0_u8; 1]) {
                Ok(1) => {
                    *taken += 1;
                    return Ok(Token {
                        jobserver: Arc::clone(self),
                    });
                }
                Err(Errno::AGAIN) => ready.clear_ready(),
                Ok(_) => return Err(std::io::Error::other("the jobserver's pipe is closed")),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn taken(&self) -> MutexGuard<'_, usize> {
        // A count is whole even where a holder panicked.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self) {
        let mut taken = self.taken();
        *taken = taken.saturating_sub(1);
        if *taken == 0 {
            self.refill();
        } else {
            self.trim(self.slots.saturating_sub(*taken + 1));
            let _ = rustix::io::write(&self.write, &[TOKEN]);
        }
    }

    /// Leaves at most so many tokens in the pipe: who gives one back waits where a program filled it
    /// with tokens that it never took.
    fn trim(&self, most: usize) {
        let mut buffer = [0_u8; 4096];
        while let Ok(found) = rustix::io::ioctl_fionread(&self.read) {
            let excess = usize::try_from(found).unwrap_or(0).saturating_sub(most);
            let excess = excess.min(buffer.len());
            let read = rustix::io::read(self.read.get_ref(), &mut buffer[..excess]);
            if excess == 0 || read.is_err() {
                break;
            }
        }
    }

    /// Makes the pipe hold exactly one token per slot. Only while nothing runs.
    fn refill(&self) {
        let mut buffer = [0_u8; 4096];
        while rustix::io::read(self.read.get_ref(), &mut buffer).is_ok_and(|read| read > 0) {}
        for _ in 0..self.slots {
            let _ = rustix::io::write(&self.write, &[TOKEN]);
        }
    }
}

/// A new description of a pipe's end, whatever programs do to theirs.
fn reopen(end: BorrowedFd<'_>, how: OFlags) -> std::io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&end));
    Ok(rustix::fs::open(
        path,
        how | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// A token, given back when dropped.
pub(crate) struct Token {
    jobserver: Arc<Jobserver>,
}

impl Drop for Token {
    fn drop(&mut self) {
        self.jobserver.give_back();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn tokens_are_bounded_and_come_back() {
        let jobs = Jobserver::new(2).unwrap();
        let one = jobs.acquire().await.unwrap();
        let _two = jobs.acquire().await.unwrap();
        let mut third = Box::pin(jobs.acquire());
        assert!(third.as_mut().now_or_never().is_none());
        drop(one);
        third.await.unwrap();
    }

    #[tokio::test]
    async fn what_one_action_sets_on_its_ends_is_its_own() {
        let jobs = Jobserver::new(1).unwrap();
        let one = jobs.own_ends().unwrap();
        let two = jobs.own_ends().unwrap();
        for end in [&one.0, &one.1] {
            rustix::io::ioctl_fionbio(end, true).unwrap();
        }
        for end in [&two.0, &two.1] {
            let flags = rustix::fs::fcntl_getfl(end).unwrap();
            assert!(!flags.contains(OFlags::NONBLOCK));
        }
    }

    #[tokio::test]
    async fn lost_and_invented_tokens_are_made_good_when_nothing_runs() {
        let jobs = Jobserver::new(2).unwrap();
        let one = jobs.acquire().await.unwrap();
        // A program takes a token and is killed, then another writes five it never took.
        let (read, write) = jobs.own_ends().unwrap();
        rustix::io::read(&read, &mut [0_u8; 1]).unwrap();
        drop(one);
        let one = jobs.acquire().await.unwrap();
        rustix::io::write(&write, b"+++++").unwrap();
        drop(one);
        let _one = jobs.acquire().await.unwrap();
        let _two = jobs.acquire().await.unwrap();
        assert!(jobs.acquire().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_pipe_that_a_program_filled_keeps_nobody_waiting() {
        let jobs = Jobserver::new(3).unwrap();
        let running = jobs.acquire().await.unwrap();
        let filler = jobs.acquire().await.unwrap();
        let (_read, write) = jobs.own_ends().unwrap();
        rustix::io::ioctl_fionbio(&write, true).unwrap();
        while rustix::io::write(&write, &[TOKEN; 4096]).is_ok() {}
        drop(filler);
        // Two are left, and there is room for those who give one back.
        rustix::io::write(&write, &[TOKEN]).unwrap();
        rustix::io::read(&jobs.read, &mut [0_u8; 1]).unwrap();
        let _one = jobs.acquire().await.unwrap();
        let _two = jobs.acquire().await.unwrap();
        assert!(jobs.acquire().now_or_never().is_none());
        drop(running);
    }
}
