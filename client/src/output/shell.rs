//! Lines on standard error in cargo's look, and a progress line below them.
//!
//! What is written goes out in one piece: the progress line cleared, the message, the progress
//! line again. So nothing garbles and nothing flickers. Write errors are passed over: nobody
//! reads, and the build is worth finishing.

use std::io::Write;

use super::look::{Look, Verbosity};
use crate::error::CommandError;

const GOOD: &str = "\x1b[1m\x1b[92m";
const BUSY: &str = "\x1b[1m\x1b[96m";
const WARNING: &str = "\x1b[1m\x1b[33m";
const ERROR: &str = "\x1b[1m\x1b[91m";
const HELP: &str = "\x1b[1m\x1b[96m";
const RESET: &str = "\x1b[0m";
const CLEAR_LINE: &str = "\r\x1b[K";

/// Cargo's status words are right-aligned in this many columns.
const STATUS_WIDTH: usize = 12;

/// Where messages go.
pub(crate) struct Shell {
    out: Box<dyn Write + Send>,
    look: Look,
    /// The progress line as it is on the screen.
    drawn: Option<String>,
}

impl Shell {
    /// Writes to `out`.
    pub(crate) fn new(out: Box<dyn Write + Send>, look: Look) -> Self {
        Self {
            out,
            look,
            drawn: None,
        }
    }

    /// How it looks.
    pub(crate) fn look(&self) -> Look {
        self.look
    }

    /// `   Compiling foo v1.0.0`.
    pub(crate) fn status(&mut self, word: &str, rest: &str) {
        if self.look.verbosity > Verbosity::Quiet {
            let text = self.status_text(GOOD, word, rest);
            self.write(text);
        }
    }

    /// A status of what takes a while and is not vx's work.
    pub(crate) fn waiting(&mut self, word: &str, rest: &str) {
        if self.look.verbosity > Verbosity::Quiet {
            let text = self.status_text(BUSY, word, rest);
            self.write(text);
        }
    }

    /// A status shown with `-v`.
    pub(crate) fn verbose_status(&mut self, word: &str, rest: &str) {
        if self.look.verbosity == Verbosity::Verbose {
            self.status(word, rest);
        }
    }

    /// Plain text shown with `-v`.
    pub(crate) fn verbose(&mut self, text: &str) {
        if self.look.verbosity == Verbosity::Verbose {
            self.rendered(text);
        }
    }

    /// Plain text shown without `-q`.
    pub(crate) fn unless_quiet(&mut self, text: &str) {
        if self.look.verbosity > Verbosity::Quiet {
            self.rendered(text);
        }
    }

    /// `warning: …`.
    pub(crate) fn warning(&mut self, text: &str) {
        if self.look.verbosity > Verbosity::Quiet {
            let text = self.prefixed(WARNING, "warning", text);
            self.write(text);
        }
    }

    /// `error: …`.
    pub(crate) fn error(&mut self, text: &str) {
        // Cargo's own words, passed on, may come with the prefix.
        let text = text.strip_prefix("error: ").unwrap_or(text);
        let text = self.prefixed(ERROR, "error", text);
        self.write(text);
    }

    /// Text that is rendered already; its colours go where there are none.
    pub(crate) fn rendered(&mut self, text: &str) {
        self.write(text.to_owned());
    }

