//! What programs answered before, as long as all that they looked at is as it was.
//!
//! Which toolchain a request means is asked for every build, before anything is known that a
//! whole plan could be found by. Asking costs tens of milliseconds.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use vx_core::readset::{Observed, ReadKind, ReadPlace, Seen};
use vx_core::{Exit, HostProgram};

use super::{Host, Look, Ran, of_a_plan};

/// Answers kept; a daemon serves few toolchains, so the bound only stops a runaway.
const KEPT: usize = 256;

/// The most looks of one answer that are kept: a program that looks at more is asked again.
const MOST_LOOKS: usize = 2_000;

/// How far files are stamped behind the clock at most, in nanoseconds, and some more.
const SETTLED_NS: i64 = 50_000_000;

/// What is asked, in which directory, with which environment, as far as that counts.
type Question = (Vec<String>, String, Vec<(String, String)>);

/// An answer and what it depends on.
struct Answer {
    ran: Ran,
    observed: Vec<(Look, Observed)>,
}

static ANSWERS: LazyLock<Mutex<HashMap<Question, Arc<Answer>>>> = LazyLock::new(Mutex::default);

impl Host {
    /// Runs a program unless it did and would say the same again. Only variables that `heeded`
    /// names can change what it says.
    pub(crate) fn ask(
        &self,
        program: HostProgram,
        heeded: impl Fn(&str) -> bool,
    ) -> Result<Ran, String> {
        let env = program.env.iter().filter(|(name, _)| heeded(name));
        let question = (
            program.argv.clone(),
            program.cwd.clone(),
            env.cloned().collect(),
        );
        let known = lock().get(&question).filter(|_| !self.afresh).cloned();
        if let Some(answer) = known {
            // What is seen before it is found to be the same has not changed when it is weighed.
            let seen = answer.observed.iter().map(|(look, _)| {
                let seen = super::see(look.path.as_ref(), look.kind);
                (look.clone(), seen)
            });
            let seen: Vec<(Look, Seen)> = seen.collect();
            if self.holds(&answer) {
                let mut looks = self.lock();
                for (look, seen) in seen {
                    looks.looks.entry(look).or_insert(Some(seen));
                }
                return Ok(answer.ran.clone());
            }
        }
        let started_ns = now_ns();
        let ran = self.run(program)?;
        if let Some(answer) = self.answer(&ran, started_ns) {
            let mut kept = lock();
            if kept.len() >= KEPT {
                kept.clear();
            }
            kept.insert(question, Arc::new(answer));
        }
        Ok(ran)
    }

    fn holds(&self, answer: &Answer) -> bool {
        answer.observed.iter().all(|(look, observed)| {
            let now = self.outside.observe(&look.path, look.kind);
            now.is_ok_and(|now| now == *observed)
        })
    }

    /// An answer that can be given again: all is known that it depends on, and was the same before
    /// it was given as it is now.
    fn answer(&self, ran: &Ran, started_ns: i64) -> Option<Answer> {
        let trace = &ran.trace;
        let whole = trace.incomplete.is_none() && trace.unsteady.is_none();
        if !whole || ran.exit != Exit::Code(0) || trace.sights.len() > MOST_LOOKS {
            return None;
        }
        let sights = trace.sights.iter().filter_map(|sight| {
            let ReadPlace::Host(path) = &sight.read.place else {
                return None;
            };
            let kind = of_a_plan(sight.read.kind);
            let path = path.clone();
            Some((Look { path, kind }, sight.seen))
        });
        let mut seen: Vec<(Look, Seen)> = sights.collect();
        let links = super::links_on_the_way(seen.iter().map(|(look, _)| look.path.as_str()));
        let kind = ReadKind::Link;
        seen.extend(
            links
                .into_iter()
                .map(|(path, seen)| (Look { path, kind }, seen)),
        );
        let mut looks: Vec<Look> = seen.iter().map(|(look, _)| look.clone()).collect();
        looks.sort();
        looks.dedup();
        let observed = looks.into_iter().map(|look| {
            let observed = self.outside.observe(&look.path, look.kind).ok()?;
            Some((look, observed))
        });
        let observed = observed.collect::<Option<_>>()?;
        // What the program itself changed, or somebody under it or since, is no ground to stand on.
        let settled = |(look, seen): &(Look, Seen)| {
            let now = super::see(look.path.as_ref(), look.kind);
            is_settled(look.kind, *seen, now, started_ns)
        };
        if !seen.iter().all(settled) {
            return None;
        }
        Some(Answer {
            ran: ran.clone(),
            observed,
        })
    }
}

/// Whether what was seen is what is there, and was long enough before the program started that no
/// change since could hide behind the time.
fn is_settled(kind: ReadKind, seen: Seen, now: Seen, started_ns: i64) -> bool {
    if kind == ReadKind::Existence {
        return std::mem::discriminant(&seen) == std::mem::discriminant(&now);
    }
    let newest_ns = match seen {
        Seen::Absent | Seen::Other => i64::MIN,
        Seen::File { newest_ns } | Seen::Directory { newest_ns } | Seen::Link { newest_ns } => {
            newest_ns
        }
    };
    // A coarse clock's time stands for all of its step.
    let latest_ns = vx_core::stamp::latest_ns(i128::from(newest_ns));
    seen == now && latest_ns < i128::from(started_ns - SETTLED_NS)
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}

fn lock() -> std::sync::MutexGuard<'static, HashMap<Question, Arc<Answer>>> {
    // A panic elsewhere can't leave a half-made answer: they are inserted whole.
    ANSWERS.lock().unwrap_or_else(PoisonError::into_inner)
}
