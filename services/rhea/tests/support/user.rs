//! The same test as an ordinary user, where it runs as root: the kernel asks other questions then.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says where the guard's program is; set for who can't reach where it was built.
const GUARD: &str = "VX_TEST_GUARD";

/// A user that owns nothing.
const NOBODY: u32 = 65_533;

/// The program that becomes a guard.
pub fn guard() -> PathBuf {
    std::env::var_os(GUARD).map_or_else(|| env!("CARGO_BIN_EXE_vx-rhea").into(), PathBuf::from)
}

/// Runs the named test of this program once more as an ordinary user, if this is root.
#[track_caller]
pub fn again_as_ordinary_user(test: &str) {
    if !rustix::process::geteuid().is_root() || std::env::var_os(GUARD).is_some() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    open(directory.path());
    for name in ["toolchain", "home"] {
        fs::create_dir(path(name)).unwrap();
        open(&path(name));
        chown(path(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    for (from, to) in [
        (std::env::current_exe().unwrap(), path("test")),
        (guard(), path("guard")),
    ] {
        fs::copy(from, &to).unwrap();
        open(&to);
    }
    let output = Command::new(path("test"))
        .args([test, "--exact"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TMPDIR", path("home"))
        .env(GUARD, path("guard"))
        .env("VX_TEST_TOOLCHAIN", path("toolchain"))
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "as an ordinary user: {said}{errors}"
    );
}

fn open(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