    /// An error in its three parts.
    pub(crate) fn command_error(&mut self, error: &CommandError) {
        if error.what.is_empty() {
            return;
        }
        self.error(&error.what);
        let mut text = String::new();
        if !error.causes.is_empty() {
            text.push_str("\nCaused by:\n");
            for cause in &error.causes {
                for line in cause.lines() {
                    text.push_str("  ");
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        if let Some(help) = &error.help {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&self.prefixed(HELP, "help", help));
        }
        if !text.is_empty() {
            self.write(text);
        }
    }

    /// Draws `Building` and this text as the progress line, unless it is there already.
    pub(crate) fn draw_progress(&mut self, text: &str) {
        let line = self.status_text(BUSY, "Building", text);
        if self.look.progress && self.drawn.as_ref() != Some(&line) {
            self.put(&format!("{CLEAR_LINE}{line}"));
            self.drawn = Some(line);
        }
    }

    /// Takes the progress line away.
    pub(crate) fn clear_progress(&mut self) {
        if self.drawn.take().is_some() {
            self.put(CLEAR_LINE);
        }
    }

    fn status_text(&self, style: &str, word: &str, rest: &str) -> String {
        if self.look.color {
            format!("{style}{word:>STATUS_WIDTH$}{RESET} {rest}")
        } else {
            format!("{word:>STATUS_WIDTH$} {rest}")
        }
    }

    fn prefixed(&self, style: &str, prefix: &str, text: &str) -> String {
        if self.look.color {
            format!("{style}{prefix}{RESET}: {text}")
        } else {
            format!("{prefix}: {text}")
        }
    }

    fn write(&mut self, mut text: String) {
        if !self.look.color {
            text = anstream::adapter::strip_str(&text).to_string();
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        if let Some(line) = &self.drawn {
            text = format!("{CLEAR_LINE}{text}{line}");
        }
        self.put(&text);
    }

    fn put(&mut self, text: &str) {
        let _nobody_reads = self
            .out
            .write_all(text.as_bytes())
            .and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
pub(crate) mod test_support {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A buffer to write into and read from.
    #[derive(Clone, Default)]
    pub(crate) struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Screen {
        /// A shell that writes to this screen.
        pub(crate) fn shell(&self, look: Look) -> Shell {
            Shell::new(Box::new(self.clone()), look)
        }

        /// What was written since the last call.
        pub(crate) fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
        }
    }

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::test_support::Screen;
    use super::*;

    const PLAIN: Look = Look {
        verbosity: Verbosity::Normal,
        color: false,
        progress: false,
    };

    #[test]
    fn plain_lines_read_as_cargos() {
        let screen = Screen::default();
        let mut shell = screen.shell(PLAIN);
        shell.status("Compiling", "foo v1.0.0 (/foo)");
        shell.warning("odd");
        shell.error("error: broken");
        shell.rendered("\x1b[1mbold\x1b[0m words");
        shell.verbose("unsaid");
        assert_eq!(
            screen.take(),
            "   Compiling foo v1.0.0 (/foo)\nwarning: odd\nerror: broken\nbold words\n"
        );
    }

    #[test]
    fn colours_are_cargos() {
        let screen = Screen::default();
        let mut shell = screen.shell(Look {
            color: true,
            ..PLAIN
        });
        shell.status("Compiling", "foo");
        shell.error("broken");
        shell.rendered("\x1b[1mbold\x1b[0m words\n");
        assert_eq!(
            screen.take(),
            "\x1b[1m\x1b[92m   Compiling\x1b[0m foo\n\
             \x1b[1m\x1b[91merror\x1b[0m: broken\n\
             \x1b[1mbold\x1b[0m words\n"
        );
    }

    #[test]
    fn quiet_leaves_diagnostics_and_errors() {
        let screen = Screen::default();
        let mut shell = screen.shell(Look {
            verbosity: Verbosity::Quiet,
            ..PLAIN
        });
        shell.status("Compiling", "foo");
        shell.warning("odd");
        shell.rendered("warning: unused\n");
        shell.error("broken");
        assert_eq!(screen.take(), "warning: unused\nerror: broken\n");
    }

    #[test]
    fn messages_go_above_the_progress_line_in_one_piece() {
        let screen = Screen::default();
        let mut shell = screen.shell(Look {
            progress: true,
            ..PLAIN
        });
        shell.draw_progress("1/2: foo");
        assert_eq!(screen.take(), "\r\x1b[K    Building 1/2: foo");
        shell.draw_progress("1/2: foo");
        assert_eq!(screen.take(), "", "nothing changed, nothing is drawn");
        shell.rendered("words\n");
        assert_eq!(screen.take(), "\r\x1b[Kwords\n    Building 1/2: foo");
        shell.clear_progress();
        shell.clear_progress();
        assert_eq!(screen.take(), "\r\x1b[K");
    }

    #[test]
    fn an_error_has_three_parts() {
        let screen = Screen::default();
        let mut shell = screen.shell(PLAIN);
        let error = CommandError::engine("vx-aether can't be started")
            .because("no room\nleft")
            .help("make some");
        shell.command_error(&error);
        assert_eq!(
            screen.take(),
            "error: vx-aether can't be started\n\nCaused by:\n  no room\n  left\n\nhelp: make some\n"
        );
        shell.command_error(&CommandError::failure("nothing to build"));
        assert_eq!(screen.take(), "error: nothing to build\n");
        shell.command_error(&CommandError::silent(crate::exit_code::ExitCode::Failure));
        assert_eq!(screen.take(), "");
    }
}
