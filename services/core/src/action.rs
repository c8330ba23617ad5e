//! What the executor is asked to run, and how it ended.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::{Blob, Digest};
use crate::path::RelPath;
use crate::readset::Trace;
use crate::result::Output;

/// How an action sees the checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckoutMode {
    /// Read-only.
    ReadOnly,
    /// Writes go to a layer of the action's own that is thrown away.
    PrivateLayer,
}

/// The checkout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckoutMount {
    /// Where in the root: [`crate::places::CHECKOUT`], or for an action that takes its path in
    /// the checkout's real place.
    pub at: String,
    /// Its absolute path on the host.
    pub host: String,
    /// Directories below it that the action finds empty (`.vx`).
    pub hidden: Vec<RelPath>,
    /// Whether the action may write.
    pub mode: CheckoutMode,
}

/// How a package's sources are packed into one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PackageFormat {
    /// A registry's `.crate`: a gzip-compressed tar with one top directory, which is dropped.
    Crate,
    /// A plain tar without a top directory.
    Tar,
}

/// A package's sources on the executor's host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PackageSource {
    /// A registry's archive, taken as it is.
    Archive {
        /// The `.crate`: an absolute path.
        path: String,
        /// The SHA-256 it must have, in hex.
        sha256: String,
    },
    /// A directory, to be packed as [`PackageFormat::Tar`]: sorted, without times, owners, or
    /// what git keeps for itself.
    Tree {
        /// An absolute path.
        path: String,
    },
}

/// What became of a package on its way into a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ingested {
    /// It is there.
    Stored(Blob),
    /// Its file or directory can't be read, for this reason.
    Unreadable(String),
    /// Its archive has this SHA-256 and not the one it must have.
    Mismatch(String),
}

/// An immutable package, unpacked once by the executor and mounted read-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageInput {
    /// Where in the root: an absolute path below [`crate::places::ROOT`], or one of
    /// [`ActionSpec::real_places`].
    pub at: String,
    /// The packed blob.
    pub archive: Digest,
    /// How it is packed.
    pub format: PackageFormat,
}

/// One file the action finds, read-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInput {
    /// Where in the root: an absolute path below [`crate::places::ROOT`].
    pub at: String,
    /// Its content.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Whether it can be executed.
    pub executable: bool,
}

/// A directory the action finds, read-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeInput {
    /// Where in the root: an absolute path below [`crate::places::ROOT`] or one of
    /// [`ActionSpec::real_places`].
    pub at: String,
    /// The encoded tree's blob.
    pub tree: Digest,
    /// Whether what the action looks at in it is noted, where anything is.
    pub watched: bool,
}

/// What becomes of a directory the action writes into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CollectForm {
    /// Each regular file directly in it is an output under its own name.
    Files,
    /// The whole directory is one output of this name, an encoded tree.
    Tree {
        /// The output's name.
        name: String,
    },
}

/// A directory the action may write into; it is empty at the start and collected at the end
/// of a successful run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collect {
    /// Where in the root: an absolute path below [`crate::places::ROOT`].
    pub at: String,
    /// What becomes of it.
    pub form: CollectForm,
}

/// What the action writes to its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MessageFormat {
    /// Text.
    Plain,
    /// rustc's `--error-format=json` lines. Its `artifact` notices are taken by the executor,
    /// which stores and announces the file; every other line is passed on.
    RustcJson,
}

/// What of an action's looks at paths is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Watch {
    /// None: all that it can read is given by digest, or is the toolchain's business.
    Nothing,
    /// All in the checkout, the toolchain and on the host: for what links or runs foreign code, and
    /// for all that sees the checkout. A compiler does not tell of all that it reads: not of what
    /// its assembler includes.
    Everything,
}

/// How many processes and threads an action may have: a `make -j` of a hundred compilers, and far
/// from what would hurt the machine. Their numbers in the action's root stay below it.
pub const MAX_PROCESSES: u64 = 4096;

