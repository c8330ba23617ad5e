//! A FIFO in the place of a file: a program that reads it is held in the middle of its work.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use rustix::fs::{CWD, Mode, OFlags, mkfifoat};

use crate::toolchain::PATIENCE;

/// Such a FIFO. What comes through it is empty.
#[derive(Debug)]
pub struct Gate {
    path: PathBuf,
}

impl Gate {
    pub(crate) fn new(path: PathBuf) -> Self {
        mkfifoat(CWD, &path, Mode::from_raw_mode(0o644))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path }
    }

    /// Waits until somebody reads, does something, and lets them go on.
    ///
    /// # Panics
    /// When nobody comes for unreasonably long.
    pub fn let_one_through(&self, meanwhile: impl FnOnce()) {
        let (come, came) = mpsc::channel();
        let path = self.path.clone();
        // Opening it waits for the reader, on a thread that a test can give up on.
        thread::spawn(move || come.send(File::options().write(true).open(path)));
        let opened = came.recv_timeout(PATIENCE);
        let opened = opened.unwrap_or_else(|_| panic!("nobody read {}", self.path.display()));
        meanwhile();
        drop(opened.expect("the FIFO is ours"));
    }

    /// Lets everybody through who comes while something is done.
    pub fn stay_open_while<T>(&self, something: impl FnOnce() -> T) -> T {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    let opened = File::options().write(true).open(&self.path);
                    drop(opened.expect("the FIFO is ours"));
                }
            });
            // Also where a test fails: the thread waits for a reader and would go on doing so.
            let _last = Last(self, &over);
            something()
        })
    }
}

/// Whose end is that of those who come.
struct Last<'a>(&'a Gate, &'a AtomicBool);

impl Drop for Last<'_> {
    fn drop(&mut self) {
        self.1.store(true, Ordering::Release);
        let mut reader = OpenOptions::new();
        reader
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        drop(reader.open(&self.0.path));
    }
}
