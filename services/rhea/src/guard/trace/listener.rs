//! Answers the kernel's questions about system calls.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::filter::{self, Deed, PathAt, Watched};
use super::kernel;
use super::memory;
use super::network::{self, Named};
use super::notes::{Intent, Notes};
use super::real::{self, Real};
use super::resolve::Resolved;
use super::walk;
use crate::guard::mounts::last_errno;

/// Notes every watched call until nothing is watched any more.
///
/// A signal that comes before its call's question is read ends that call with `EINTR`, as it would
/// not without a watch, and programs take that for "not there". So whatever waits is read before
/// anything is answered.
pub(super) fn listen(listener: &OwnedFd, notes: &Mutex<Notes>) {
    wake_on_this_processor(listener);
    let calls: HashMap<i64, Watched> = filter::all().map(|call| (call.number, call)).collect();
    let mut waiting = VecDeque::new();
    loop {
        while waiting.is_empty() || is(listener, PollFlags::IN) {
            match read(listener) {
                Asked::Question(question) => waiting.push_back(question),
                Asked::Interrupted => {
                    let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
                    notes.interrupted();
                }
                Asked::Over => return,
                Asked::Fault(error) => return give_up(notes, error),
            }
        }
        let Some(question) = waiting.pop_front() else {
            continue;
        };
        let answer = match calls.get(&i64::from(question.data.nr)) {
            Some(call) => {
                let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
                notes.begin(question.pid.cast_signed());
                Caller::of(&question).answer(call, &mut notes)
            }
            None => Answer::Go,
        };
        match give(listener, question.id, answer) {
            Ok(()) | Err(Errno::INTR | Errno::NOENT) => {}
            Err(error) => return give_up(notes, error),
        }
    }
}

/// What the kernel asks.
enum Asked {
    Question(libc::seccomp_notif),
    /// A signal ended a call, or its caller, before its question was read.
    Interrupted,
    /// Nothing is watched any more.
    Over,
    Fault(Errno),
}

/// Waits for a question.
fn read(listener: &OwnedFd) -> Asked {
    loop {
        // SAFETY: all zeroes is a valid question; the kernel asks for exactly that.
        let mut question: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        return match ask(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &mut question) {
            Ok(()) => Asked::Question(question),
            Err(Errno::INTR) => continue,
            Err(Errno::NOENT) if is(listener, PollFlags::HUP) => Asked::Over,
            Err(Errno::NOENT) => Asked::Interrupted,
            Err(error) => Asked::Fault(error),
        };
    }
}

/// Answers a question.
fn give(listener: &OwnedFd, id: u64, answer: Answer) -> Result<(), Errno> {
    let Answer::Opened { file, flags } = &answer else {
        return ask(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &mut answer.of(id));
    };
    let mut opened = libc::seccomp_notif_addfd {
        id,
        flags: u32::try_from(libc::SECCOMP_ADDFD_FLAG_SEND).unwrap_or(2),
        srcfd: file.as_raw_fd().unsigned_abs(),
        newfd: 0,
        newfd_flags: (flags & libc::O_CLOEXEC).cast_unsigned(),
    };
    match ask(listener, libc::SECCOMP_IOCTL_NOTIF_ADDFD, &mut opened) {
        // Kernels before 5.14 can't open and answer in one; and a program may have no room left.
        Err(Errno::INVAL | Errno::MFILE) => {
            let mut refusal = Answer::Fault(libc::EACCES).of(id);
            ask(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &mut refusal)
        }
        done => done,
    }
}

/// Whether a listener is in a state now: a question waits, or nothing is watched any more.
fn is(listener: &OwnedFd, state: PollFlags) -> bool {
    let mut events = [PollFd::new(listener, state)];
    let polled = poll(&mut events, Some(&Timespec::default()));
    polled.is_ok() && events[0].revents().contains(state)
}

fn give_up(notes: &Mutex<Notes>, error: Errno) {
    let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    notes.give_up(&format!(
        "the kernel stopped saying what it looks at: {error}"
    ));
}

fn ask<T>(listener: &OwnedFd, request: libc::Ioctl, value: &mut T) -> Result<(), Errno> {
    // SAFETY: the requests used here read and write exactly one value of the type given.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), request, std::ptr::from_mut(value)) };
    if result < 0 {
        return Err(last_errno());
    }
    Ok(())
}

