//! The progress line's text: `[=====>    ] 12/48 (7 hits): serde, rg(bin), …`.

use std::collections::BTreeMap;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
use vx_core::orchestrator::{ActionOutcome, BuildEvent};

/// Columns of the bar at most, brackets included.
const BAR: usize = 28;

/// Below this many columns there is no bar: the numbers say the same.
const NARROW: usize = 60;

/// Columns that the word `Building` takes with the space behind it.
const WORD: usize = 13;

/// How far a build is, by what was told of it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    actions: u64,
    done: u64,
    hits: u64,
    running: BTreeMap<u64, String>,
}

impl Progress {
    /// Takes an event in.
    pub(crate) fn event(&mut self, event: &BuildEvent) {
        match event {
            BuildEvent::Planned { actions } => self.actions = *actions,
            BuildEvent::Started { action, unit, .. } => {
                self.running.insert(*action, unit.clone());
            }
            BuildEvent::Finished { action, outcome } => {
                self.running.remove(action);
                self.done += 1;
                if *outcome == ActionOutcome::Hit {
                    self.hits += 1;
                }
            }
            BuildEvent::Message { .. } => {}
        }
    }

    /// The line for a terminal of so many columns, less the word in front; `None` while
    /// nothing is known.
    pub(crate) fn line(&self, columns: usize) -> Option<String> {
        if self.actions == 0 {
            return None;
        }
        let mut line = String::new();
        if columns >= NARROW {
            line.push_str(&self.bar());
        }
        line.push_str(&format!("{}/{}", self.done, self.actions));
        match self.hits {
            0 => {}
            1 => line.push_str(" (1 hit)"),
            hits => line.push_str(&format!(" ({hits} hits)")),
        }
        // The last column stays free: some terminals wrap when it is written.
        let room = columns.saturating_sub(WORD + 1);
        self.name_running(&mut line, room);
        Some(cut(&line, room))
    }

    fn bar(&self) -> String {
        let inner = BAR - 2;
        let share = self.done.min(self.actions) * inner as u64 / self.actions.max(1);
        let filled = usize::try_from(share).unwrap_or(inner);
        let mut bar = "=".repeat(filled);
        if filled < inner {
            bar.push('>');
        }
        format!("[{bar:<inner$}] ")
    }

    fn name_running(&self, line: &mut String, room: usize) {
        const MORE: &str = ", …";
        for (position, unit) in self.running.values().enumerate() {
            let separator = if position == 0 { ": " } else { ", " };
            let width = line.width() + separator.len() + unit.width();
            let last = position + 1 == self.running.len();
            let reserve = if last { 0 } else { MORE.width() };
            if width + reserve > room {
                line.push_str(if position == 0 { ": …" } else { MORE });
                return;
            }
            line.push_str(separator);
            line.push_str(unit);
        }
    }
}

/// The first characters of `text` that fit into so many columns.
fn cut(text: &str, columns: usize) -> String {
    let mut used = 0;
    text.chars()
        .take_while(|character| {
            used += character.width().unwrap_or(0);
            used <= columns
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(actions: u64, hits: u64, running: &[&str]) -> Progress {
        let mut progress = Progress::default();
        progress.event(&BuildEvent::Planned { actions });
        for action in 0..hits {
            progress.event(&BuildEvent::Finished {
                action,
                outcome: ActionOutcome::Hit,
            });
        }
        for (position, unit) in running.iter().enumerate() {
            progress.event(&BuildEvent::Started {
                action: hits + position as u64,
                package: String::new(),
                unit: (*unit).to_owned(),
                announce: false,
            });
        }
        progress
    }

    #[test]
    fn nothing_is_drawn_before_the_plan() {
        assert_eq!(Progress::default().line(80), None);
    }

    #[test]
    fn it_tells_what_runs_what_is_left_and_hits() {
        let line = progress(4, 2, &["serde", "rg(bin)"]).line(80).unwrap();
        assert_eq!(
            line,
            "[=============>            ] 2/4 (2 hits): serde, rg(bin)"
        );
        assert_eq!(progress(4, 0, &[]).line(40).unwrap(), "0/4");
    }

    #[test]
    fn what_is_done_no_longer_runs() {
        let mut progress = progress(2, 1, &["serde"]);
        progress.event(&BuildEvent::Finished {
            action: 1,
            outcome: ActionOutcome::Built,
        });
        let line = progress.line(80).unwrap();
        assert_eq!(line, "[==========================] 2/2 (1 hit)");
    }

    #[test]
    fn it_never_takes_the_last_column() {
        let units = ["a-rather-long-name", "名前の長いもの", "another", "z"];
        for columns in 0..120 {
            let line = progress(400, 7, &units).line(columns).unwrap();
            assert!(
                line.width() + WORD < columns.max(WORD + 1),
                "{columns}: {line}"
            );
        }
        let line = progress(400, 0, &units).line(50).unwrap();
        assert_eq!(line, "0/400: a-rather-long-name, …");
    }
}
