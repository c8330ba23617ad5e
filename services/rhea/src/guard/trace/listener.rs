//! Answers the kernel's questions about system calls.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::filter::{self, Deed, PathAt, Watched};
use super::memory;
use super::network;
use super::notes::{Intent, Notes};
use super::real::{self, Real};
use super::resolve::{self, Resolved};
use crate::guard::mounts::last_errno;

/// Notes every watched call until nothing is watched any more.
pub(super) fn listen(listener: &OwnedFd, notes: &Mutex<Notes>) {
    wake_on_this_processor(listener);
    let calls: HashMap<i64, Watched> = filter::all().map(|call| (call.number, call)).collect();
    loop {
        // SAFETY: all zeroes is a valid question; the kernel asks for exactly that.
        let mut question: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        match ask(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &mut question) {
            Ok(()) => {}
            Err(Errno::INTR) => continue,
            // The caller was killed before its question was read, or nobody is left.
            Err(Errno::NOENT) if !is_over(listener) => continue,
            Err(Errno::NOENT) => return,
            Err(error) => return give_up(notes, error),
        }
        let answer = match calls.get(&i64::from(question.data.nr)) {
            Some(call) => {
                let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
                Caller::of(&question).answer(call, &mut notes)
            }
            None => Answer::Go,
        };
        let mut answer = answer.of(question.id);
        match ask(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &mut answer) {
            Ok(()) | Err(Errno::INTR | Errno::NOENT) => {}
            Err(error) => return give_up(notes, error),
        }
    }
}

/// Whether nothing is watched any more.
fn is_over(listener: &OwnedFd) -> bool {
    let mut events = [PollFd::new(listener, PollFlags::empty())];
    let polled = poll(&mut events, Some(&Timespec::default()));
    polled.is_ok() && events[0].revents().contains(PollFlags::HUP)
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
}

impl Answer {
    fn of(self, id: u64) -> libc::seccomp_notif_resp {
        let go = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or(1);
        let (val, error, flags) = match self {
            Self::Go => (0, 0, go),
            Self::Done(value) => (value, 0, 0),
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
        self.note(call, notes);
        Answer::Go
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
        let Some(path) = resolve::absolute(self.pid, None, &raw) else {
            return ask_the_kernel;
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

    fn note(&self, call: &Watched, notes: &mut Notes) {
        if call.deed == Deed::List {
            if let Some(path) = resolve::descriptor(self.pid, self.number(0)) {
                notes.note(&path, Intent::List);
            }
            return;
        }
        if call.deed == Deed::Connect {
            // One that can't be read fails by itself.
            if let Ok(Some(address)) = network::reached(self.pid, self.args[1], self.args[2]) {
                notes.reaches_for(address);
            }
            return;
        }
        if self.means_another_root(call.deed) {
            notes.give_up("it opened paths below a root of its own");
        }
        let Ok(intent) = self.intent(call.deed) else {
            notes.give_up("the arguments of a system call could not be read");
            return;
        };
        if call.deed == Deed::Link
            && let Ok(Some(target)) = memory::text(self.pid, self.args[0])
        {
            notes.links_to(&target);
        }
        for (index, path) in call.paths.iter().enumerate() {
            // Of two paths the first is what comes to be at the second.
            let intent = match intent {
                Intent::Alter if index == 0 && call.paths.len() > 1 => Intent::Move,
                other => other,
            };
            match self.path(*path, intent, notes) {
                Ok(Some(Resolved::Path(path))) => notes.note(&path, intent),
                // What comes before a `..` is not there.
                Ok(Some(Resolved::Missing(path))) => notes.note(&path, Intent::Look),
                Ok(None) => {}
                Err(why) => notes.give_up(why),
            }
        }
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
            Deed::Look | Deed::List | Deed::Connect => Intent::Look,
            Deed::LookAtLink => Intent::LookAtLink,
            Deed::LookBy(at) => by_flags(at),
            Deed::Execute => Intent::Execute,
            Deed::Touch => Intent::Touch,
            Deed::Alter | Deed::Link => Intent::Alter,
        })
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
        notes: &mut Notes,
    ) -> Result<Option<Resolved>, &'static str> {
        let raw = match memory::text(self.pid, self.args[at.path]) {
            Ok(Some(raw)) => raw,
            Ok(None) => return Ok(None),
            // Gone meanwhile.
            Err(Errno::SRCH) => return Ok(None),
            Err(_) => return Err("a traced process's memory could not be read"),
        };
        let Ok(raw) = String::from_utf8(raw) else {
            return Err("a path is not plain UTF-8");
        };
        let directory = at.directory.map(|index| self.number(index));
        // The descriptor itself is meant: what it leads to was noted when it was opened, but for
        // what is run of one that could not be read from.
        if raw.is_empty() {
            let run = directory.filter(|_| intent == Intent::Execute);
            let program = run.and_then(|number| resolve::descriptor(self.pid, number));
            return Ok(program.map(Resolved::Path));
        }
        Ok(resolve::absolute(self.pid, directory, &raw).map(|path| notes.straighten(path)))
    }
}
