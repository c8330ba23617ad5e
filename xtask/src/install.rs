//! `cargo xtask install`: the four programs, optimised, into a directory's `bin`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{programs, workspace};

pub(crate) fn run(root: Option<PathBuf>) -> Result<()> {
    let root = match root {
        Some(root) => root,
        None => workspace::cargo_home()?,
    };
    let built = programs::release()?;
    let bin = root.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("could not make {}", bin.display()))?;
    for program in programs::PROGRAMS {
        // A running program can't be written to, but another file can take its name.
        let target = bin.join(program);
        let staged = bin.join(format!(".{program}.{}", std::process::id()));
        fs::copy(built.join(program), &staged)
            .and_then(|_| fs::rename(&staged, &target))
            .with_context(|| format!("could not write {}", target.display()))?;
        println!("installed {}", target.display());
    }
    let on_path = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory == bin));
    if !on_path {
        println!(
            "{} is not on PATH: add it, or start vx by its path",
            bin.display()
        );
    }
    Ok(())
}