/// One action, ready to run. Paths inside are those of the isolation root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionSpec {
    /// For logs and errors, such as `ripgrep 15.1.0 (bin rg)`.
    pub label: String,
    /// The program's path and its arguments.
    pub argv: Vec<String>,
    /// The whole environment; nothing else is passed, but for the jobserver's `MAKEFLAGS`.
    pub env: Vec<(String, String)>,
    /// The working directory.
    pub cwd: String,
    /// The host directory mounted at [`crate::places::TOOLCHAIN`].
    pub toolchain: String,
    /// The checkout, where the action sees it.
    pub checkout: Option<CheckoutMount>,
    /// Immutable packages.
    pub packages: Vec<PackageInput>,
    /// Single files.
    pub files: Vec<FileInput>,
    /// Directories.
    pub trees: Vec<TreeInput>,
    /// Directories to write into.
    pub collect: Vec<Collect>,
    /// What standard error holds.
    pub messages: MessageFormat,
    /// What to look for in what is collected and in standard output: places it may have taken
    /// in. At most [`MAX_MARKERS`].
    pub markers: Vec<Marker>,
    /// What of its looks at paths is noted.
    pub watch: Watch,
    /// Further files and directories of the host that it finds, read-only, at their own
    /// absolute paths: what the workspace declares.
    pub host_paths: Vec<String>,
    /// Whether it may use the host's network, which the workspace declares.
    pub network: bool,
    /// Directories by the host's paths in whose place it finds inputs: packages and trees lie
    /// there, or below, as well as below [`crate::places::ROOT`]. What the host has there it does
    /// not see.
    pub real_places: Vec<String>,
    /// The directory that stands for [`crate::places::ROOT`] on the host, for an executor that
    /// can't isolate ([`crate::places::base`]); empty for one that does.
    pub base: String,
}

/// The most texts that are looked for in one action's outputs.
pub const MAX_MARKERS: usize = 32;

/// A text to look for in outputs, debug sections aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The text; not empty.
    pub text: String,
    /// Where it counts.
    pub within: MarkerScope,
    /// Whether the code may be there as bitcode alone, in which a text can start at any bit.
    pub bitcode: bool,
}

/// Where a text counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MarkerScope {
    /// Anywhere.
    Everything,
    /// Of an archive only in what rustc compiled, and not in native objects that it bundles: C
    /// compilers put paths of sources into messages.
    Compiled,
}

/// A marker that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Marked {
    /// The output's name.
    pub output: String,
    /// Which marker: an index into the action's.
    pub marker: usize,
}

/// Which stream a piece of output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A program to run on the executor's host as that is: with its home, its network and whatever its
/// environment says. Nothing of it is isolated or given, and no build waits for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostProgram {
    /// The program's path and its arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// The working directory.
    pub cwd: String,
    /// Files and directories, with all below, whose sights are left out of the trace.
    pub nobodys: Vec<String>,
}

/// How a program on the host ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostEnd {
    /// It ran.
    Ran {
        /// How it ended.
        exit: Exit,
        /// What it looked at, all by absolute paths.
        trace: Trace,
    },
    /// It could not be started, for this reason.
    Unable(String),
}

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// With this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// Whether it ended with status 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Execution {
    /// The program ran.
    Ran {
        /// How it ended.
        exit: Exit,
        /// On success everything collected, and `stdout` and `stderr` where not empty, sorted
        /// by name; every blob is in the store. On failure only `stdout` and `stderr`.
        outputs: Vec<Output>,
        /// From the program's start to its end.
        duration: Duration,
        /// The outputs in which markers were found, sorted.
        marked: Vec<Marked>,
        /// What it looked at, where that was asked for.
        trace: Option<Box<Trace>>,
    },
    /// Nothing ran: the store lacks these inputs.
    InputsMissing(Vec<Digest>),
    /// Nothing ran: the executor can't run this here, for this reason.
    Unable(String),
}
