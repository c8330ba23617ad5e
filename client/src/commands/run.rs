//! `vx run`: builds, chooses the program as cargo does, and becomes it.

mod choose;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Context;
use crate::args::RunArgs;
use crate::error::{CommandError, CommandResult};

/// Builds and runs; returns only when the program can't be run.
pub(crate) async fn run(context: Context<'_>, args: &RunArgs) -> CommandResult {
    let ask = args.ask()?;
    let selection = ask.selection.clone();
    let request = context.caller.request(ask.selection, ask.schedule);
    let orchestrator = context.aether.start(context.shell).await?;
    let outcome =
        super::build::build(&*orchestrator, request, context.shell, context.started).await?;
    let executable = choose::choose(&outcome.executables, &selection)?;
    let program = shown_path(Path::new(&executable.path), Path::new(context.caller.cwd()));
    let line = command_line(&program, &args.args);
    context.shell.status("Running", &format!("`{line}`"));
    if let Some(code) = context.signals.seen() {
        return Err(CommandError::silent(code));
    }
    let error = program_command(&program).args(&args.args).exec();
    Err(CommandError::failure(format!("could not execute process `{line}`")).because(error))
}

/// The program takes over vx's directory, environment and terminal, as with cargo.
#[allow(
    clippy::disallowed_methods,
    reason = "the one command of the client, which is to inherit everything"
)]
fn program_command(program: &Path) -> Command {
    Command::new(program)
}

/// As cargo names it: relative where it lies below the working directory.
fn shown_path(program: &Path, cwd: &Path) -> PathBuf {
    match program.strip_prefix(cwd) {
        Ok(below) if below.components().count() == 1 => Path::new(".").join(below),
        Ok(below) => below.to_owned(),
        Err(_) => program.to_owned(),
    }
}

fn command_line(program: &Path, args: &[OsString]) -> String {
    let mut line = quoted(&program.to_string_lossy());
    for arg in args {
        line.push(' ');
        line.push_str(&quoted(&arg.to_string_lossy()));
    }
    line
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/,.+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_named_as_cargo_names_it() {
        let shown = |program| shown_path(Path::new(program), Path::new("/w"));
        assert_eq!(shown("/w/.vx/build/x/rg"), Path::new(".vx/build/x/rg"));
        assert_eq!(shown("/w/rg"), Path::new("./rg"));
        assert_eq!(shown("/other/rg"), Path::new("/other/rg"));
    }

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        let args = ["plain".into(), "two words".into(), "it's".into(), "".into()];
        assert_eq!(
            command_line(Path::new("./rg"), &args),
            r"./rg plain 'two words' 'it'\''s' ''"
        );
    }
}
