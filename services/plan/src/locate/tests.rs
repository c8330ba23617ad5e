//! Roots and checkouts of workspaces laid out in a temporary directory.

use super::*;

fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let root = dir.path().canonicalize().unwrap();
    (dir, root)
}

fn host() -> Host {
    Host::new(std::sync::Arc::new(crate::host::Plain))
}

const PACKAGE: &str = "[package]\nname = 'p'\n";

fn home(path: &Path) -> BTreeMap<String, String> {
    [("HOME".to_owned(), path.to_string_lossy().into_owned())].into()
}

#[test]
fn roots() {
    let (_dir, root) = tree(&[
        (
            "ws/Cargo.toml",
            "[workspace]\nmembers = ['a']\nexclude = ['x']\n",
        ),
        ("ws/a/Cargo.toml", PACKAGE),
        ("ws/x/Cargo.toml", PACKAGE),
        (
            "ws/b/Cargo.toml",
            "[package]\nname = 'b'\nworkspace = '../other'\n",
        ),
        ("ws/other/Cargo.toml", "[workspace]\n"),
    ]);
    let at = |name: &str| workspace_root(&host(), &root.join(name).join("Cargo.toml")).unwrap();
    assert_eq!(at("ws"), root.join("ws"));
    assert_eq!(at("ws/a"), root.join("ws"));
    assert_eq!(at("ws/x"), root.join("ws/x"));
    assert_eq!(at("ws/b"), root.join("ws/other"));
}

#[test]
fn the_git_top_level_is_the_checkout_also_of_a_worktree() {
    let (_dir, root) = tree(&[
        ("top/.git", "gitdir: elsewhere"),
        ("top/sub/Cargo.toml", PACKAGE),
    ]);
    let sub = root.join("top/sub");
    assert_eq!(
        checkout_of(&host(), &sub, &home(Path::new("/h")), &[]).unwrap(),
        root.join("top")
    );
    // Not if it is a home directory, or holds one.
    assert_eq!(
        checkout_of(&host(), &sub, &home(&root.join("top")), &[]).unwrap(),
        sub
    );
    assert_eq!(
        checkout_of(&host(), &sub, &home(&root.join("top/h")), &[]).unwrap(),
        sub
    );
}

#[test]
fn without_git_path_packages_widen_the_checkout() {
    let (_dir, root) = tree(&[
        ("all/ws/Cargo.toml", "[workspace]\nmembers = ['crates/*']\n"),
        (
            "all/ws/crates/a/Cargo.toml",
            "[package]\nname = 'a'\n[target.'cfg(unix)'.dependencies]\nb = { path = '../../../b' }\n",
        ),
        (
            "all/b/Cargo.toml",
            "[package]\nname = 'b'\n[dependencies.c]\npath = '../c'\n",
        ),
        ("all/c/Cargo.toml", PACKAGE),
    ]);
    let ws = root.join("all/ws");
    assert_eq!(
        checkout_of(&host(), &ws, &home(Path::new("/h")), &[]).unwrap(),
        root.join("all")
    );
    assert_eq!(
        checkout_of(&host(), &ws, &home(&root.join("all")), &[]).unwrap(),
        ws
    );
    assert!(checkout_of(&host(), &ws, &home(&ws), &[]).is_err());
}

#[test]
fn what_the_configuration_names_widens_the_checkout_where_it_may() {
    let (_dir, root) = tree(&[
        ("all/ws/Cargo.toml", PACKAGE),
        ("all/a/Cargo.toml", PACKAGE),
        ("far/b/Cargo.toml", PACKAGE),
        (
            "all/ws/.cargo/config.toml",
            "paths = ['../a', '../none']\n[patch.x]\nb = { path = '../../far/b' }\n",
        ),
    ]);
    let ws = root.join("all/ws");
    let none = BTreeMap::new();
    let config = Config::load(&host(), &ws, &root.join("none"), &none).unwrap();
    let mut named = config.named_directories();
    named.sort();
    let expected = ["all/a", "all/none", "far/b"].map(|name| root.join(name));
    assert_eq!(named, expected);
    let at = |home_: &Path| checkout_of(&host(), &ws, &home(home_), &named).unwrap();
    assert_eq!(at(Path::new("/h")), root);
    // One that would take a home in is not this workspace's.
    assert_eq!(at(&root.join("home")), root.join("all"));
    assert_eq!(at(&root.join("all/home")), ws);
}
