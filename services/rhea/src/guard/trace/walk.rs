//! Goes the way of a path as the kernel does, part by part, to find out whether it leads through
//! the links by which the kernel names what a process has (`/proc/self/cwd` and its like).
//!
//! Those mean another place for each process and thread, and can be spelled in any number of ways:
//! below a descriptor of `/proc`, through a link that leads there, after `..`. So a path is only
//! taken by its name where no part of its way is such a link; else by where it really leads, for
//! the thread that asks.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use vx_core::readset::Seen;

use super::note::Glances;

/// Where the kernel shows processes.
const PROC: &str = "/proc";

/// How many links a path may lead through, as the kernel has it.
const MOST_LINKS: usize = 40;

/// How many directories are known before it starts over.
const MOST_KNOWN: usize = 20_000;

/// Where a way leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Nowhere that depends on who asks.
    Plain {
        /// The absolute path, as it was spelled.
        path: String,
        /// Where it ended, if a link led there and nothing is.
        ended: Option<String>,
        /// The links on its way, and what else it leads through or to, unless it is known to be a
        /// directory.
        links: Vec<String>,
    },
    /// Through a link of the kernel's to this path.
    Through {
        /// Where it leads.
        path: String,
        /// The links before it, and the rest as with a plain one.
        links: Vec<String>,
    },
    /// To a fact that the kernel makes up as it is read: this path below `/proc`.
    Kernel {
        /// What it is.
        path: String,
        /// The links before it, and the rest as with a plain one.
        links: Vec<String>,
    },
    /// To nothing that has a path: a pipe, a socket, memory; or the call fails.
    Nothing,
}

/// Goes ways, and knows directories that no link has to be looked for in.
#[derive(Default)]
pub(super) struct Walker {
    directories: HashSet<String>,
}

/// A way under way.
struct Steps {
    /// Where it has got, without links; empty for the root.
    real: String,
    /// What is left, the last part first.
    rest: Vec<String>,
    links: Vec<String>,
    /// What is no link, unless it was known to be a directory.
    entered: Vec<String>,
    through: bool,
}

impl Steps {
    fn push(&mut self, path: &str) {
        if path.starts_with('/') {
            self.real.clear();
        }
        let parts = path.split('/').rev();
        let parts = parts.filter(|part| !matches!(*part, "" | "."));
        self.rest.extend(parts.map(str::to_owned));
    }
}

/// What became of one step.
enum Stepped {
    On,
    /// The way ends here; nothing is there, or it is no directory.
    Ends,
    Nothing,
}

impl Walker {
    /// Where `raw` leads for a thread, from a descriptor of its or its working directory.
    /// `follow` is whether a link at the end is followed.
    ///
    /// # Errors
    /// When that can't be found out.
    pub(super) fn walk(
        &mut self,
        thread: i32,
        directory: Option<i32>,
        raw: &str,
        follow: bool,
        glances: &mut Glances,
    ) -> Result<Way, String> {
        let spelled = if raw.starts_with('/') {
            raw.to_owned()
        } else {
            let link = match directory {
                None | Some(libc::AT_FDCWD) => format!("{PROC}/{thread}/cwd"),
                Some(number) => format!("{PROC}/{thread}/fd/{number}"),
            };
            match magic(&link)? {
                Some(base) => format!("{}/{raw}", base.trim_end_matches('/')),
                None => return Ok(Way::Nothing),
            }
        };
        let follow = follow || raw.ends_with('/') || raw.ends_with("/.");
        let mut steps = Steps {
            real: String::new(),
            rest: Vec::new(),
            links: Vec::new(),
            entered: Vec::new(),
            through: false,
        };
        match self.known_parent(&spelled) {
            Some((parent, name)) => {
                steps.real.push_str(parent);
                steps.rest.push(name.to_owned());
            }
            None => steps.push(&spelled),
        }
        let mut ended = false;
        while let Some(part) = steps.rest.pop() {
            match self.step(thread, &mut steps, &part, follow, glances)? {
                Stepped::On => {}
                Stepped::Ends => {
                    ended = true;
                    steps.real = format!("{}/{part}", steps.real);
                    while let Some(part) = steps.rest.pop() {
                        steps.real = format!("{}/{part}", steps.real);
                    }
                }
                Stepped::Nothing => return Ok(Way::Nothing),
            }
        }
        let Steps {
            real: mut path,
            mut links,
            mut entered,
            through,
            ..
        } = steps;
        let ended = ended && !links.is_empty();
        links.append(&mut entered);
        if path.is_empty() {
            path.push('/');
        }
        Ok(if is_of_proc(&path) {
            Way::Kernel { path, links }
        } else if through {
            Way::Through { path, links }
        } else {
            Way::Plain {
                path: spelled,
                ended: ended.then_some(path),
                links,
            }
        })
    }

