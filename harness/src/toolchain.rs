//! A toolchain of the harness's own whose `rustc` counts.
//!
//! Its script writes one line into a FIFO lying in the sysroot and then becomes the real compiler
//! beside it. An isolation root that mounts the sysroot read-only mounts the FIFO too, and a FIFO
//! can be written to there, so the count is right wherever the compiler runs.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags};

use crate::sysroot::{FIFO, HOLD, Sysroot};

/// First word of a line that the harness writes itself.
const MARKER: &str = "!marker";

/// Starts the first word of a line that something else than a compiler writes, such as a build
/// script of a fixture.
const EVENT: char = '@';

/// How long something the harness waits for may take before the test fails: what fixtures wait
/// for takes a second, also on a machine that does ten things at once a few.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// One real compiler run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compile {
    /// `--crate-name`.
    pub crate_name: String,
    /// `-C metadata`.
    pub metadata: String,
}

#[derive(Default)]
struct Counted {
    compiles: Vec<Compile>,
    events: Vec<String>,
    markers: u64,
}

#[derive(Default)]
struct Shared {
    counted: Mutex<Counted>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sysroot of one environment, and the count of compilers started in it.
pub struct Toolchain {
    sysroot: Sysroot,
    shared: Arc<Shared>,
    markers: Mutex<(File, u64)>,
    holds: Mutex<HashMap<String, File>>,
}

impl Toolchain {
    /// A sysroot nobody else uses.
    #[must_use]
    pub fn new() -> Self {
        let sysroot = Sysroot::take();
        let fifo = sysroot.path().join(FIFO);
        make_fifo(&fifo);
        let shared = Arc::new(Shared::default());
        let reader = open_fifo(&fifo);
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || count(reader, &shared)
        });
        Self {
            markers: Mutex::new((open_fifo(&fifo), 0)),
            sysroot,
            shared,
            holds: Mutex::default(),
        }
    }

    /// The sysroot.
    #[must_use]
    pub fn sysroot(&self) -> &Path {
        self.sysroot.path()
    }

    /// The compilers started so far, in order.
    ///
    /// # Panics
    /// When the counter is broken.
    #[must_use]
    pub fn compiles(&self) -> Vec<Compile> {
        let wanted = self.mark();
        self.wait(|counted| (counted.markers >= wanted).then(|| counted.compiles.clone()))
    }

    /// How often a line `@name …` was written into the counter's FIFO, which an action finds at
    /// `vx-counter.fifo` in its sysroot.
    ///
    /// # Panics
    /// When the counter is broken.
    #[must_use]
    pub fn events(&self, name: &str) -> usize {
        let wanted = self.mark();
        self.wait(|counted| {
            let events = counted.events.iter().filter(|event| *event == name).count();
            (counted.markers >= wanted).then_some(events)
        })
    }

    /// Waits until that has happened at least `times` times in all.
    ///
    /// # Panics
    /// When it takes unreasonably long.
    pub fn wait_for_event(&self, name: &str, times: usize) {
        self.wait(|counted| {
            let events = counted.events.iter().filter(|event| *event == name).count();
            (events >= times).then_some(())
        });
    }

    /// Lines come out of a FIFO in the order they went in: once this marker is there, so is
    /// everything that was written before.
    fn mark(&self) -> u64 {
        let mut markers = self.markers.lock().unwrap_or_else(PoisonError::into_inner);
        markers.1 += 1;
        let line = format!("{MARKER} {}\n", markers.1);
        markers
            .0
            .write_all(line.as_bytes())
            .expect("the counter's FIFO takes a line");
        markers.1
    }

    /// Waits until a compiler of this crate has been started, at least `times` times in all.
    ///
    /// # Panics
    /// When that takes unreasonably long.
    pub fn wait_for(&self, crate_name: &str, times: usize) {
        self.wait(|counted| {
            let runs = counted
                .compiles
                .iter()
                .filter(|run| run.crate_name == crate_name);
            (runs.count() >= times).then_some(())
        });
    }

    /// Waits until `wanted` gives something.
    fn wait<T>(&self, wanted: impl Fn(&Counted) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut counted = self.shared.lock();
        loop {
            if let Some(found) = wanted(&counted) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "no such compiler run; there were {:?}",
                counted.compiles
            );
            counted = self
                .shared
                .changed
                .wait_timeout(counted, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// From now on whoever is named so is held: a compile of a crate of this name, or a build
    /// script that reads a line of `hold/<name>` in its sysroot.
    ///
    /// # Panics
    /// When it is held already.
    pub fn hold(&self, name: &str) -> Hold<'_> {
        let directory = self.sysroot().join(HOLD);
        fs::create_dir_all(&directory).expect("the sysroot can be written");
        let path = directory.join(name);
        make_fifo(&path);
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        holds.insert(name.to_owned(), open_fifo(&path));
        Hold {
            toolchain: self,
            name: name.to_owned(),
        }
    }

    fn release(&self, name: &str) {
        // No one new is held; who already waits, or is about to, gets a line each. The end stays
        // open, so that an opening under way does not wait for a writer.
        let _ = fs::remove_file(self.sysroot().join(HOLD).join(name));
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fifo) = holds.get_mut(name) {
            let _ = fifo.write_all(&[b'\n'; 1024]);
        }
    }

    /// Whether a file, opened by path in whatever mount namespace, is this sysroot's script.
    pub(crate) fn owns(&self, path: &Path) -> bool {
        let own = fs::metadata(self.sysroot().join("bin/rustc"));
        let Ok((own, other)) = own.and_then(|own| Ok((own, fs::metadata(path)?))) else {
            return false;
        };
        (own.dev(), own.ino()) == (other.dev(), other.ino())
    }
}

