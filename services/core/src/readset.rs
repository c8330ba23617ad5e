//! Read sets: what an action was seen to read, without what was found there.
//!
//! A read set is kept under its action's static part. To look an action up, what the read set
//! names is observed as it is now, and the observations enter the key.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::path::RelPath;

/// Where a path that an action read lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReadPlace {
    /// In the checkout, relative to its top.
    Checkout(RelPath),
    /// Below `CARGO_HOME`.
    CargoHome(RelPath),
    /// In the toolchain's sysroot.
    Toolchain(RelPath),
    /// On the host: an absolute path.
    Host(String),
    /// In a directory that the action is given by digest: an absolute path of its root.
    Given(String),
}

/// What about a path mattered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReadKind {
    /// A file's content, or that it is absent.
    Content,
    /// The names in a directory and their kinds.
    Listing,
    /// Everything below a directory: names and contents.
    Tree,
    /// Only whether something is there, and of what kind.
    Existence,
    /// What is there: its kind, a file's size, and whether it can be executed. Times, owners
    /// and inode numbers differ between checkouts of the same content and are no part of it.
    Metadata,
    /// The same without following a last link; a link's own target.
    Link,
}

/// One thing an action read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Read {
    /// Where.
    pub place: ReadPlace,
    /// What of it.
    pub kind: ReadKind,
}

/// What an action read and which variables it named, sorted and without repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReadSet {
    /// The paths.
    pub reads: Vec<Read>,
    /// The environment variables.
    pub env: Vec<String>,
    /// Paths of the host that it looked for and that its root did not show: absolute. Where one would
    /// be shown, this is not what the action would read.
    pub missed: Vec<String>,
    /// Which places its outputs hold, so that it ran where they really are and the real paths
    /// enter the key.
    pub taken: TakenIn,
}

/// Places that an action's outputs hold: whoever uses these looks for them there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TakenIn {
    /// The checkout's.
    pub checkout: bool,
    /// That of its package, which is no part of the checkout.
    pub package: bool,
    /// That of its `OUT_DIR`.
    pub out_dir: bool,
    /// Those that build scripts of other packages told its own of: their packages and `OUT_DIR`s.
    pub told: bool,
}

impl TakenIn {
    /// Whether there is any.
    #[must_use]
    pub fn any(self) -> bool {
        self.checkout || self.package || self.out_dir || self.told
    }

    /// These and those.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            checkout: self.checkout || other.checkout,
            package: self.package || other.package,
            out_dir: self.out_dir || other.out_dir,
            told: self.told || other.told,
        }
    }
}

impl ReadSet {
    /// Sorts and removes repeats, so that one set has one encoding.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        self.reads.sort();
        self.reads.dedup();
        self.env.sort();
        self.env.dedup();
        self.missed.sort();
        self.missed.dedup();
        self
    }
}

/// What was found at a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Observed {
    /// A file of this content.
    Content(Digest),
    /// A directory with this listing.
    Listing(Digest),
    /// A directory with this tree below it.
    Tree(Digest),
    /// Something of this kind is there: `file`, `directory`, `link`, `other`.
    Kind(String),
    /// A file whose content was not looked at.
    File {
        /// Its length in bytes.
        size: u64,
        /// Whether whoever looks may execute it.
        executable: bool,
    },
    /// A link to here.
    Link(String),
    /// A file that is neither regular nor a directory; never opened.
    Special,
    /// Nothing is there.
    Absent,
}

/// What was there when an action looked, so that a change under way is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Seen {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// The later of its change and modification times, in nanoseconds since the epoch.
        newest_ns: i64,
    },
    /// A directory.
    Directory {
        /// The later of its change and modification times, in nanoseconds since the epoch.
        newest_ns: i64,
    },
    /// A link that was not followed.
    Link {
        /// The later of its change and modification times, in nanoseconds since the epoch.
        newest_ns: i64,
    },
    /// Anything else.
    Other,
}

