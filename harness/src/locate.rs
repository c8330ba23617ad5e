//! Where the harness finds what was built, and where it keeps what several tests share.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The four programs.
const PROGRAMS: [&str; 4] = ["vx", "vx-aether", "vx-cass", "vx-rhea"];

/// The directory with the four programs: `VX_BIN_DIR`, or what cargo builds now.
pub(crate) fn bin_dir() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let directory = env::var_os("VX_BIN_DIR").map_or_else(build, PathBuf::from);
        for program in PROGRAMS {
            let path = directory.join(program);
            assert!(
                path.is_file(),
                "there is no {}: run `cargo xtask test`",
                path.display()
            );
        }
        directory
    })
}

/// Builds the programs; cargo's own lock lets one of many test processes do it.
fn build() -> PathBuf {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg("build").current_dir(env!("CARGO_MANIFEST_DIR"));
    for program in PROGRAMS {
        cargo.args(["-p", program]);
    }
    let status = cargo.status().expect("cargo can be started");
    assert!(
        status.success(),
        "the programs under test do not build: {status}"
    );
    target_dir().join("debug")
}

/// Cargo's target directory: the one this test lies in.
pub(crate) fn target_dir() -> PathBuf {
    let test = env::current_exe().expect("a test knows its own path");
    test.ancestors()
        .find(|directory| directory.join("CACHEDIR.TAG").is_file())
        .expect("a test lies below cargo's target directory")
        .to_owned()
}

/// A directory for what tests share or must not keep on a small `/tmp`.
pub(crate) fn shared_dir() -> PathBuf {
    let directory = target_dir().join("tmp").join("vx-harness");
    fs::create_dir_all(&directory).expect("the target directory can be written");
    directory
}

/// The sysroot of the toolchain that runs the tests.
pub(crate) fn real_sysroot() -> &'static Path {
    static SYSROOT: OnceLock<PathBuf> = OnceLock::new();
    SYSROOT.get_or_init(|| {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let output = Command::new(rustc)
            .args(["--print", "sysroot"])
            .output()
            .expect("rustc can be started");
        let text = String::from_utf8(output.stdout).expect("rustc prints text");
        PathBuf::from(text.trim_end())
    })
}

/// The machine's target triple.
pub(crate) fn host_triple() -> &'static str {
    static TRIPLE: OnceLock<String> = OnceLock::new();
    TRIPLE.get_or_init(|| {
        let rustc = real_sysroot().join("bin/rustc");
        let output = Command::new(rustc)
            .arg("-vV")
            .output()
            .expect("rustc can be started");
        let text = String::from_utf8(output.stdout).expect("rustc prints text");
        let host = text.lines().find_map(|line| line.strip_prefix("host: "));
        host.expect("rustc names its host").to_owned()
    })
}

/// A `CARGO_HOME` that tests share: the registry's files are downloaded once, and of the user's
/// configuration only what says how to reach a registry is in it.
pub(crate) fn shared_cargo_home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        let home = shared_dir().join("cargo-home");
        fs::create_dir_all(&home).expect("the target directory can be written");
        let text = registry_config().unwrap_or_default();
        let config = home.join("config.toml");
        if fs::read_to_string(&config).ok().as_deref() != Some(&text) {
            // Other test processes may be reading: the file appears whole.
            let staged = home.join(format!("config.{}", std::process::id()));
            fs::write(&staged, text).expect("the target directory can be written");
            fs::rename(&staged, &config).expect("the target directory can be written");
        }
        home
    })
}

/// Tables of the user's cargo configuration that say where packages come from.
const REGISTRY_TABLES: [&str; 5] = ["source", "registries", "registry", "net", "http"];

fn registry_config() -> Option<String> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")))?;
    let text = ["config.toml", "config"]
        .iter()
        .find_map(|name| fs::read_to_string(home.join(name)).ok())?;
    let mut table: toml::Table = text.parse().ok()?;
    table.retain(|name, _| REGISTRY_TABLES.contains(&name));
    toml::to_string(&table).ok()
}
