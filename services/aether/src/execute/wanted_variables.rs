//! Variables that an action was not given and that it may have wanted.

use std::collections::{BTreeMap, BTreeSet};

use vx_plan::Mode;

use crate::execute::end::Failure;

/// Variables every environment has, which programs name in passing.
const COMMON: &[&str] = &[
    "COLORTERM",
    "DISPLAY",
    "EDITOR",
    "HOME",
    "HOST",
    "HOSTNAME",
    "LANG",
    "LANGUAGE",
    "LESS",
    "LOGNAME",
    "LS_COLORS",
    "MAIL",
    "OLDPWD",
    "PAGER",
    "PATH",
    "PWD",
    "SHELL",
    "SHLVL",
    "TERM",
    "TMP",
    "TMPDIR",
    "TZ",
    "USER",
    "USERNAME",
];

/// Such variables by the start of their names; those of cargo, rustc and vx are theirs to give.
const COMMON_PREFIXES: &[&str] = &["CARGO", "LC_", "RUST", "VX_", "XDG_"];

/// Shorter names are words of any text.
const SHORTEST: usize = 3;

/// As many as a note has room for.
const MOST: usize = 5;

/// Variables a failed program says it misses, in words that vx understands.
pub(crate) fn named(mode: Mode, failure: &Failure) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    match mode {
        Mode::RunBuildScript => {
            let said = vx_plan::parse_failed_output(&failure.stdout);
            names.extend(said.rerun_if_env_changed);
        }
        Mode::Compile => {
            // rustc writes no dep-info when `env!` fails; its message names the variable.
            let stderr = String::from_utf8_lossy(&failure.stderr);
            for rest in stderr.split("environment variable `").skip(1) {
                if let Some((name, tail)) = rest.split_once('`')
                    && tail.starts_with(" not defined at compile time")
                {
                    names.insert(name.to_owned());
                }
            }
        }
    }
    names
}

/// Variables that are set for the caller, were not `given` to a program, and whose names are
/// words of what it wrote.
pub(crate) fn mentioned(
    env: &BTreeMap<String, String>,
    given: &BTreeSet<String>,
    written: &str,
) -> Vec<String> {
    let plain = without_colours(written);
    let words: BTreeSet<&str> = plain
        .split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
        .collect();
    env.keys()
        .filter(|name| {
            name.len() >= SHORTEST
                && name.chars().any(|one| one.is_ascii_alphabetic())
                && !COMMON.contains(&name.as_str())
                && !COMMON_PREFIXES
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
                && !given.contains(*name)
                && words.contains(name.as_str())
        })
        .take(MOST)
        .cloned()
        .collect()
}

/// What to say of them, and what to do. A registry's package can't be edited: the workspace
/// speaks for it.
pub(crate) fn note(names: &[String], is_local: bool) -> String {
    let table = if is_local { "package" } else { "workspace" };
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    let (are, them) = match names {
        [_] => ("is", "it"),
        _ => ("are", "them"),
    };
    format!(
        "note: {} {are} set, but this action does not see {them}; if it should, declare {them}: \
         [{table}.metadata.vx] env = [{}]",
        names.join(", "),
        quoted.join(", ")
    )
}

/// The text without ANSI sequences, whose last letter would stick to the word behind it.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            let _ = characters.find(char::is_ascii_alphabetic);
            plain.push(' ');
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeMap<String, String> {
        names
            .iter()
            .map(|name| ((*name).to_owned(), "value".to_owned()))
            .collect()
    }

    #[test]
    fn what_was_named_and_not_given_is_found() {
        let env = set(&["DATABASE_URL", "DATABASE", "HOME", "CC", "GIVEN", "_1_2"]);
        let given = BTreeSet::from(["GIVEN".to_owned()]);
        let written = "\x1b[1mDATABASE_URL\x1b[0m must be set in HOME; CC GIVEN _1_2";
        assert_eq!(mentioned(&env, &given, written), ["DATABASE_URL"]);
        assert!(mentioned(&env, &given, "MY_DATABASE_URL DATABASES").is_empty());
    }

    #[test]
    fn the_note_says_what_to_do() {
        let name = ["DATABASE_URL".to_owned()];
        assert_eq!(
            note(&name, true),
            "note: DATABASE_URL is set, but this action does not see it; if it should, \
             declare it: [package.metadata.vx] env = [\"DATABASE_URL\"]"
        );
        assert!(note(&name, false).contains("[workspace.metadata.vx]"));
    }
}