/// Question and answer change processes twice a call: faster on one processor. Kernels before
/// 6.6 don't know how, and are merely slower.
fn wake_on_this_processor(listener: &OwnedFd) {
    const SYNC_WAKE_UP: libc::c_ulong = 1;
    // SAFETY: this request takes its flags by value.
    unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS,
            SYNC_WAKE_UP,
        )
    };
}

/// What becomes of a call.
enum Answer {
    /// The kernel does it.
    Go,
    /// It is done, and gave this.
    Done(i64),
    /// It fails with this error number.
    Fault(i32),
    /// It opened this, by these flags.
    Opened { file: OwnedFd, flags: i32 },
}

impl Answer {
    fn of(&self, id: u64) -> libc::seccomp_notif_resp {
        let go = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or(1);
        let (val, error, flags) = match self {
            Self::Go | Self::Opened { .. } => (0, 0, go),
            Self::Done(value) => (*value, 0, 0),
            Self::Fault(error) => (0, -error, 0),
        };
        libc::seccomp_notif_resp {
            id,
            val,
            error,
            flags,
        }
    }
}

/// Who made a call, and with what.
struct Caller<'a> {
    pid: i32,
    args: &'a [u64; 6],
}

impl<'a> Caller<'a> {
    fn of(question: &'a libc::seccomp_notif) -> Self {
        Self {
            pid: question.pid.cast_signed(),
            args: &question.data.args,
        }
    }

    fn answer(&self, call: &Watched, notes: &mut Notes) -> Answer {
        if call.number == libc::SYS_readlinkat && self.number(3) == real::QUESTION {
            return self.real_path(notes);
        }
        self.note(call, notes)
    }

    /// Answers in the caller's memory where its path really leads. What it can't be told it finds
    /// out itself.
    fn real_path(&self, notes: &mut Notes) -> Answer {
        let ask_the_kernel = Answer::Fault(libc::EINVAL);
        let raw = memory::text(self.pid, self.args[1]);
        let Some(raw) = raw
            .ok()
            .flatten()
            .and_then(|raw| String::from_utf8(raw).ok())
        else {
            return ask_the_kernel;
        };
        if raw.is_empty() {
            return Answer::Fault(libc::ENOENT);
        }
        let path = if raw.starts_with('/') {
            raw
        } else {
            match walk::working_directory(self.pid) {
                Ok(Some(base)) => format!("{base}/{raw}"),
                _ => return ask_the_kernel,
            }
        };
        match notes.real_path(&path) {
            Real::Path(real) if real.len() < memory::LONGEST => {
                match memory::write(self.pid, self.args[2], real.as_bytes()) {
                    Ok(true) => Answer::Done(i64::try_from(real.len()).unwrap_or(0)),
                    _ => ask_the_kernel,
                }
            }
            Real::Fault(error) => Answer::Fault(error),
            Real::Path(_) | Real::Elsewhere => ask_the_kernel,
        }
    }

    fn note(&self, call: &Watched, notes: &mut Notes) -> Answer {
        match self.try_note(call, notes) {
            Ok(answer) => answer,
            Err(why) => {
                notes.give_up(&why);
                Answer::Go
            }
        }
    }

