//! A daemon's log: bounded, whoever writes to it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The variable that says what is logged, in `tracing`'s filter language.
pub const LOG_VARIABLE: &str = "VX_LOG";

/// The variable that tells a daemon the path of the log it was given, so that it can keep it
/// bounded.
pub const LOG_FILE_VARIABLE: &str = "VX_LOG_FILE";

/// A log's size before it is rotated, in bytes; one older file is kept beside it. Enough for
/// days of warnings, small enough not to matter on a disk.
pub const LOG_LIMIT: u64 = 4 * 1024 * 1024;

/// How much of the end of a log an error shows, in bytes: a screenful.
const LOG_TAIL: u64 = 4 * 1024;

/// Starts logging: to `path`, kept under `limit` bytes; without a path to the log that
/// [`super::spawn()`] gave this process, bounded likewise, and without that to standard error.
///
/// # Errors
/// When the file can't be opened, or this process logs already.
pub fn init_log(path: Option<&Path>, limit: u64) -> io::Result<()> {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_target(true);
    let given = std::env::var_os(LOG_FILE_VARIABLE).map(PathBuf::from);
    let done = match path.or(given.as_deref()) {
        Some(path) => builder
            .with_writer(RotatingLog::open(path, limit)?)
            .try_init(),
        None => builder.with_writer(io::stderr).try_init(),
    };
    done.map_err(|error| io::Error::other(error.to_string()))
}

/// A log file that is moved aside when it grows past its limit, so that it and the one moved
/// aside never take more than twice the limit.
#[derive(Debug)]
struct RotatingLog(Mutex<LogFile>);

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    limit: u64,
    file: File,
    size: u64,
}

pub(super) fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

impl RotatingLog {
    fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let file = open_log(path)?;
        let size = file.metadata()?.len();
        Ok(Self(Mutex::new(LogFile {
            path: path.to_owned(),
            limit,
            file,
            size,
        })))
    }
}

impl LogFile {
    fn rotate(&mut self) -> io::Result<()> {
        let mut older = self.path.clone().into_os_string();
        older.push(".1");
        std::fs::rename(&self.path, older)?;
        let fresh = open_log(&self.path)?;
        // Panics and libraries write to standard error: where that is this log, it follows.
        let follows = File::from(io::stderr().as_fd().try_clone_to_owned()?)
            .metadata()
            .and_then(|stderr| {
                let log = self.file.metadata()?;
                Ok((stderr.dev(), stderr.ino()) == (log.dev(), log.ino()))
            });
        if follows.unwrap_or(false) {
            rustix::stdio::dup2_stderr(&fresh)?;
            rustix::stdio::dup2_stdout(&fresh)?;
        }
        self.file = fresh;
        self.size = 0;
        Ok(())
    }
}

/// One event on its way into the log.
struct LogLine<'a>(std::sync::MutexGuard<'a, LogFile>);

impl Write for LogLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let log = &mut *self.0;
        if log.size > 0 && log.size + bytes.len() as u64 > log.limit {
            // A log that can't be rotated (a full disk) starts over in place: bounded anyway.
            if log.rotate().is_err() {
                log.file.set_len(0)?;
                log.size = 0;
            }
        }
        let written = log.file.write(bytes)?;
        log.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.file.flush()
    }
}

impl<'a> MakeWriter<'a> for RotatingLog {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LogLine(
            self.0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

/// What a log says from `start` on, at most its end, introduced; empty when that is nothing.
pub(super) fn log_tail(path: &Path, start: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(start.max(size.saturating_sub(LOG_TAIL))))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) if !text.trim().is_empty() => {
            format!("; its log {} ends:\n{}", path.display(), text.trim_end())
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_stays_under_twice_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let log = RotatingLog::open(&path, 100).unwrap();
        for number in 0..50 {
            writeln!(log.make_writer(), "line {number}").unwrap();
        }
        let size = |name: &str| {
            std::fs::metadata(directory.path().join(name))
                .unwrap()
                .len()
        };
        assert!(size("log") <= 100 && size("log.1") <= 100);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("line 49\n"), "{text}");
    }
}
