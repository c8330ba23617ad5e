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

/// Says that a test runs on an overlay.
const OVERLAY: &str = "VX_TEST_OVERLAY";

/// Whether the test's directories lie on an overlay.
pub fn is_on_overlay() -> bool {
    std::env::var_os(OVERLAY).is_some()
}

/// Runs the named test of this program once more with its directories on an overlay, as
/// containers have them, if this is root and may mount one. It is gone with the process.
#[track_caller]
pub fn again_on_overlay(test: &str) {
    const MOUNT: &str =
        "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged";
    let again = is_on_overlay() || std::env::var_os(GUARD).is_some();
    if !rustix::process::geteuid().is_root() || again {
        return;
    }
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(directory.path().join(name)).unwrap();
    }
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-ec", script, "sh"]);
        command.current_dir(directory.path());
        command
    };
    if !unshare(MOUNT).status().is_ok_and(|status| status.success()) {
        eprintln!("no overlay can be mounted here: {test} was not run on one");
        return;
    }
    let output = unshare(&format!("{MOUNT}; TMPDIR=$PWD/merged exec \"$@\""))
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact"])
        .env(OVERLAY, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "on an overlay: {said}{errors}"
    );
}

fn open(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