impl Default for Toolchain {
    fn default() -> Self {
        Self::new()
    }
}

/// Holds compilers or build scripts until it is dropped.
#[must_use = "dropping it lets go at once"]
pub struct Hold<'a> {
    toolchain: &'a Toolchain,
    name: String,
}

impl Hold<'_> {
    /// Lets go.
    pub fn release(self) {}
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.toolchain.release(&self.name);
    }
}

fn make_fifo(path: &Path) {
    // Actions run as a mapped user: everyone may write, in a directory only the owner enters.
    rustix::fs::mkfifoat(CWD, path, Mode::from_raw_mode(0o666))
        .expect("the sysroot can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("the FIFO is ours");
}

/// Opens a FIFO for both directions, which never blocks and never sees its end.
fn open_fifo(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::CLOEXEC.bits().cast_signed())
        .open(path)
        .expect("the FIFO is ours")
}

/// Reads lines until the process ends: this end is a writer too, so there is no end of file.
fn count(fifo: File, shared: &Shared) {
    for line in BufReader::new(fifo).lines() {
        let Ok(line) = line else { return };
        let Some((first, second)) = line.split_once(' ') else {
            continue;
        };
        let mut counted = shared.lock();
        if first == MARKER {
            counted.markers = second.parse().unwrap_or(counted.markers);
        } else if let Some(event) = first.strip_prefix(EVENT) {
            counted.events.push(event.to_owned());
        } else {
            counted.compiles.push(Compile {
                crate_name: first.to_owned(),
                metadata: second.to_owned(),
            });
        }
        drop(counted);
        shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn counts_compiles_and_not_questions() {
        let toolchain = Toolchain::new();
        let rustc = toolchain.sysroot().join("bin/rustc");
        // What runs tests sets it to the libraries of the compiler that built them.
        let command = || {
            let mut command = Command::new(&rustc);
            command.env_remove("LD_LIBRARY_PATH");
            command
        };
        let output = command().args(["--print", "sysroot"]).output().unwrap();
        let sysroot = String::from_utf8(output.stdout).unwrap();
        assert_eq!(Path::new(sysroot.trim_end()), toolchain.sysroot());
        assert!(command().arg("-vV").output().unwrap().status.success());
        assert!(toolchain.compiles().is_empty());

        let source = toolchain.sysroot().join("x.rs");
        fs::write(&source, "pub fn x() {}").unwrap();
        let status = command()
            .args([
                "--crate-name",
                "x",
                "--crate-type",
                "lib",
                "-C",
                "metadata=12",
                "--out-dir",
            ])
            .arg(toolchain.sysroot())
            .arg(&source)
            .status()
            .unwrap();
        assert!(status.success());
        let expected = Compile {
            crate_name: "x".to_owned(),
            metadata: "12".to_owned(),
        };
        assert_eq!(toolchain.compiles(), [expected]);
    }

    #[test]
    fn holds_and_lets_go() {
        let toolchain = Toolchain::new();
        let hold = toolchain.hold("x");
        let mut held = Command::new(toolchain.sysroot().join("bin/rustc"))
            .args(["--crate-name", "x", "-C", "metadata=1", "--version"])
            .spawn()
            .unwrap();
        toolchain.wait_for("x", 1);
        assert!(held.try_wait().unwrap().is_none());
        hold.release();
        assert!(held.wait().unwrap().success());
    }
}
