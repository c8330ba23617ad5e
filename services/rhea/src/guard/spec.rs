//! What the executor tells a guard, and what the guard reports back.

use std::io::{Read, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vx_core::{CheckoutMount, Exit};

use super::trace::Scope;
use crate::host::SystemEntry;

/// The jobserver's read end inside an action.
///
/// High numbers, because configure scripts use 5 to 9 for themselves and shells 10 and up.
pub(crate) const JOBS_READ: i32 = 100;

/// The jobserver's write end inside an action.
pub(crate) const JOBS_WRITE: i32 = 101;

/// A host directory and where it is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bind {
    /// Its absolute path on the host.
    pub(crate) host: String,
    /// Where in the root.
    pub(crate) at: String,
    /// What may be done there.
    pub(crate) access: BindAccess,
}

/// What an action may do in a mounted directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BindAccess {
    /// Read.
    ReadOnly,
    /// Write into the directory itself.
    Writable,
    /// Write into a layer of the action's own, which is thrown away.
    PrivateLayer,
}

/// The program to run in the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program {
    /// Its path and its arguments.
    pub(crate) argv: Vec<String>,
    /// Its whole environment.
    pub(crate) env: Vec<(String, String)>,
    /// Its working directory.
    pub(crate) cwd: String,
    /// Whether to watch what it looks at, and what is an input of it.
    pub(crate) trace: Option<Scope>,
}

/// Everything a guard needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GuardSpec {
    /// Where the program runs.
    pub(crate) ground: Ground,
    /// What the program and all it starts may use.
    pub(crate) bounds: Bounds,
    /// What to run; without it the guard only shows that it could.
    pub(crate) program: Option<Program>,
}

/// What an action may use, each in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bounds {
    /// Memory: each process by itself, and all together with what lies in memory file systems.
    pub(crate) memory: u64,
    /// What it writes into directories that are collected; no file may be larger.
    pub(crate) disk: u64,
}

/// What an action stands on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ground {
    /// A root of its own.
    Root(Box<RootSpec>),
    /// The host as it is, where the kernel refuses roots.
    Host,
}

/// The root to build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RootSpec {
    /// An empty directory of the host's that the new root is mounted on while it is built.
    pub(crate) base: String,
    /// What of the host is visible.
    pub(crate) system: Vec<SystemEntry>,
    /// The toolchain's sysroot.
    pub(crate) toolchain: Option<String>,
    /// The checkout.
    pub(crate) checkout: Option<CheckoutMount>,
    /// Further mounts, parents before what lies below them.
    pub(crate) binds: Vec<Bind>,
    /// Files and directories of the host that are shown at their own paths, read-only.
    pub(crate) host_paths: Vec<String>,
    /// Whether the program's looks at paths are watched.
    pub(crate) watched: bool,
    /// Whether the program may use the host's network.
    pub(crate) network: bool,
}

/// What a guard reports, in order; the first is that the ground stands, or why not, and the last
/// says how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The ground stands and the program starts; building took so long.
    Ready {
        /// From the guard's first instruction on.
        setup: Duration,
    },
    /// The action can't be run here: what failed, and what to look at.
    Unable {
        /// In words.
        reason: String,
        /// Whether the kernel refuses it, and not only could not do it this time.
        refused: bool,
    },
    /// The program runs, and this is what it uses; the answer to a question.
    Alive {
        /// Memory of all its processes and its memory file systems, in bytes.
        memory: u64,
        /// What lies in directories that are collected, in bytes, as far as it was measured.
        disk: u64,
    },
    /// The program can't be started.
    NotStarted(String),
    /// The program used more than it may, and was ended with everything it started.
    Exceeded {
        /// Of what, and what to do.
        what: String,
        /// From its start on.
        duration: Duration,
    },
    /// The program ended, and so did everything it started.
    Ended {
        /// How.
        exit: Exit,
        /// From its start on.
        duration: Duration,
    },
}

/// The longest report, in bytes: texts are short.
pub(crate) const MAX_REPORT: usize = 16 * 1024;

impl Report {
    /// Writes the report with its length in front.
    pub(crate) fn send(&self, mut to: impl Write) -> std::io::Result<()> {
        let body = postcard::to_stdvec(self).map_err(std::io::Error::other)?;
        let length = u32::try_from(body.len()).map_err(std::io::Error::other)?;
        let mut frame = length.to_le_bytes().to_vec();
        frame.extend(body);
        to.write_all(&frame)
    }

    /// Takes a whole report off the front of `bytes`, if one is there.
    pub(crate) fn take(bytes: &mut Vec<u8>) -> Result<Option<Self>, postcard::Error> {
        let Some((header, rest)) = bytes.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*header) as usize;
        if length > MAX_REPORT {
            return Err(postcard::Error::DeserializeBadEncoding);
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let report = postcard::from_bytes(body)?;
        bytes.drain(..4 + length);
        Ok(Some(report))
    }
}

impl GuardSpec {
    /// Reads a spec to the end of `from`.
    pub(crate) fn read(mut from: impl Read) -> std::io::Result<Self> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        postcard::from_bytes(&bytes).map_err(std::io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_come_out_whole_and_in_order() {
        let one = Report::NotStarted("no".to_owned());
        let two = Report::Ended {
            exit: Exit::Code(3),
            duration: Duration::from_millis(5),
        };
        let mut wire = Vec::new();
        one.send(&mut wire).unwrap();
        two.send(&mut wire).unwrap();
        let last = wire.pop().unwrap();
        assert_eq!(Report::take(&mut wire).unwrap(), Some(one));
        assert_eq!(Report::take(&mut wire).unwrap(), None);
        wire.push(last);
        assert_eq!(Report::take(&mut wire).unwrap(), Some(two));
        assert!(wire.is_empty());
    }

    #[test]
    fn refuses_a_report_over_the_limit() {
        let mut wire = u32::MAX.to_le_bytes().to_vec();
        assert!(Report::take(&mut wire).is_err());
    }
}
