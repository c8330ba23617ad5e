//! The reader, alone and held against cargo's own.

use super::*;

fn host() -> Host {
    Host::new(Arc::new(crate::host::Plain))
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn sample() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "home/config.toml",
        "[build]\nrustflags = ['--cfg', 'home']\nincremental = false\n[env]\nA = { value = 'home' }\n[alias]\nx = 'build'\n",
    );
    write(
        dir.path(),
        "outer/.cargo/config.toml",
        "include = ['more.toml', { path = 'none.toml', optional = true }]\n[build]\nrustflags = ['--cfg', 'outer']\n\
         [target.x86_64-unknown-linux-gnu]\nlinker = 'tools/ld'\n",
    );
    write(
        dir.path(),
        "outer/.cargo/more.toml",
        "[env]\nB = { value = 'sub/dir', relative = true }\n[build]\nrustflags = ['--cfg', 'more']\n",
    );
    write(
        dir.path(),
        "outer/inner/.cargo/config.toml",
        "[env]\nA = { value = 'inner', force = true }\n[target.'cfg(unix)']\nrunner = ['inner']\n",
    );
    dir
}

fn load(dir: &Path, env: &BTreeMap<String, String>) -> Config {
    Config::load(&host(), &dir.join("outer/inner"), &dir.join("home"), env).unwrap()
}

#[test]
fn nearer_files_win_and_lists_join() {
    let dir = sample();
    let env = [("A".to_owned(), "set".to_owned())].into();
    let config = load(dir.path(), &env);
    let flags = config.words(&["build", "rustflags"]).unwrap();
    assert_eq!(flags, ["--cfg", "home", "--cfg", "more", "--cfg", "outer"]);
    let outer = dir.path().join("outer");
    assert_eq!(
        config
            .program(&["target", "x86_64-unknown-linux-gnu", "linker"])
            .unwrap(),
        outer.join("tools/ld").to_string_lossy()
    );
    assert_eq!(
        config.env_table().unwrap(),
        [
            ("A".to_owned(), "inner".to_owned()),
            (
                "B".to_owned(),
                outer.join("sub/dir").to_string_lossy().into_owned()
            )
        ]
    );
    assert!(config.absent.contains(&outer.join(".cargo/none.toml")));
}

#[test]
fn variables_come_before_files_and_last_in_lists() {
    let dir = sample();
    let env = [
        ("CARGO_BUILD_RUSTFLAGS".to_owned(), "-Cx -Cy".to_owned()),
        (
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER".to_owned(),
            "mold".to_owned(),
        ),
    ]
    .into();
    let config = load(dir.path(), &env);
    let flags = config.words(&["build", "rustflags"]).unwrap();
    assert_eq!(&flags[flags.len() - 2..], ["-Cx", "-Cy"]);
    let linker = config.program(&["target", "x86_64-unknown-linux-gnu", "linker"]);
    assert_eq!(linker.as_deref(), Some("mold"));
}

/// Cargo's own reading of the same files. A `runner` is in one file alone: cargo 1.95 joins two
/// of them or not, by the order of a hash map.
#[test]
fn the_reader_agrees_with_cargo() {
    let dir = sample();
    let mut env: BTreeMap<String, String> = std::env::vars().collect();
    env.retain(|name, _| !name.starts_with("CARGO"));
    let Ok(cargo) = crate::process::find_program(&host(), "cargo", Path::new("/"), &env) else {
        return;
    };
    let mut tool_env = env.clone();
    tool_env.insert(
        "CARGO_HOME".to_owned(),
        dir.path().join("home").to_string_lossy().into_owned(),
    );
    tool_env.insert(
        "__CARGO_TEST_CHANNEL_OVERRIDE_DO_NOT_USE_THIS".to_owned(),
        "nightly".to_owned(),
    );
    let args = [
        "config",
        "get",
        "--format",
        "json",
        "-Z",
        "unstable-options",
    ]
    .map(str::to_owned);
    let printed = crate::process::run(
        &host(),
        &cargo,
        &args,
        &dir.path().join("outer/inner"),
        &tool_env,
    )
    .unwrap();
    assert!(printed.success, "{}", printed.stderr);
    let mut theirs: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    // The temporary directory's parents may be configured too; only what the sample says counts.
    let ours = serde_json::to_value(load(dir.path(), &env).plain()).unwrap();
    let keys: Vec<String> = ours.as_object().unwrap().keys().cloned().collect();
    theirs
        .as_object_mut()
        .unwrap()
        .retain(|key, _| keys.contains(key));
    assert_eq!(sorted(ours), sorted(theirs));
}

fn sorted(value: serde_json::Value) -> BTreeMap<String, String> {
    value
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| (key.clone(), canonical(value)))
        .collect()
}

fn canonical(value: &serde_json::Value) -> String {
    match value.as_object() {
        Some(map) => {
            let sorted: BTreeMap<_, _> = map.iter().map(|(k, v)| (k, canonical(v))).collect();
            format!("{sorted:?}")
        }
        None => value.to_string(),
    }
}