    /// Whether a path without links is known to be a directory.
    pub(super) fn knows(&self, path: &str) -> bool {
        self.directories.contains(path)
    }

    /// The parent of a path that has no detours, if it is a known directory, and the rest.
    fn known_parent<'p>(&self, path: &'p str) -> Option<(&'p str, &'p str)> {
        let (parent, name) = path.rsplit_once('/')?;
        let plain = !matches!(name, "" | "." | "..");
        (plain && self.knows(parent)).then_some((parent, name))
    }

    /// Forgets directories: something was moved, or a link made or removed.
    pub(super) fn forget(&mut self) {
        self.directories.clear();
    }

    fn step(
        &mut self,
        thread: i32,
        steps: &mut Steps,
        part: &str,
        follow: bool,
        glances: &mut Glances,
    ) -> Result<Stepped, String> {
        if part == ".." {
            steps.real.truncate(steps.real.rfind('/').unwrap_or(0));
            return Ok(Stepped::On);
        }
        let next = format!("{}/{part}", steps.real);
        if is_of_proc(&steps.real) {
            return in_proc(thread, steps, next, part, follow);
        }
        if self.directories.contains(&next) {
            steps.real = next;
            return Ok(Stepped::On);
        }
        match glances.itself(&next) {
            Seen::Absent => return Ok(Stepped::Ends),
            Seen::Link { .. } if steps.rest.is_empty() && !follow => steps.real = next,
            Seen::Link { .. } => {
                let Ok(target) = fs::read_link(&next) else {
                    return Ok(Stepped::Ends);
                };
                let target = target
                    .to_str()
                    .ok_or("a link that is not plain UTF-8 is on the way of a path")?;
                // The call fails, for as long as these links are there.
                if steps.links.len() >= MOST_LINKS {
                    return Ok(Stepped::Ends);
                }
                steps.push(target);
                steps.links.push(next);
            }
            seen @ (Seen::File { .. } | Seen::Directory { .. } | Seen::Other) => {
                if !steps.rest.is_empty() && matches!(seen, Seen::Directory { .. }) {
                    self.know(&next);
                }
                steps.entered.push(next.clone());
                steps.real = next;
            }
        }
        Ok(Stepped::On)
    }

    /// Keeps that something on the way of another path is a directory.
    fn know(&mut self, path: &str) {
        if self.directories.len() >= MOST_KNOWN {
            self.directories.clear();
        }
        self.directories.insert(path.to_owned());
    }
}

/// A step below `/proc`, as the thread would make it.
fn in_proc(
    thread: i32,
    steps: &mut Steps,
    next: String,
    part: &str,
    follow: bool,
) -> Result<Stepped, String> {
    let last = steps.rest.is_empty();
    if steps.real == PROC {
        match part {
            "self" | "thread-self" if last && !follow => steps.real = next,
            "self" => steps.real = format!("{PROC}/{}", process_of(thread)?),
            "thread-self" => {
                steps.real = format!("{PROC}/{}/task/{thread}", process_of(thread)?);
            }
            _ => match fs::read_link(&next) {
                // `mounts` and `net` lead to the process's own.
                Ok(target) if follow || !last => {
                    steps.push(target.to_str().unwrap_or_default());
                }
                _ => steps.real = next,
            },
        }
        return Ok(Stepped::On);
    }
    if !is_magic(&next) || (last && !follow) {
        steps.real = next;
        return Ok(Stepped::On);
    }
    let Some(target) = magic(&next)? else {
        return Ok(Stepped::Nothing);
    };
    steps.through = true;
    steps.real = target.trim_end_matches('/').to_owned();
    Ok(Stepped::On)
}

/// Whether a path below `/proc` is a link to what a process has, as far as it is a file's:
/// `cwd`, `root`, `exe` and descriptors, of a process or of one of its threads.
fn is_magic(path: &str) -> bool {
    let mut parts = path.split('/').skip(2);
    let Some(_process) = parts.next() else {
        return false;
    };
    let mut rest: Vec<&str> = parts.collect();
    if rest.len() > 2 && rest[0] == "task" {
        rest.drain(..2);
    }
    matches!(rest[..], ["cwd" | "root" | "exe"] | ["fd", _])
}

fn is_of_proc(path: &str) -> bool {
    vx_core::places::below(path, PROC).is_some()
}

