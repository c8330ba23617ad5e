//! How output looks: decided once, from the flags, cargo's variables and the terminal.

use std::io::{self, IsTerminal};

use clap::ValueEnum;

use crate::args::TerminalArgs;
use crate::error::{CommandError, CommandResult};

/// `--color`; the values have no help of their own, as they say it themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Diagnostics and errors.
    Quiet,
    /// As cargo says it.
    #[default]
    Normal,
    /// What runs and what was there, too.
    Verbose,
}

/// How output looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// How much is said.
    pub(crate) verbosity: Verbosity,
    /// Whether standard error is coloured.
    pub(crate) color: bool,
    /// Whether a progress line is drawn on standard error.
    pub(crate) progress: bool,
}

/// What is known of standard error.
#[derive(Clone, Copy, Debug, Default)]
struct Terminal {
    is_terminal: bool,
    /// What `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE` and `TERM` come to.
    has_colors: bool,
    is_dumb: bool,
}

impl Look {
    /// By the flags and this process's environment and terminal.
    pub(crate) fn of_process(flags: &TerminalArgs) -> CommandResult<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        let stderr = io::stderr();
        let terminal = Terminal {
            is_terminal: stderr.is_terminal(),
            has_colors: anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never,
            is_dumb: variable("TERM").is_none_or(|term| term == "dumb"),
        };
        Self::decide(flags, variable, terminal)
    }

    fn decide(
        flags: &TerminalArgs,
        variable: impl Fn(&str) -> Option<String>,
        terminal: Terminal,
    ) -> CommandResult<Self> {
        let set = |name: &str| variable(name).as_deref() == Some("true");
        let verbosity = match (flags.verbose > 0, flags.quiet) {
            (true, true) => {
                return Err(CommandError::failure(
                    "cannot set both --verbose and --quiet",
                ));
            }
            (true, false) => Verbosity::Verbose,
            (false, true) => Verbosity::Quiet,
            (false, false) if set("CARGO_TERM_VERBOSE") => Verbosity::Verbose,
            (false, false) if set("CARGO_TERM_QUIET") => Verbosity::Quiet,
            (false, false) => Verbosity::Normal,
        };
        let choice = match flags.color {
            Some(choice) => choice,
            None => match variable("CARGO_TERM_COLOR") {
                Some(text) => ColorChoice::from_str(&text, false).map_err(|_| {
                    CommandError::failure(format!(
                        "argument for --color must be auto, always, or never, but found `{text}`"
                    ))
                    .because("CARGO_TERM_COLOR holds it")
                })?,
                None => ColorChoice::Auto,
            },
        };
        let color = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal.has_colors,
        };
        let progress = match variable("CARGO_TERM_PROGRESS_WHEN").as_deref() {
            Some("never") => false,
            // A line that is redrawn is for a terminal, whatever is asked for.
            Some("always") => terminal.is_terminal,
            _ => terminal.is_terminal && !terminal.is_dumb && variable("CI").is_none(),
        };
        Ok(Self {
            verbosity,
            color,
            progress: progress && verbosity != Verbosity::Quiet,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCREEN: Terminal = Terminal {
        is_terminal: true,
        has_colors: true,
        is_dumb: false,
    };

    fn decide(flags: &TerminalArgs, variables: &[(&str, &str)], terminal: Terminal) -> Look {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name)?;
            Some(found.1.to_owned())
        };
        Look::decide(flags, variable, terminal).unwrap()
    }

    #[test]
    fn a_terminal_gets_colours_and_progress_and_a_pipe_neither() {
        let flags = TerminalArgs::default();
        let look = decide(&flags, &[], SCREEN);
        assert!(look.color && look.progress);
        let look = decide(&flags, &[], Terminal::default());
        assert!(!look.color && !look.progress);
        assert!(!decide(&flags, &[("CI", "1")], SCREEN).progress);
    }

    #[test]
    fn the_flag_is_stronger_than_the_variable_and_that_than_the_terminal() {
        let variables = [("CARGO_TERM_COLOR", "always")];
        let mut flags = TerminalArgs::default();
        assert!(decide(&flags, &variables, Terminal::default()).color);
        flags.color = Some(ColorChoice::Never);
        assert!(!decide(&flags, &variables, SCREEN).color);
    }

    #[test]
    fn quiet_draws_no_progress_and_excludes_verbose() {
        let mut flags = TerminalArgs {
            quiet: true,
            ..TerminalArgs::default()
        };
        let look = decide(&flags, &[], SCREEN);
        assert_eq!((look.verbosity, look.progress), (Verbosity::Quiet, false));
        flags.verbose = 1;
        assert!(Look::decide(&flags, |_| None, SCREEN).is_err());
    }

    #[test]
    fn a_variable_that_holds_no_choice_is_named() {
        let variable = |name: &str| (name == "CARGO_TERM_COLOR").then(|| "blue".to_owned());
        let error = Look::decide(&TerminalArgs::default(), variable, SCREEN).unwrap_err();
        assert!(error.what.contains("blue"));
    }
}
