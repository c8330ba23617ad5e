//! Where the repository of a checkout is: build scripts may ask it for a revision.

use std::path::Path;

use crate::host::visibility::real;

/// Whether a directory that a checkout's `.git` names is a repository, and not another checkout's: a
/// file in the checkout may name anything.
fn is_repository_of(named: &Path, checkout: &Path) -> bool {
    let has = |name: &str| named.join(name).exists();
    if !has("HEAD") || !(has("objects") || has("commondir")) {
        return false;
    }
    match std::fs::read_to_string(named.join("gitdir")) {
        // A worktree's points back.
        Ok(back) => real(&named.join(back.trim())) == real(&checkout.join(".git")),
        // A submodule's, or one that was put elsewhere.
        Err(_) => {
            let config = std::fs::read_to_string(named.join("config")).unwrap_or_default();
            let is_bare = config
                .lines()
                .any(|line| line.replace(' ', "").trim() == "bare=true");
            !is_bare && real(named).file_name().is_none_or(|name| name != ".git")
        }
    }
}

/// Where the repository of a checkout is when it is not in there, and whether that is named by a
/// relative path, as a submodule's is: of a worktree git keeps a part of its own, and a common one.
pub(super) fn repository(checkout: &Path) -> (Vec<String>, bool) {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let text = read(&checkout.join(".git")).unwrap_or_default();
    let Some(named) = text.strip_prefix("gitdir:").map(str::trim) else {
        return (Vec::new(), false);
    };
    let own = checkout.join(named);
    if !is_repository_of(&own, checkout) {
        return (Vec::new(), false);
    }
    let common = read(&own.join("commondir"))
        .map(|text| real(&own.join(text.trim())))
        .filter(|common| real(&own).starts_with(common));
    let mut paths: Vec<String> = [Some(own), common]
        .into_iter()
        .flatten()
        .filter_map(|path| {
            std::fs::canonicalize(path)
                .ok()?
                .into_os_string()
                .into_string()
                .ok()
        })
        .filter(|path| !Path::new(path).starts_with(checkout))
        .collect();
    paths.sort();
    let relative = Path::new(named).is_relative() && !paths.is_empty();
    (paths, relative)
}
