//! What can go wrong between a request and its plan.
//!
//! Every message says what happened and, where cargo did not already say it, what to do.

use std::path::PathBuf;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// No `cargo` on the request's `PATH`.
    #[error(
        "no `{program}` on PATH\nvx asks the toolchain's own cargo what to build; install Rust (https://rustup.rs) or put it on PATH"
    )]
    NoProgram {
        /// The program that was looked for.
        program: String,
    },
    /// Neither the working directory nor a parent has a manifest.
    #[error(
        "could not find `Cargo.toml` in `{}` or any parent directory", cwd.display()
    )]
    NoManifest {
        /// Where the search began.
        cwd: PathBuf,
    },
    /// `--manifest-path` names a file that is not there.
    #[error("manifest path `{}` does not exist", path.display())]
    ManifestPath {
        /// The path as it was given, made absolute.
        path: PathBuf,
    },
    /// Cargo refused. Its own words are the message.
    #[error("{stderr}")]
    Cargo {
        /// What cargo was asked for.
        command: String,
        /// What cargo printed, without its status lines.
        stderr: String,
        /// Its exit code, when it was not ended by a signal.
        code: Option<i32>,
    },
    /// rustc could not be asked about itself or a target.
    #[error("`{command}` failed\n{stderr}")]
    Rustc {
        /// What was run.
        command: String,
        /// What it printed.
        stderr: String,
    },
    /// A program printed something else than what is known of it.
    #[error(
        "{what} printed something vx does not understand: {detail}\nthe toolchain may be newer than this vx; try an update of vx, or build with cargo"
    )]
    Malformed {
        /// Whose output it is.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Cargo's unit graph has a version that this vx does not know.
    #[error(
        "cargo's unit graph has version {found}, this vx knows version {known}\nthe toolchain is newer than this vx; update vx, or build with cargo"
    )]
    UnitGraphVersion {
        /// The version that cargo printed.
        found: u64,
        /// The version that is implemented.
        known: u64,
    },
    /// Something cargo would do, and vx does not do yet.
    #[error("{what} is not supported by vx yet\n{advice}")]
    Unsupported {
        /// What it is.
        what: String,
        /// What to do instead.
        advice: String,
    },
    /// A package of the build lies where actions could not see it.
    #[error(
        "package `{package}` lies at `{}`, outside of the checkout `{}`\nmove it into the checkout, or put both in one git repository", path.display(), checkout.display()
    )]
    OutsideCheckout {
        /// The package's name.
        package: String,
        /// Its directory.
        path: PathBuf,
        /// The checkout's directory.
        checkout: PathBuf,
    },
    /// A file of a vendored package was edited. The words are cargo's.
    #[error(
        "the listed checksum of `{}` has changed:\nexpected: {expected}\nactual:   {actual}\n\ndirectory sources are not intended to be edited, if modifications are required then it is recommended that `[patch]` is used with a forked copy of the source", file.display()
    )]
    Vendored {
        /// The file.
        file: PathBuf,
        /// The checksum that is listed.
        expected: String,
        /// The checksum it has.
        actual: String,
    },
    /// A configuration file is not what cargo expects.
    #[error("could not read cargo configuration `{}`: {detail}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A manifest or lock file could not be understood.
    #[error("could not read `{}`: {detail}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A path that is not UTF-8.
    #[error("`{}` is not valid UTF-8, and a plan can only name paths that are", path.display())]
    NotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("could not {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// With which path.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl PlanError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn malformed(what: impl Into<String>, detail: impl ToString) -> Self {
        Self::Malformed {
            what: what.into(),
            detail: detail.to_string(),
        }
    }
}
