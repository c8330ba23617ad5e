//! A build's events on the shell: plain lines as cargo prints them, and the progress line.

use std::time::{Duration, Instant};

use vx_core::orchestrator::{BuildEvent, BuildFailure, BuildOutcome, MessageLevel, Totals};

use super::progress::Progress;
use super::shell::Shell;

/// A build that is done sooner shows no progress line, so that nothing flashes.
const FIRST_DRAW: Duration = Duration::from_millis(200);

/// The least time between two drawings: what an eye can follow.
const REDRAW: Duration = Duration::from_millis(50);

/// Columns where the terminal does not tell.
const COLUMNS: usize = 80;

/// Words that verbose messages start with when they are to look like a status.
const VERBOSE_STATUS: [&str; 5] = ["Running", "Fresh", "Dirty", "Waited", "Compiling"];

/// What a status starts with that is a note instead.
const NOTE: &str = "note: ";

/// One build on the screen.
pub(crate) struct BuildView<'a> {
    shell: &'a mut Shell,
    progress: Progress,
    next_draw: Instant,
}

impl<'a> BuildView<'a> {
    /// A build that starts now.
    pub(crate) fn new(shell: &'a mut Shell, now: Instant) -> Self {
        Self {
            shell,
            progress: Progress::default(),
            next_draw: now + FIRST_DRAW,
        }
    }

    /// How often [`BuildView::tick`] is to be called; `None` for never.
    pub(crate) fn tick_every(&self) -> Option<Duration> {
        self.shell.look().progress.then_some(REDRAW)
    }

    /// Shows what happened.
    pub(crate) fn event(&mut self, event: &BuildEvent, now: Instant) {
        self.progress.event(event);
        match event {
            BuildEvent::Started {
                package,
                announce: true,
                ..
            } => self.shell.status("Compiling", package),
            BuildEvent::Message { level, text } => self.message(*level, text),
            BuildEvent::Planned { .. }
            | BuildEvent::Started { .. }
            | BuildEvent::Finished { .. } => {}
        }
        self.tick(now);
    }

    /// Draws the progress line when its time has come.
    pub(crate) fn tick(&mut self, now: Instant) {
        if !self.shell.look().progress || now < self.next_draw {
            return;
        }
        let columns = rustix::termios::tcgetwinsize(rustix::stdio::stderr())
            .map_or(0, |size| usize::from(size.ws_col));
        let columns = if columns == 0 { COLUMNS } else { columns };
        if let Some(line) = self.progress.line(columns) {
            self.shell.draw_progress(&line);
            self.next_draw = now + REDRAW;
        }
    }

    /// Takes the progress line away, for a build that ends without an outcome.
    pub(crate) fn abandon(self) {
        self.shell.clear_progress();
    }

    /// Shows how the build ended.
    pub(crate) fn finish(mut self, outcome: &BuildOutcome, elapsed: Duration) {
        self.shell.clear_progress();
        match &outcome.result {
            Ok(()) => {
                let profile = quote_profile(&outcome.profile);
                let time = super::elapsed(elapsed);
                self.shell
                    .status("Finished", &format!("{profile} target(s) in {time}"));
            }
            Err(BuildFailure::Actions { failed }) => {
                for line in failed {
                    self.shell.error(line);
                }
            }
            Err(BuildFailure::Request(text)) => self.refusal(text),
            Err(BuildFailure::Engine(text)) => self.shell.error(text),
        }
        if outcome.totals.actions > 0 {
            self.shell
                .verbose_status("Actions", &totals(&outcome.totals));
        }
        if !outcome.report.is_empty() {
            self.shell.verbose_status("Report", &outcome.report);
        }
    }

    /// Shows cargo's words where it refused: it may have warned before.
    fn refusal(&mut self, text: &str) {
        let error = text.find("\nerror: ").map(|at| at + 1);
        match (text.strip_prefix("warning: "), error) {
            (Some(_), Some(at)) => {
                let (warnings, error) = text.split_at(at);
                for warning in warnings.split("\nwarning: ") {
                    let warning = warning.strip_prefix("warning: ").unwrap_or(warning);
                    self.shell.warning(warning);
                }
                self.shell.error(error);
            }
            _ => self.shell.error(text),
        }
    }

    fn message(&mut self, level: MessageLevel, text: &str) {
        match level {
            MessageLevel::Rendered => self.shell.rendered(text),
            MessageLevel::Warning => self.shell.warning(text),
            MessageLevel::Error => self.shell.error(text),
            MessageLevel::Status if text.starts_with(NOTE) => {
                self.shell.unless_quiet(text);
            }
            MessageLevel::Status => {
                let (word, rest) = split_word(text);
                self.shell.status(word, rest);
            }
            MessageLevel::Verbose => {
                let (word, rest) = split_word(text);
                if VERBOSE_STATUS.contains(&word) {
                    self.shell.verbose_status(word, rest);
                } else {
                    self.shell.verbose(text);
                }
            }
        }
    }
}

fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(' ').unwrap_or((text, ""))
}

/// Cargo puts the profile's name in backquotes.
fn quote_profile(profile: &str) -> String {
    match profile.split_once(' ') {
        Some((name, rest)) if !name.starts_with('`') => format!("`{name}` {rest}"),
        _ => profile.to_owned(),
    }
}

