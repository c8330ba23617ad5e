//! What a client asks for: where it stands, its environment, and what it selected.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A build as a client asks for it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PlanRequest {
    /// The client's working directory; absolute.
    pub cwd: PathBuf,
    /// The client's environment. Child processes get nothing else.
    pub env: BTreeMap<String, String>,
    /// What to build.
    pub selection: Selection,
}

/// Cargo's own flags of what to build and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// `--manifest-path`
    pub manifest_path: Option<PathBuf>,
    /// `--package`
    pub packages: Vec<String>,
    /// `--workspace`
    pub workspace: bool,
    /// `--exclude`
    pub exclude: Vec<String>,
    /// `--lib`
    pub lib: bool,
    /// `--bins`
    pub bins: bool,
    /// `--bin`
    pub bin: Vec<String>,
    /// `--examples`
    pub examples: bool,
    /// `--example`
    pub example: Vec<String>,
    /// `--features`
    pub features: Vec<String>,
    /// `--all-features`
    pub all_features: bool,
    /// `--no-default-features`
    pub no_default_features: bool,
    /// `--profile`
    pub profile: Option<String>,
    /// `--release`
    pub release: bool,
    /// `--target`
    pub target: Vec<String>,
    /// `--locked`
    pub locked: bool,
    /// `--offline`
    pub offline: bool,
    /// `--frozen`
    pub frozen: bool,
}

impl Selection {
    /// The flags that `cargo metadata` knows too: the manifest, features, and what may change.
    pub(crate) fn common_args(&self) -> Vec<String> {
        let mut args = Vec::new();
        if let Some(path) = &self.manifest_path {
            args.push("--manifest-path".to_owned());
            args.push(path.to_string_lossy().into_owned());
        }
        repeat(&mut args, "--features", &self.features);
        flag(&mut args, "--all-features", self.all_features);
        flag(&mut args, "--no-default-features", self.no_default_features);
        args
    }

    /// The flags that say whether the lock file may change and the network be used.
    pub(crate) fn lock_args(&self) -> Vec<String> {
        let mut args = Vec::new();
        flag(&mut args, "--locked", self.locked);
        flag(&mut args, "--offline", self.offline);
        flag(&mut args, "--frozen", self.frozen);
        args
    }

    /// The flags of `cargo build` but those of [`Self::common_args`] and [`Self::lock_args`].
    pub(crate) fn build_args(&self) -> Vec<String> {
        let mut args = Vec::new();
        repeat(&mut args, "--package", &self.packages);
        flag(&mut args, "--workspace", self.workspace);
        repeat(&mut args, "--exclude", &self.exclude);
        flag(&mut args, "--lib", self.lib);
        flag(&mut args, "--bins", self.bins);
        repeat(&mut args, "--bin", &self.bin);
        flag(&mut args, "--examples", self.examples);
        repeat(&mut args, "--example", &self.example);
        if let Some(profile) = &self.profile {
            args.push("--profile".to_owned());
            args.push(profile.clone());
        }
        flag(&mut args, "--release", self.release);
        repeat(&mut args, "--target", &self.target);
        args
    }

    /// The name of the profile that was asked for.
    pub fn profile_name(&self) -> &str {
        match &self.profile {
            Some(name) => name,
            None if self.release => "release",
            None => "dev",
        }
    }
}

fn flag(args: &mut Vec<String>, name: &str, on: bool) {
    if on {
        args.push(name.to_owned());
    }
}

fn repeat(args: &mut Vec<String>, name: &str, values: &[String]) {
    for value in values {
        args.push(name.to_owned());
        args.push(value.clone());
    }
}

/// Variables that cargo or rustup reads and that do not change what is built: where things
/// lie, how they are fetched, how cargo speaks, and what an outer `cargo run` left behind.
const WITHOUT_EFFECT: &[&str] = &[
    "CARGO",
    "CARGO_HOME",
    "CARGO_LOG",
    "CARGO_MAKEFLAGS",
    "CARGO_BUILD_BUILD_DIR",
    "CARGO_BUILD_JOBS",
    "CARGO_CACHE_RUSTC_INFO",
    "CARGO_CRATE_NAME",
    "CARGO_BIN_NAME",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_TMPDIR",
    "RUSTUP_HOME",
    "RUSTUP_AUTO_INSTALL",
];

/// Prefixes of such variables.
const PREFIXES_WITHOUT_EFFECT: &[&str] = &[
    "CARGO_TERM_",
    "CARGO_NET_",
    "CARGO_HTTP_",
    "CARGO_REGISTRY_",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_BIN_EXE_",
    "CARGO_FEATURE_",
    "CARGO_CFG_",
    "CARGO_UNSTABLE_",
];

/// The variables of an environment that can change a plan, with their values.
///
/// Cargo takes its environment whole when it starts, so no trace can tell which of it counts. `HOME`,
/// `PATH` and the homes of cargo and rustup count by what is found through them, which is looked at.
/// Proxies and the like say how something is fetched that the lock file names.
///
/// A prefix rule and no list of names: a variable that is new since the plan was made
/// (`CARGO_PROFILE_RELEASE_LTO`) must be noticed as well as one that changed.
pub fn plan_env(env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    env.iter()
        .filter(|(name, _)| reaches_plan(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn reaches_plan(name: &str) -> bool {
    // Where a registry is reaches a plan, and who may fetch from it does not.
    let fetching = name.starts_with("CARGO_REGISTRIES_") && !name.ends_with("_INDEX");
    let known = name.starts_with("CARGO")
        || name.starts_with("__CARGO")
        || name == "RUST_TARGET_PATH"
        || name.starts_with("RUSTC")
        || name.starts_with("RUSTUP_TOOLCHAIN")
        || name == "RUSTFLAGS";
    known
        && !fetching
        && !WITHOUT_EFFECT.contains(&name)
        && !PREFIXES_WITHOUT_EFFECT
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_a_plan_is_kept() {
        let env = [
            "RUSTFLAGS",
            "CARGO_PROFILE_DEV_DEBUG",
            "CARGO_HOME",
            "HOME",
            "CARGO_TERM_COLOR",
            "CARGO_REGISTRIES_OURS_INDEX",
            "CARGO_REGISTRIES_OURS_TOKEN",
        ]
        .map(|name| (name.to_owned(), String::new()))
        .into();
        let names: Vec<_> = plan_env(&env).into_keys().collect();
        assert_eq!(
            names,
            [
                "CARGO_PROFILE_DEV_DEBUG",
                "CARGO_REGISTRIES_OURS_INDEX",
                "RUSTFLAGS"
            ]
        );
    }

    #[test]
    fn profile_names() {
        assert_eq!(Selection::default().profile_name(), "dev");
        let release = Selection {
            release: true,
            ..Selection::default()
        };
        assert_eq!(release.profile_name(), "release");
    }
}
