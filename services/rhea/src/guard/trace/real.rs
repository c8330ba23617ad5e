//! Answers where a path really leads, for the library that asks it in one call.
//!
//! The same looks are noted that the C library would make one by one: a link's target, or that
//! there is none, at every step.

use std::collections::HashMap;
use std::fs;
use std::io;

use vx_core::readset::ReadPlace;

use super::notes::{Intent, Notes};
use super::scope::Side;

/// What asks: see `preload/realpath.rs`.
pub(super) const QUESTION: i32 = -0x7678;

/// How many links a path may lead through, as the kernel has it.
const MOST_LINKS: usize = 40;

/// How many answers are kept before it starts over.
const MOST_KNOWN: usize = 20_000;

/// Where paths lead that nobody can change from within, as found before.
#[derive(Default)]
pub(super) struct RealPaths(HashMap<String, String>);

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Real {
    /// The path without links, `.` and `..`.
    Path(String),
    /// It can't be followed: this error number.
    Fault(i32),
    /// It leads where a path means another place for each process: the caller has to see.
    Elsewhere,
}

impl Notes {
    /// Follows an absolute path to its end.
    pub(super) fn real_path(&mut self, path: &str) -> Real {
        if let Some(known) = self.real_paths.0.get(path) {
            return Real::Path(known.clone());
        }
        let mut fixed = true;
        let found = self.follow_all(path, &mut fixed);
        if let (Real::Path(real), true) = (&found, fixed) {
            if self.real_paths.0.len() >= MOST_KNOWN {
                self.real_paths.0.clear();
            }
            self.real_paths.0.insert(path.to_owned(), real.clone());
        }
        found
    }

    /// `fixed` is whether all of it is of the host, which an action can only read.
    fn follow_all(&mut self, path: &str, fixed: &mut bool) -> Real {
        let mut rest = parts(path);
        let mut at = String::new();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            if part == ".." {
                if !is_directory(&at) {
                    return Real::Fault(libc::ENOTDIR);
                }
                at.truncate(at.rfind('/').unwrap_or(0));
                continue;
            }
            let next = format!("{at}/{part}");
            if next == "/proc" {
                return Real::Elsewhere;
            }
            self.note(&next, Intent::LookAtLink);
            *fixed &= matches!(
                self.scope.side(&next),
                Side::Out(ReadPlace::Host(_) | ReadPlace::Toolchain(_))
            ) || is_above_host(&next);
            match fs::read_link(&next) {
                Ok(target) => {
                    links += 1;
                    let Some(target) = target.to_str() else {
                        return Real::Elsewhere;
                    };
                    if links > MOST_LINKS {
                        return Real::Fault(libc::ELOOP);
                    }
                    if target.starts_with('/') {
                        at.clear();
                    }
                    rest.extend(parts(target));
                }
                // It is there, and no link.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => at = next,
                Err(error) => return Real::Fault(error.raw_os_error().unwrap_or(libc::EIO)),
            }
        }
        let as_directory = path.ends_with('/') || path.ends_with("/.");
        if as_directory && !is_directory(&at) {
            return Real::Fault(libc::ENOTDIR);
        }
        Real::Path(if at.is_empty() { "/".to_owned() } else { at })
    }
}

/// The root and what only leads to the host's directories is made by vx.
fn is_above_host(path: &str) -> bool {
    use vx_core::places;
    let leads = |place: &&str| places::below(place, path).is_some();
    path == places::ROOT || places::HOST.iter().any(leads)
}

fn is_directory(path: &str) -> bool {
    path.is_empty() || fs::metadata(path).is_ok_and(|found| found.is_dir())
}

/// The components of a path, the last first.
fn parts(path: &str) -> Vec<String> {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.rev().map(str::to_owned).collect()
}
