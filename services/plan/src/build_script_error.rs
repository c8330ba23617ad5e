//! What cargo would refuse of a build script's output, in cargo's words.

/// A build script said something cargo would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildScriptError {
    /// A line without `=`, or with a key that is not known.
    #[error("invalid output in {whence}: `{line}`\n{detail}\n{DOCS}")]
    Invalid {
        /// Whose output.
        whence: String,
        /// The line.
        line: String,
        /// What is wrong with it.
        detail: String,
    },
    /// An instruction for targets that the package does not have, or of the wrong form.
    #[error("invalid instruction `{instruction}` from {whence}\n{detail}")]
    Instruction {
        /// The instruction.
        instruction: String,
        /// Whose output.
        whence: String,
        /// What is wrong with it.
        detail: String,
    },
    /// `rustc-flags` with something else than `-l` and `-L`.
    #[error("only `-l` and `-L` flags are allowed in {whence}: `{value}`")]
    Flags {
        /// Whose output.
        whence: String,
        /// The value.
        value: String,
    },
    /// A value is missing.
    #[error("{what} has no value in {whence}: {value}")]
    NoValue {
        /// Of what.
        what: &'static str,
        /// Whose output.
        whence: String,
        /// What was given.
        value: String,
    },
    /// The new syntax in a package that promises to build with a cargo that ignores it.
    #[error(
        "the `cargo::` syntax for build script output instructions was added in Rust 1.77.0, but the minimum supported Rust version of `{package}` is {rust_version}.\n{advice}{DOCS}"
    )]
    TooNew {
        /// The package.
        package: String,
        /// What it promises.
        rust_version: String,
        /// What to write in its place.
        advice: String,
    },
    /// `RUSTC_BOOTSTRAP` is not for crates to set.
    #[error(
        "cannot set `RUSTC_BOOTSTRAP={value}` from {whence}.\nnote: crates cannot set `RUSTC_BOOTSTRAP` themselves, as doing so would subvert the stability guarantees of Rust for your project.\nhelp: If you're sure you want to do this in your project, set the environment variable `RUSTC_BOOTSTRAP={library}` before running cargo instead."
    )]
    Bootstrap {
        /// What was to be set.
        value: String,
        /// Whose output.
        whence: String,
        /// The crate that wanted it.
        library: String,
    },
}

const DOCS: &str = "See https://doc.rust-lang.org/cargo/reference/build-scripts.html#outputs-of-the-build-script for more information about build script outputs.";