/// Totals in words, those that are not nothing.
pub(crate) fn totals(totals: &Totals) -> String {
    let parts: Vec<String> = [
        (totals.hit, "hit"),
        (totals.built, "built"),
        (totals.waited, "waited for"),
        (totals.failed, "failed"),
        (totals.skipped, "skipped"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    if parts.is_empty() {
        format!("{}", totals.actions)
    } else {
        format!("{}: {}", totals.actions, parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::{Look, Verbosity};
    use super::super::shell::test_support::Screen;
    use super::*;

    const PLAIN: Look = Look {
        verbosity: Verbosity::Normal,
        color: false,
        progress: false,
    };

    fn outcome(result: Result<(), BuildFailure>) -> BuildOutcome {
        BuildOutcome {
            result,
            profile: "dev profile [unoptimized + debuginfo]".to_owned(),
            executables: vec![],
            report: "/w/.vx/runs/1.json".to_owned(),
            duration: Duration::ZERO,
            totals: Totals {
                actions: 3,
                hit: 2,
                built: 1,
                ..Totals::default()
            },
        }
    }

    fn message(level: MessageLevel, text: &str) -> BuildEvent {
        BuildEvent::Message {
            level,
            text: text.to_owned(),
        }
    }

    fn shown(look: Look, events: &[BuildEvent], outcome: &BuildOutcome) -> String {
        let screen = Screen::default();
        let mut shell = screen.shell(look);
        let now = Instant::now();
        let mut view = BuildView::new(&mut shell, now);
        for event in events {
            view.event(event, now);
        }
        view.finish(outcome, Duration::from_millis(50));
        screen.take()
    }

    fn started(announce: bool) -> BuildEvent {
        BuildEvent::Started {
            action: 0,
            package: "foo v1.0.0 (/foo)".to_owned(),
            unit: "foo".to_owned(),
            announce,
        }
    }

    #[test]
    fn a_build_reads_as_cargos() {
        let events = [
            BuildEvent::Planned { actions: 3 },
            message(MessageLevel::Status, "Updating crates.io index"),
            started(true),
            started(false),
            message(MessageLevel::Rendered, "\x1b[33mwarning\x1b[0m: unused\n\n"),
            message(MessageLevel::Warning, "`foo` (lib) generated 1 warning"),
            message(MessageLevel::Verbose, "Running `rustc`"),
        ];
        assert_eq!(
            shown(PLAIN, &events, &outcome(Ok(()))),
            "    Updating crates.io index
   Compiling foo v1.0.0 (/foo)
warning: unused

warning: `foo` (lib) generated 1 warning
    Finished `dev` profile [unoptimized + debuginfo] target(s) in 0.05s
"
        );
    }

    #[test]
    fn verbose_says_more() {
        let look = Look {
            verbosity: Verbosity::Verbose,
            ..PLAIN
        };
        let events = [
            message(MessageLevel::Verbose, "Running `rustc`"),
            message(MessageLevel::Verbose, "plain words"),
        ];
        assert_eq!(
            shown(look, &events, &outcome(Ok(()))),
            "     Running `rustc`
plain words
    Finished `dev` profile [unoptimized + debuginfo] target(s) in 0.05s
     Actions 3: 2 hit, 1 built
      Report /w/.vx/runs/1.json
"
        );
    }

    #[test]
    fn a_failure_reads_as_cargos() {
        let failed = outcome(Err(BuildFailure::Actions {
            failed: vec!["could not compile `foo` (lib) due to 1 previous error".to_owned()],
        }));
        assert_eq!(
            shown(PLAIN, &[], &failed),
            "error: could not compile `foo` (lib) due to 1 previous error\n"
        );
        let request = outcome(Err(BuildFailure::Request(
            "error: could not find `Cargo.toml`".to_owned(),
        )));
        assert_eq!(
            shown(PLAIN, &[], &request),
            "error: could not find `Cargo.toml`\n"
        );
    }

    #[test]
    fn a_quiet_build_shows_what_a_quiet_cargo_does() {
        let quiet = Look {
            verbosity: Verbosity::Quiet,
            ..PLAIN
        };
        let events = [
            message(MessageLevel::Warning, "unused manifest key: package.x"),
            message(MessageLevel::Status, "note: not used"),
            message(MessageLevel::Rendered, "warning: unused variable\n"),
        ];
        let refused = outcome(Err(BuildFailure::Request(
            "warning: one\n  more\nwarning: two\nerror: no bin target".to_owned(),
        )));
        assert_eq!(
            shown(quiet, &events, &refused),
            "warning: unused variable\nerror: no bin target\n"
        );
        assert_eq!(
            shown(PLAIN, &events, &refused),
            "warning: unused manifest key: package.x\nnote: not used\n\
             warning: unused variable\nwarning: one\n  more\nwarning: two\n\
             error: no bin target\n"
        );
    }

    #[test]
    fn a_quick_build_draws_no_progress_and_a_slow_one_does() {
        let screen = Screen::default();
        let mut shell = screen.shell(Look {
            progress: true,
            ..PLAIN
        });
        let start = Instant::now();
        let mut view = BuildView::new(&mut shell, start);
        assert_eq!(view.tick_every(), Some(REDRAW));
        view.event(&BuildEvent::Planned { actions: 3 }, start);
        assert_eq!(screen.take(), "");
        view.tick(start + FIRST_DRAW);
        assert!(screen.take().contains("0/3"));
        view.event(&started(false), start + FIRST_DRAW);
        assert_eq!(screen.take(), "", "too soon after the last drawing");
        view.tick(start + FIRST_DRAW + REDRAW);
        assert!(screen.take().contains("0/3: foo"));
        view.abandon();
        assert_eq!(screen.take(), "\r\x1b[K");
    }
}
