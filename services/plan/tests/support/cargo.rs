//! Cargo as the oracle: what `cargo build -v` says it runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::Planned;

/// A process that cargo says it runs.
#[derive(Debug, Clone)]
pub struct Ran {
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
}

/// Builds with cargo from nothing and returns what it ran. `-v` for arguments; `-vv` for
/// variables, because that changes `--cap-lints`.
pub fn build(planned: &Planned, target_dir: &Path, verbosity: &str) -> Vec<Ran> {
    let selection = &planned.request.selection;
    let mut args = vec!["build".to_owned(), verbosity.to_owned()];
    if selection.workspace {
        args.push("--workspace".to_owned());
    }
    if selection.release {
        args.push("--release".to_owned());
    }
    if selection.examples {
        args.push("--examples".to_owned());
    }
    for (name, values) in [
        ("--target", &selection.target),
        ("--features", &selection.features),
        ("--package", &selection.packages),
    ] {
        args.extend(
            values
                .iter()
                .flat_map(|value| [name.to_owned(), value.clone()]),
        );
    }
    if let Some(profile) = &selection.profile {
        args.extend(["--profile".to_owned(), profile.clone()]);
    }
    let output = Command::new(&planned.workspace.toolchain.cargo)
        .args(&args)
        .current_dir(&planned.request.cwd)
        .env_clear()
        .envs(&planned.request.env)
        .env("CARGO_TARGET_DIR", target_dir)
        .env("CARGO_TERM_COLOR", "never")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    commands(&stderr)
}

/// The commands in cargo's output, each between backquotes. A command can span lines, and have
/// backquotes in quoted words.
fn commands(stderr: &str) -> Vec<Ran> {
    let mut found = Vec::new();
    let mut rest = stderr;
    while let Some(at) = rest.find("     Running `") {
        rest = &rest[at + "     Running `".len()..];
        let (words, end) = words(rest);
        found.push(sorted_out(words));
        rest = &rest[end..];
    }
    found
}

fn sorted_out(words: Vec<String>) -> Ran {
    let mut ran = Ran {
        argv: Vec::new(),
        env: BTreeMap::new(),
    };
    for word in words {
        match word.split_once('=') {
            Some((name, value)) if ran.argv.is_empty() && !name.contains('/') => {
                ran.env.insert(name.to_owned(), value.to_owned());
            }
            _ => ran.argv.push(word),
        }
    }
    ran
}

/// Words as a shell would split them, up to a backquote; cargo quotes with `'` and escapes `'`
/// and `!` outside of quotes.
fn words(command: &str) -> (Vec<String>, usize) {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut chars = command.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '`' if !quoted => {
                words.extend(word);
                return (words, at);
            }
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if !quoted => word
                .get_or_insert_default()
                .extend(chars.next().map(|(_, char)| char)),
            ' ' if !quoted => words.extend(word.take()),
            char => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    (words, command.len())
}