    /// # Errors
    /// When it can't be told what the call is about.
    fn try_note(&self, call: &Watched, notes: &mut Notes) -> Result<Answer, String> {
        match call.deed {
            Deed::List => {
                if let Some(path) = walk::descriptor(self.pid, self.number(0))? {
                    notes.note(&path, Intent::List);
                }
                return Ok(Answer::Go);
            }
            Deed::Limit(process) => return self.limit(call, process),
            Deed::Reach(at, length) => {
                self.address(notes, self.args[at], self.args[length], Intent::Look)?;
                return Ok(Answer::Go);
            }
            Deed::Bind => {
                self.address(notes, self.args[1], self.args[2], Intent::Alter)?;
                return Ok(Answer::Go);
            }
            Deed::Send { many } => {
                self.messages(notes, many)?;
                return Ok(Answer::Go);
            }
            _ => {}
        }
        if self.means_another_root(call.deed) {
            notes.give_up("it opened paths below a root of its own");
        }
        let intent = self.intent(call.deed).map_err(|error| {
            format!("the arguments of a system call could not be read: {error}")
        })?;
        if call.deed == Deed::Link {
            match memory::text(self.pid, self.args[0]) {
                Ok(Some(target)) => notes.links_to(&target),
                Ok(None) => {}
                Err(error) => return Err(unreadable(error)),
            }
        }
        for (index, path) in call.paths.iter().enumerate() {
            // Of two paths the first is what comes to be at the second.
            let first = index == 0 && call.paths.len() > 1;
            let intent = match intent {
                Intent::Alter if first => Intent::Move,
                other => other,
            };
            let follow = match call.deed {
                Deed::Name(flags) if first => self.number(flags) & libc::AT_SYMLINK_FOLLOW != 0,
                _ => follows(intent),
            };
            match self.path(*path, intent, follow, notes)? {
                Resolved::Path(path) => {
                    if self.needs_empty(call.deed, index) {
                        notes.note_emptied(&path);
                    }
                    notes.note(&path, intent);
                    if call.deed == Deed::LookBoth {
                        notes.note(&path, Intent::Look);
                    }
                }
                // What comes before a `..` is not there.
                Resolved::Missing(path) => notes.note(&path, Intent::Look),
                Resolved::Kernel(path) => {
                    if let Intent::Open(flags) = intent {
                        match kernel::in_place_of(&path) {
                            Ok(Some(file)) => return Ok(Answer::Opened { file, flags }),
                            Ok(None) => {}
                            Err(_) => return Ok(Answer::Fault(libc::EACCES)),
                        }
                    }
                }
                // What is in memory alone may have an interpreter, which the kernel opens.
                Resolved::Nothing if intent == Intent::Execute => {
                    notes.give_up("it ran a program that has no path");
                }
                Resolved::Nothing => {}
            }
        }
        Ok(Answer::Go)
    }

    /// Nobody but the executor limits the guard.
    fn limit(&self, call: &Watched, at: usize) -> Result<Answer, String> {
        const IOPRIO_WHO_PROCESS: i32 = 1;
        let guard = i32::try_from(std::process::id()).unwrap_or(1);
        let one = match call.number {
            libc::SYS_setpriority => libc::PRIO_PROCESS.cast_signed(),
            libc::SYS_ioprio_set => IOPRIO_WHO_PROCESS,
            _ => self.number(0),
        };
        // A group's, or all of a user's.
        if self.number(0) != one {
            return Ok(Answer::Fault(libc::EPERM));
        }
        if self.number(at) == 0 {
            return Ok(Answer::Go);
        }
        let process = walk::process_of(self.number(at)).unwrap_or(0);
        Ok(if process == guard {
            Answer::Fault(libc::EPERM)
        } else {
            Answer::Go
        })
    }

    fn messages(&self, notes: &mut Notes, many: bool) -> Result<(), String> {
        /// The size of an `mmsghdr`, in bytes: a `msghdr` and a length.
        const HEADER: u64 = size_of::<libc::mmsghdr>() as u64;
        /// As many as the kernel takes at once (`UIO_MAXIOV`).
        const MOST: u64 = 1024;
        let count = if many { self.args[2].min(MOST) } else { 1 };
        for index in 0..count {
            let at = self.args[1].wrapping_add(index * HEADER);
            if let Some((name, length)) = network::of_message(self.pid, at).map_err(unreadable)? {
                self.address(notes, name, length, Intent::Look)?;
            }
        }
        Ok(())
    }

    /// Notes what an address names.
    fn address(
        &self,
        notes: &mut Notes,
        at: u64,
        length: u64,
        intent: Intent,
    ) -> Result<(), String> {
        match network::named(self.pid, at, length).map_err(unreadable)? {
            None => {}
            Some(Named::Network(address)) => notes.reaches_for(address),
            Some(Named::Path(path)) => {
                let path = String::from_utf8(path).map_err(|_| NOT_TEXT.to_owned())?;
                if let Resolved::Path(path) = notes.resolve(None, &path, follows(intent))? {
                    notes.note(&path, intent);
                }
            }
        }
        Ok(())
    }

