//! The plan: packages, units and everything command lines are made of.
//!
//! Values only. Nothing in here names a place on the host: paths are either fixed places of
//! an isolation root, or relative to the checkout or cargo's home. So a plan made in one
//! checkout serves another one of the same content, also on another machine.

use serde::{Deserialize, Serialize};
use vx_core::readset::ReadKind;

use crate::build_output::BuildOutput;
use crate::compiler::Compiler;

/// The version of [`Plan`]'s shape and of the rules by which command lines are made.
pub const PLAN_VERSION: u32 = 4;

/// What cargo would build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`PLAN_VERSION`] of the vx that made it.
    pub version: u32,
    /// The workspace root relative to the checkout; empty if they are the same.
    pub workspace_dir: String,
    /// The packages that units are of.
    pub packages: Vec<Package>,
    /// The units, in cargo's order. Indices into this are what [`Plan`] calls units.
    pub units: Vec<Unit>,
    /// The units that were asked for.
    pub roots: Vec<usize>,
    /// The profile that was asked for (`dev`, `release`, …).
    pub profile: String,
    /// The directory that cargo names after it (`debug`, `release`, …).
    pub profile_dir: String,
    /// The triple rustc runs on.
    pub host: String,
    /// What `rustc -vV` prints.
    pub rustc_version: String,
    /// What is known of the host and of each target; the host comes first.
    pub platforms: Vec<Platform>,
    /// What is run for a compile.
    pub compiler: Compiler,
    /// Variables that cargo passes on to every process: the `[env]` tables of its
    /// configuration, resolved, and the few of its own environment that rustc itself heeds.
    pub env: Vec<(String, String)>,
    /// Where `cargo` would build, relative to the checkout, when it lies in there.
    pub target_dir: Option<String>,
    /// The variables this plan depends on beyond those of [`crate::plan_env`].
    pub env_inputs: Vec<String>,
    /// What cargo had to say (warnings), to be printed with every build, as
    /// [`crate::messages`] words them.
    pub messages: Vec<String>,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// An identity without a place: cargo's package id, or for path packages the directory
    /// relative to the checkout.
    pub id: String,
    /// Where its files come from.
    pub root: PackageRoot,
    /// Its directory in an isolation root.
    pub dir: String,
    /// Whether it is a path package, whose warnings are shown.
    pub is_local: bool,
    /// Whether it is a member of the workspace.
    pub is_member: bool,
    /// Whether one of its targets was asked for.
    pub is_primary: bool,
    /// The `links` key.
    pub links: Option<String>,
    /// All features it declares, sorted.
    pub features: Vec<String>,
    /// All targets it has, whether built or not.
    pub targets: Vec<PackageTarget>,
    /// The `rust-version` key.
    pub rust_version: Option<String>,
    /// The `default-run` key.
    pub default_run: Option<String>,
    /// The flags that its `[lints]` tables amount to.
    pub lint_flags: Vec<String>,
    /// `CARGO_PKG_*` but name and version, in cargo's order.
    pub metadata_env: Vec<(String, String)>,
    /// What the workspace declares for it beyond what cargo knows.
    pub declared: Declared,
    /// Where its directory was when the plan was made. A hint for [`crate::package_files`];
    /// no command line depends on it.
    pub found_at: PlanPath,
}

/// What `metadata.vx` tables let a package's actions see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// Variables of the caller's, by name; sorted.
    pub env: Vec<String>,
    /// Files and directories of the host, read-only at their own absolute paths; sorted.
    pub paths: Vec<String>,
    /// The network.
    pub network: bool,
}

/// A target of a package, as far as rules ask for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PackageTarget {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: TargetKind,
}

/// Where a package's files come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PackageRoot {
    /// A directory of the checkout.
    Checkout {
        /// Relative to the checkout; empty for the checkout itself.
        dir: String,
    },
    /// A registry's archive, whose content the lock file names.
    Archive {
        /// SHA-256 of the archive, in hex, from `Cargo.lock`.
        checksum: String,
        /// `<name>-<version>.crate`.
        file_name: String,
        /// Cargo's id of the registry.
        source: String,
        /// Where the unpacked archive is in an isolation root.
        place: String,
    },
    /// A directory outside of the checkout that no checksum covers: git repositories and
    /// directory sources.
    Tree {
        /// Cargo's id of the source, with the commit of a git repository.
        source: String,
        /// Where the whole tree is in an isolation root.
        place: String,
        /// The package's directory in the tree; empty for the tree itself.
        subdir: String,
    },
}

/// What cargo calls a target's kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TargetKind {
    /// A library with its crate types.
    Lib(Vec<String>),
    /// A program.
    Bin,
    /// An example that is a program.
    ExampleBin,
    /// An example that is a library, with its crate types.
    ExampleLib(Vec<String>),
    /// An integration test.
    Test,
    /// A benchmark.
    Bench,
    /// A build script.
    BuildScript,
}