/// Where a link of the kernel's leads; `None` where that has no path, or there is no such link.
fn magic(link: &str) -> Result<Option<String>, String> {
    let target = match fs::read_link(link) {
        Ok(target) => target,
        // No such descriptor, or no such process any more: the call fails too.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
        Err(error) => return Err(format!("{link} could not be followed: {error}")),
    };
    let target = target
        .into_os_string()
        .into_string()
        .map_err(|_| "a directory is not plain UTF-8".to_owned())?;
    if !target.starts_with('/') {
        // Pipes and sockets; `(unreachable)` is a directory that is mounted nowhere.
        let unreachable = target.starts_with("(unreachable)");
        return if unreachable {
            Err("it looks from a directory that has no path".to_owned())
        } else {
            Ok(None)
        };
    }
    if target.ends_with(" (deleted)") && fs::metadata(link).is_ok_and(|found| found.nlink() == 0) {
        // Memory that a program made for itself has such a name too.
        return if target.starts_with("/memfd:") {
            Ok(None)
        } else {
            Err(format!("it looks at {target}, which has no path any more"))
        };
    }
    Ok(Some(target))
}

/// The process of a thread.
///
/// # Errors
/// When there is no such thread any more.
pub(super) fn process_of(thread: i32) -> Result<i32, String> {
    let status = fs::read_to_string(format!("{PROC}/{thread}/status"));
    let status = status.map_err(|error| format!("a thread's process is not known: {error}"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
    line.ok_or_else(|| "a thread's process is not known".to_owned())
}

/// The path behind a descriptor of a thread's; `None` where it has none.
///
/// # Errors
/// When that can't be found out.
pub(super) fn descriptor(thread: i32, number: i32) -> Result<Option<String>, String> {
    magic(&format!("{PROC}/{thread}/fd/{number}"))
}

/// A thread's working directory.
///
/// # Errors
/// When that can't be found out.
pub(super) fn working_directory(thread: i32) -> Result<Option<String>, String> {
    magic(&format!("{PROC}/{thread}/cwd"))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn me() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    fn way(raw: &str) -> Way {
        Walker::default()
            .walk(me(), None, raw, true, &mut Glances::default())
            .unwrap()
    }

    fn through(raw: &str) -> String {
        match way(raw) {
            Way::Through { path, .. } => path,
            other => panic!("{raw}: {other:?}"),
        }
    }

    #[test]
    fn every_spelling_of_the_kernels_links_is_followed() {
        let cwd = std::env::current_dir().unwrap();
        let here = format!("{}/x", cwd.display());
        let me = me();
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/proc/self/cwd", &link).unwrap();
        for raw in [
            "/proc/self/cwd/x".to_owned(),
            "//proc/self/cwd/x".to_owned(),
            "/usr/../proc/self/cwd/x".to_owned(),
            "/proc/./self//cwd/x".to_owned(),
            format!("/proc/{me}/cwd/x"),
            format!("/proc/self/task/{me}/cwd/x"),
            "/proc/self/../self/cwd/x".to_owned(),
            "/proc/self/root/proc/self/cwd/x".to_owned(),
            format!("{}/x", link.display()),
        ] {
            assert_eq!(through(&raw), here, "{raw}");
        }
        assert_eq!(through("/proc/self/root/usr/x"), "/usr/x");
        let file = fs::File::open("/").unwrap();
        let by_descriptor = format!("/dev/fd/{}/usr/x", file.as_raw_fd());
        assert_eq!(through(&by_descriptor), "/usr/x");
    }

    #[test]
    fn facts_are_told_from_files() {
        let kernel = |raw: &str| matches!(way(raw), Way::Kernel { .. });
        for raw in ["/proc/cpuinfo", "/proc/self/maps", "/proc/mounts", "/proc"] {
            assert!(kernel(raw), "{raw}");
        }
        assert!(matches!(way("/usr/x"), Way::Plain { path, .. } if path == "/usr/x"));
        let (read, _write) = std::io::pipe().unwrap();
        let pipe = format!("/proc/self/fd/{}", read.as_raw_fd());
        assert_eq!(way(&pipe), Way::Nothing);
        let unfollowed =
            Walker::default().walk(me(), None, "/proc/self/cwd", false, &mut Glances::default());
        assert!(matches!(unfollowed, Ok(Way::Kernel { .. })));
    }

    #[test]
    fn what_has_no_path_any_more_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(&path, "1").unwrap();
        let file = fs::File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let gone = format!("/proc/self/fd/{}", file.as_raw_fd());
        assert!(
            Walker::default()
                .walk(me(), None, &gone, true, &mut Glances::default())
                .is_err()
        );
    }
}