    fn intent(&self, deed: Deed) -> Result<Intent, Errno> {
        let by_flags = |at: usize| {
            if self.number(at) & libc::AT_SYMLINK_NOFOLLOW != 0 {
                Intent::LookAtLink
            } else {
                Intent::Look
            }
        };
        Ok(match deed {
            Deed::Open(at) => Intent::Open(self.number(at)),
            Deed::OpenHow(at) => match memory::word(self.pid, self.args[at])? {
                Some(flags) => Intent::Open(flags as i32),
                None => Intent::Look,
            },
            Deed::Look
            | Deed::List
            | Deed::Reach(..)
            | Deed::Bind
            | Deed::Send { .. }
            | Deed::Limit(_) => Intent::Look,
            Deed::LookAtLink | Deed::LookBoth => Intent::LookAtLink,
            Deed::LookBy(at) => by_flags(at),
            Deed::Execute => Intent::Execute,
            Deed::Touch => Intent::Touch,
            Deed::Alter | Deed::Remove(_) | Deed::Link | Deed::Name(_) => Intent::Alter,
        })
    }

    /// Whether a directory at a call's path of this index has to be empty: one that is removed, or
    /// comes to be another.
    fn needs_empty(&self, deed: Deed, index: usize) -> bool {
        match deed {
            Deed::Remove(None) => true,
            Deed::Remove(Some(flags)) => self.number(flags) & libc::AT_REMOVEDIR != 0,
            Deed::Alter => index == 1,
            _ => false,
        }
    }

    /// An argument as a C `int`, as descriptors and flags are.
    fn number(&self, at: usize) -> i32 {
        self.args[at] as i32
    }

    /// Whether an absolute path is to be one below a directory of the caller's choice.
    fn means_another_root(&self, deed: Deed) -> bool {
        const RESOLVE: u64 = 16;
        const IN_ROOT: u64 = 0x10;
        let Deed::OpenHow(at) = deed else {
            return false;
        };
        let resolve = memory::word(self.pid, self.args[at].wrapping_add(RESOLVE));
        !matches!(resolve, Ok(Some(resolve)) if resolve & IN_ROOT == 0)
    }

    fn path(
        &self,
        at: PathAt,
        intent: Intent,
        follow: bool,
        notes: &mut Notes,
    ) -> Result<Resolved, String> {
        let directory = at.directory.map(|index| self.number(index));
        let raw = match memory::text(self.pid, self.args[at.path]) {
            Ok(Some(raw)) => raw,
            Ok(None) => return Ok(Resolved::Nothing),
            // Gone meanwhile.
            Err(Errno::SRCH) => return Ok(Resolved::Nothing),
            Err(error) => return Err(unreadable(error)),
        };
        let raw = String::from_utf8(raw).map_err(|_| NOT_TEXT.to_owned())?;
        if !raw.is_empty() {
            let resolved = notes.resolve(directory, &raw, follow)?;
            // A slash at the end has a link followed by whoever else does not.
            if intent == Intent::LookAtLink
                && raw.ends_with('/')
                && let Resolved::Path(path) = &resolved
            {
                notes.note(path, Intent::Look);
            }
            return Ok(resolved);
        }
        // The descriptor itself is meant: what it leads to was noted when it was opened, but for
        // what is run or named anew of one that could not be read from.
        let Some(number) = directory.filter(|_| matches!(intent, Intent::Execute | Intent::Move))
        else {
            return Ok(Resolved::Nothing);
        };
        let path = walk::descriptor(self.pid, number)?;
        Ok(path.map_or(Resolved::Nothing, Resolved::Path))
    }
}

const NOT_TEXT: &str = "a path is not plain UTF-8";

fn unreadable(error: Errno) -> String {
    format!("a traced process's memory could not be read: {error}")
}

/// Whether a call that means to do this follows a link at the end of a path.
fn follows(intent: Intent) -> bool {
    match intent {
        Intent::Open(flags) => {
            let makes = libc::O_CREAT | libc::O_EXCL;
            flags & libc::O_NOFOLLOW == 0 && flags & makes != makes
        }
        Intent::Look | Intent::List | Intent::Execute | Intent::Touch => true,
        Intent::LookAtLink | Intent::Alter | Intent::Move => false,
    }
}