/// One thing an action looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sight {
    /// Where and what of it.
    pub read: Read,
    /// What was there the first time.
    pub seen: Seen,
    /// What exactly was there, where the action itself changed it afterwards: only this is then
    /// its input, and not what it left.
    pub before: Option<Observed>,
}

/// In place of a path in [`Trace::unsteady`]: a signal ended a look before it was noted, so its
/// caller may have taken what is there for absent.
pub const INTERRUPTED: &str = "something of which a signal interrupted the look";

/// What an action looked at on the host and in the checkout. What vx gives it otherwise (the
/// outputs of its dependencies, packages, its own directories) is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trace {
    /// Each thing once, sorted.
    pub sights: Vec<Sight>,
    /// A path that was not the same thing each time the action looked: nobody can say which of
    /// them it went by. Or [`INTERRUPTED`].
    pub unsteady: Option<String>,
    /// Why there may be more than these, if so: the action's result can't be keyed.
    pub incomplete: Option<String>,
    /// Files that it left in its own layer of the checkout, relative to the checkout, sorted; at
    /// most [`MAX_WROTE`] of them.
    pub wrote: Vec<String>,
    /// An address off this machine, or of a name service, that it tried to reach.
    pub reached_for: Option<String>,
    /// What the action changed outside of its own directories, where that is not undone: sorted;
    /// at most [`MAX_CHANGED`].
    pub changed: Vec<ReadPlace>,
    /// Paths that it looked for and that its root has nothing at, because it does not show what the
    /// host has there: absolute, sorted; at most [`MAX_MISSED`].
    pub missed: Vec<String>,
}

/// The most files that a trace names as written: they are for people to read.
pub const MAX_WROTE: usize = 20;

/// The most paths that a trace names as changed; an action that changes more has no key.
pub const MAX_CHANGED: usize = 10_000;

/// The most paths that a trace names as missed; an action that misses more has no key.
pub const MAX_MISSED: usize = 10_000;

/// The most bytes that their paths may take together.
pub const MAX_MISSED_BYTES: usize = 512 * 1024;

/// What a directory says of a name in it, without another call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Listed {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A link. Whether it leads to a directory the list does not say, but who goes on looks.
    Link {
        /// Whether it does.
        to_directory: bool,
    },
    /// A pipe, a socket or a device.
    Other,
}

impl Listed {
    /// What an entry of this kind is; of a link it is asked whether it leads to a directory.
    pub fn of(kind: std::fs::FileType, to_directory: impl FnOnce() -> bool) -> Self {
        if kind.is_symlink() {
            Self::Link {
                to_directory: to_directory(),
            }
        } else if kind.is_dir() {
            Self::Directory
        } else if kind.is_file() {
            Self::File
        } else {
            Self::Other
        }
    }
}

/// What a listing of a directory is observed as: its names, as [`name_text`] has them, and what each
/// is.
#[must_use]
pub fn listing(mut names: Vec<(String, Listed)>) -> Observed {
    names.sort();
    Observed::Listing(Digest::of_value("vx listing 2", &names))
}

/// A name or a link's target as text: as it is, or where it is no UTF-8, its bytes in hex after a
/// NUL, which no name has. So different names have different texts.
#[must_use]
pub fn name_text(name: &std::ffi::OsStr) -> String {
    match name.to_str() {
        Some(text) => text.to_owned(),
        None => name
            .as_encoded_bytes()
            .iter()
            .fold("\0".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    }
}

/// Whether a file of this mode that belongs to whoever looks can be executed: for root, any bit is
/// enough.
#[must_use]
pub fn is_executable(mode: u32, by_root: bool) -> bool {
    mode & if by_root { 0o111 } else { 0o100 } != 0
}

/// The most things a trace holds; an action that looks at more has no key.
pub const MAX_SIGHTS: usize = 50_000;

/// The most bytes that the paths of a trace may take together: a trace travels in one message, and
/// the read set that is made of it is one record.
pub const MAX_SIGHT_BYTES: usize = 3 * 1024 * 1024;