/// What a unit is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: TargetKind,
    /// The root source file as rustc is told: relative to the working directory of the
    /// compile for packages below the workspace root, else a fixed place.
    pub src: String,
    /// Its edition.
    pub edition: String,
    /// Whether `cargo test` would build it.
    pub test: bool,
    /// Whether it has doc tests.
    pub doctest: bool,
}

/// A profile, resolved for one unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Whether it descends of `release` (else of `dev`): the `PROFILE` of build scripts.
    pub is_release: bool,
    /// `opt-level`
    pub opt_level: String,
    /// `lto` as cargo prints it.
    pub lto: String,
    /// `codegen-backend`
    pub codegen_backend: Option<String>,
    /// `codegen-units`
    pub codegen_units: Option<u32>,
    /// `debug` as rustc is told; `0` is none.
    pub debuginfo: String,
    /// `split-debuginfo`
    pub split_debuginfo: Option<String>,
    /// `debug-assertions`
    pub debug_assertions: bool,
    /// `overflow-checks`
    pub overflow_checks: bool,
    /// `rpath`
    pub rpath: bool,
    /// `incremental`
    pub incremental: bool,
    /// `panic`
    pub panic: String,
    /// `strip`, when something is stripped.
    pub strip: Option<String>,
    /// `rustflags` (unstable).
    pub rustflags: Vec<String>,
}

/// What is done with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// It is compiled.
    Compile,
    /// The build script is run.
    RunBuildScript,
}

/// What of LTO a compile takes part in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lto {
    /// It runs LTO, of this kind.
    Run(Option<String>),
    /// It is off altogether.
    Off,
    /// Only bitcode is needed.
    OnlyBitcode,
    /// Both are needed.
    ObjectAndBitcode,
    /// Only object code is needed.
    OnlyObject,
}

/// One thing to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// Index into [`Plan::packages`].
    pub package: usize,
    /// What it is of.
    pub target: Target,
    /// What is done.
    pub mode: Mode,
    /// How it is compiled.
    pub profile: Profile,
    /// The target triple; `None` is the host.
    pub platform: Option<String>,
    /// Enabled features, sorted.
    pub features: Vec<String>,
    /// What it depends on, in cargo's order.
    pub deps: Vec<UnitDep>,
    /// What of LTO it takes part in.
    pub lto: Lto,
    /// Flags of the user's configuration and environment.
    pub rustflags: Vec<String>,
    /// 16 hex digits: `-C extra-filename` and the names of directories.
    pub identity: String,
    /// 16 hex digits: `-C metadata`; the same whatever the user's flags are.
    pub metadata: String,
    /// Whether its file names carry [`Self::identity`].
    pub hashed_names: bool,
    /// Runs of build scripts whose search paths and libraries reach this compile, in
    /// cargo's order.
    pub link_scripts: Vec<usize>,
    /// Runs of build scripts that host dependencies were built with.
    pub plugin_scripts: Vec<usize>,
    /// What the configuration says in the build script's place (`target.<triple>.<links>`).
    pub overridden: Option<BuildOutput>,
}

/// A dependency of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitDep {
    /// Index into [`Plan::units`].
    pub unit: usize,
    /// The name the source knows it by.
    pub extern_name: String,
    /// Whether it is a public dependency.
    pub public: bool,
    /// Whether it is kept out of the prelude.
    pub noprelude: bool,
}

/// What is known of the host or of a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Platform {
    /// As [`Unit::platform`].
    pub target: Option<String>,
    /// Its triple.
    pub triple: String,
    /// `rustc --print cfg`, in its order.
    pub cfg: Vec<String>,
    /// Values of `split-debuginfo` that it knows.
    pub split_debuginfo: Vec<String>,
    /// Crate type, prefix and suffix of files; a type that is not listed is not supported.
    pub file_names: Vec<(String, String, String)>,
    /// Flags of the user for units of this platform.
    pub rustflags: Vec<String>,
    /// The linker the configuration asks for.
    pub linker: Option<String>,
}

/// Something a plan depends on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PlanInput {
    /// Where it is.
    pub path: PlanPath,
    /// What of it matters.
    pub kind: ReadKind,
}

/// A path a plan depends on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PlanPath {
    /// Relative to the checkout.
    Checkout(String),
    /// Relative to cargo's home.
    CargoHome(String),
    /// Relative to the toolchain's sysroot.
    Toolchain(String),
    /// Relative to rustup's home.
    RustupHome(String),
    /// In every directory above the checkout but cargo's home: what is found there from the
    /// nearest on, of which nothing is a valid answer.
    Parents(String),
    /// Anywhere else on the host; absolute.
    Host(String),
}
