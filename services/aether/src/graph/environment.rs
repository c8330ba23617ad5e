//! The environment actions get beyond what cargo sets.
//!
//! It is constructed: fixed values for what every program expects, a short allow-list for
//! what runs foreign code, and variables an earlier run was seen to name.

use std::collections::BTreeMap;

use vx_core::places;

/// Variables that build scripts and what they start find as the caller has them. Every one of
/// them enters the static part of these actions, so the list is short: what C compilers are
/// chosen and told by, by the conventions of the `cc` crate and of make, and the time that
/// reproducible builds pretend it is.
pub(crate) const ALLOWED: &[&str] = &[
    "AR",
    "ARFLAGS",
    "CC",
    "CFLAGS",
    "CPPFLAGS",
    "CXX",
    "CXXFLAGS",
    "LDFLAGS",
    "PKG_CONFIG",
    "PKG_CONFIG_PATH",
    "SOURCE_DATE_EPOCH",
];

/// What every action finds, the same everywhere.
pub(crate) const FIXED: &[(&str, &str)] = &[
    ("PATH", places::PATH),
    ("HOME", places::HOME),
    ("TMPDIR", "/tmp"),
    ("LANG", "C.UTF-8"),
    ("LC_ALL", "C.UTF-8"),
];

/// The allowed variables that are set.
pub(crate) fn allowed(env: &BTreeMap<String, String>) -> Vec<(String, String)> {
    ALLOWED
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), env.get(*name)?.clone())))
        .collect()
}

/// The whole environment of an action, from least to most specific.
pub(crate) fn whole(
    given: BTreeMap<String, String>,
    allowed: &[(String, String)],
    learned: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    let mut env: BTreeMap<String, String> = FIXED
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    env.extend(allowed.iter().cloned());
    env.extend(
        learned
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    env.extend(given);
    env.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_sets_wins() {
        let pair = |value: &str| BTreeMap::from([("X".to_owned(), value.to_owned())]);
        let env = whole(pair("cargo"), &[], &pair("learned"));
        assert!(env.contains(&("X".to_owned(), "cargo".to_owned())));
        assert!(env.contains(&("HOME".to_owned(), places::HOME.to_owned())));
    }
}
