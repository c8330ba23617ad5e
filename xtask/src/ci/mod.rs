//! `cargo xtask ci`: what must hold of every commit, besides the tests.

mod doors;
mod layers;
mod rooms;
mod tidy;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::{codegen, workspace};

type Check = fn() -> Result<()>;

/// What is checked, the quick ones first.
const CHECKS: [(&str, Check); 8] = [
    ("format", format),
    ("tidy", tidy::check),
    ("layers", layers::check),
    ("rooms", rooms::check),
    ("doors", doors::check),
    ("bindings", codegen::check),
    ("lints", lints),
    ("documentation", documentation),
];

/// Runs every check, so that one failure does not hide another.
pub(crate) fn run() -> Result<()> {
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        println!("== {name}");
        match check() {
            Ok(()) => println!("   {name}: ok"),
            Err(error) => {
                println!("   {name}: FAILED\n{error:#}");
                failed.push(name);
            }
        }
    }
    if failed.is_empty() {
        println!("ci: all {} checks passed", CHECKS.len());
        return Ok(());
    }
    bail!("ci: failed: {}", failed.join(", "))
}

fn format() -> Result<()> {
    workspace::run(workspace::cargo().args(["fmt", "--all", "--check"]))
}

fn lints() -> Result<()> {
    workspace::run(workspace::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))
}

fn documentation() -> Result<()> {
    workspace::run(
        workspace::cargo()
            .args([
                "doc",
                "--workspace",
                "--no-deps",
                "--quiet",
                "--document-private-items",
            ])
            // Private items are documented too, so links to them lead somewhere.
            .env(
                "RUSTDOCFLAGS",
                "-D warnings -A rustdoc::private_intra_doc_links",
            ),
    )
}

/// What of a source file is no test: tests stand at the end.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

/// The repository's files that git knows or would take, relative to its top.
fn files() -> Result<Vec<PathBuf>> {
    let mut git = workspace::program("git");
    git.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ])
    .current_dir(workspace::root());
    let listed = workspace::read(&mut git)?;
    let mut files: Vec<PathBuf> = listed
        .split_terminator('\0')
        .map(PathBuf::from)
        .filter(|path| workspace::root().join(path).is_file())
        .collect();
    files.sort();
    Ok(files)
}
