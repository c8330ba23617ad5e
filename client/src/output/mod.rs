//! What the user sees: cargo's look, on standard error; answers to questions go to standard
//! output.

mod build_view;
mod look;
mod progress;
mod shell;

use std::io::{self, Write};

pub(crate) use build_view::{BuildView, totals};
#[cfg(test)]
pub(crate) use look::Verbosity;
pub(crate) use look::{ColorChoice, Look};
pub(crate) use shell::Shell;
#[cfg(test)]
pub(crate) use shell::test_support;

use crate::error::{CommandError, CommandResult};

/// Writes an answer to standard output. A reader who has seen enough (`vx explain | head`) is
/// no fault.
pub(crate) fn answer(text: &str) -> CommandResult {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::failure("standard output can't be written").because(error))
        }
        _ => Ok(()),
    }
}

/// A number of bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A time for people, as cargo writes it.
pub(crate) fn elapsed(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    if seconds >= 60 {
        format!("{}m {:02}s", seconds / 60, seconds % 60)
    } else {
        format!("{seconds}.{:02}s", duration.subsec_nanos() / 10_000_000)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(46 << 20), "46.0 MiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
        assert_eq!(elapsed(Duration::from_millis(59)), "0.05s");
        assert_eq!(elapsed(Duration::from_secs(125)), "2m 05s");
    }
}
