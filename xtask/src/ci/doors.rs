//! Who may look at the host: what a build depends on has to leave a note, so few modules look.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::workspace;

/// Modules that may touch the host, with the reason why what they see is in a key or needs to be in
/// none.
const DOORS: &[(&str, &str)] = &[
    (
        "services/plan/src/host.rs",
        "the door of planning: notes each look",
    ),
    (
        "services/plan/src/host/plain.rs",
        "runs programs for the tests of planning alone",
    ),
    (
        "services/aether/src/host/observe.rs",
        "observes what read sets name, which are in keys",
    ),
    (
        "services/aether/src/host/stat_cache.rs",
        "digests files for observations",
    ),
    (
        "services/aether/src/host/stamps.rs",
        "whether the stamp of a file that is being digested can be believed",
    ),
    (
        "services/aether/src/plan/memo.rs",
        "whether a target directory is one of cargo's caches: only what listings leave out, which are \
         observed without it",
    ),
    (
        "services/aether/src/host/visibility.rs",
        "says which observations an action can make",
    ),
    (
        "services/aether/src/host/toolchain.rs",
        "the toolchain's identity, which is in every key",
    ),
    (
        "services/aether/src/plan/rustc_info.rs",
        "makes directories of vx's own",
    ),
    (
        "services/aether/src/host/read_sets.rs",
        "links before a `..`, each of which it adds to the read set",
    ),
    (
        "services/aether/src/host/withheld.rs",
        "where what settings name really lies: only what is shown to actions, which are watched",
    ),
    (
        "services/aether/src/plan/repository.rs",
        "where the repository really lies: only what is shown to actions, which are watched",
    ),
    (
        "services/aether/src/execute/spec.rs",
        "whether a package is unpacked where cargo puts it: only where an action finds it",
    ),
    (
        "services/aether/src/execute/own_directory.rs",
        "where vx's own directory is: only what is hidden from actions",
    ),
    (
        "services/aether/src/deliver/out_dirs.rs",
        "final outputs: directories of scripts that programs hold",
    ),
    (
        "services/aether/src/build/layout.rs",
        "makes the workspace's own directory",
    ),
    ("services/aether/src/deliver/staging.rs", "final outputs"),
    ("services/aether/src/session/blobs.rs", "final outputs"),
    (
        "services/aether/src/daemon/engine.rs",
        "makes the directory for final outputs",
    ),
    (
        "services/aether/src/report/mod.rs",
        "writes reports, which no build reads",
    ),
    (
        "services/aether/src/host/files.rs",
        "writes vx's own files, whole",
    ),
    (
        "services/aether/src/graph/durations.rs",
        "vx's own file of how long actions took: decides their order alone",
    ),
    (
        "services/aether/src/daemon/aether.rs",
        "vx's own directory, and what `clean` removes",
    ),
];

/// Whose files are judged.
const JUDGED: [&str; 2] = ["services/plan/src", "services/aether/src"];

/// How a look at the host is written.
const LOOKS: [&str; 10] = [
    "fs::",
    ".exists()",
    ".is_file()",
    ".is_dir()",
    ".canonicalize()",
    ".read_link()",
    ".symlink_metadata()",
    ".metadata()",
    ".read_dir()",
    "Command::new",
];

pub(super) fn check() -> Result<()> {
    let mut broken = Vec::new();
    for file in super::files()? {
        if JUDGED.iter().any(|source| file.starts_with(source)) && !is_test(&file) {
            let text = fs::read_to_string(workspace::root().join(&file))?;
            broken.extend(judge(&file, &text));
        }
    }
    for (door, _) in DOORS {
        if !workspace::root().join(door).is_file() {
            broken.push(format!("{door}: named as a door, and is not there"));
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    bail!("{}", broken.join("\n"))
}

fn is_test(file: &Path) -> bool {
    file.components()
        .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

fn judge(file: &Path, text: &str) -> Vec<String> {
    if DOORS.iter().any(|(door, _)| Path::new(door) == file) {
        return Vec::new();
    }
    let mut broken = Vec::new();
    for (number, line) in super::without_tests(text).lines().enumerate() {
        let comment = line.trim_start().starts_with("//");
        if !comment && LOOKS.iter().any(|look| line.contains(look)) {
            broken.push(format!(
                "{}:{}: looks at the host past the modules that note it",
                file.display(),
                number + 1
            ));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_found_outside_of_doors_and_tests() {
        let text =
            "fn a() { path.exists(); }\n// path.exists()\n#[cfg(test)]\nmod tests { std::fs::x }\n";
        let plan = |name: &str| format!("services/plan/src/{name}");
        assert_eq!(judge(Path::new(&plan("lints.rs")), text).len(), 1);
        assert!(judge(Path::new(&plan("host.rs")), text).is_empty());
        assert!(is_test(Path::new(&plan("config/tests.rs"))));
    }
}
