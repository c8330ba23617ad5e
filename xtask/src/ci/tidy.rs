//! Rules of the repository that no compiler knows.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::workspace;

/// A longer file is two ideas.
const MAX_LINES: usize = 600;

/// What must stand in no file: where somebody worked, and hosts that a configured mirror
/// replaces. Each is written in two pieces, so that this file passes its own rule.
const FORBIDDEN: [(&str, &str); 7] = [
    (concat!("/wo", "rk/"), "a path of somebody's machine"),
    (concat!("/fa", "rm/"), "a path of somebody's machine"),
    (concat!("/ro", "ot/.cargo"), "a path of somebody's machine"),
    (concat!("/ro", "ot/.rustup"), "a path of somebody's machine"),
    (
        concat!("index.cra", "tes.io"),
        "a registry's host: say \"the registry\"",
    ),
    (
        concat!("static.cra", "tes.io"),
        "a registry's host: say \"the registry\"",
    ),
    (concat!("HAND", "OFF"), "a note to a colleague"),
];

/// Waiting by the clock is no synchronisation; these must not stand in integration tests.
const SLEEPS: [&str; 2] = [concat!("thread::sl", "eep"), concat!("time::sl", "eep")];

pub(super) fn check() -> Result<()> {
    let mut broken = Vec::new();
    for file in super::files()? {
        let bytes = fs::read(workspace::root().join(&file))?;
        // What is not text is a fixture.
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        broken.extend(judge(&file, &text));
    }
    if broken.is_empty() {
        return Ok(());
    }
    bail!("{}", broken.join("\n"))
}

fn judge(file: &Path, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let name = file.display();
    let rust = file.extension().is_some_and(|extension| extension == "rs");
    let generated = name.to_string().ends_with("_capnp.rs");
    let lines = text.lines().count();
    if rust && !generated && lines > MAX_LINES {
        broken.push(format!(
            "{name}: {lines} lines are more than {MAX_LINES}: two ideas?"
        ));
    }
    // The lock file names where each package comes from; cargo writes it.
    if file != Path::new("Cargo.lock") {
        for (number, line) in text.lines().enumerate() {
            for (word, why) in FORBIDDEN {
                if mentions(line, word) {
                    broken.push(format!("{name}:{}: {why}", number + 1));
                }
            }
        }
    }
    if rust && file.starts_with("harness/tests") {
        for (number, line) in text.lines().enumerate() {
            if SLEEPS.iter().any(|sleep| line.contains(sleep)) {
                broken.push(format!(
                    "{name}:{}: wait for what happens, not for a time",
                    number + 1
                ));
            }
        }
    }
    broken
}

/// Whether `word` stands in `line`; a path only where it starts at the root.
fn mentions(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !word.starts_with('/') || !before.is_some_and(|c| c.is_alphanumeric() || ".}_-".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_places_and_hosts() {
        let text = format!("see {}main\n", FORBIDDEN[0].0);
        assert_eq!(judge(Path::new("docs/x.md"), &text).len(), 1);
        assert!(judge(Path::new("Cargo.lock"), &text).is_empty());
        assert!(judge(Path::new("docs/x.md"), "src/work/main\n").is_empty());
    }

    #[test]
    fn long_files_are_found_unless_generated() {
        let text = "\n".repeat(MAX_LINES + 1);
        assert_eq!(judge(Path::new("a/src/x.rs"), &text).len(), 1);
        assert!(judge(Path::new("schema/src/x_capnp.rs"), &text).is_empty());
    }
}
