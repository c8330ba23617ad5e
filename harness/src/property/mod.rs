//! A property: whatever happens to a workspace between two builds, vx's program prints what the
//! workspace says now, nothing is compiled that no change reaches, and a build without a change
//! builds nothing.
//!
//! A seed gives a small workspace and a sequence of edits. What its program prints is said by a
//! pure model of the workspace, so that a step costs no build of cargo's; cargo builds from
//! nothing after some steps, which holds the model to it. What fails is made smaller as long as
//! it fails, and printed as the text of a project and the edits that are left.
//!
//! Cases and their reduction are plain values here, not a library's: a case takes seconds, and
//! what to leave out first is known.

mod checkout;
#[cfg(test)]
mod double;
mod edit;
mod generate;
mod model;
mod render;
mod sequence;
pub(crate) mod shrink;
mod workspace;

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use checkout::Checkout;
use sequence::{Case, Failure, Named, Subject};

use crate::env::Env;

/// How many sequences one home sees, one after the other: what one left in the store is there
/// for the next, and the store stays small.
const PER_HOME: u64 = 5;

/// How often a failing case is tried smaller. A try takes a few seconds.
const TRIES: usize = 120;

/// For how long.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The first sequence's seed; the others follow it.
    pub seed: u64,
    /// How many sequences.
    pub sequences: u64,
    /// How many at once.
    pub threads: usize,
}

impl Settings {
    /// What `VX_PROPERTY_SEED` and `VX_PROPERTY_SEQUENCES` say, or so many sequences that are
    /// the same in each run. A seed alone is one sequence.
    ///
    /// # Panics
    /// When a variable is no number.
    #[must_use]
    pub fn from_environment(sequences: u64) -> Self {
        Self::of_variables("VX_PROPERTY", sequences)
    }

    /// The same, of the variables with this prefix.
    pub(crate) fn of_variables(prefix: &str, sequences: u64) -> Self {
        let number = |name: &str| {
            let name = format!("{prefix}_{name}");
            let text = std::env::var(&name).ok()?;
            let number = text.parse::<u64>();
            Some(number.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
        };
        let seed = number("SEED");
        let usual = if seed.is_some() { 1 } else { sequences };
        Self {
            seed: seed.unwrap_or(0),
            sequences: number("SEQUENCES").unwrap_or(usual),
            threads: thread::available_parallelism().map_or(1, |count| count.get().min(4)),
        }
    }

    /// Checks the property of vx.
    ///
    /// # Panics
    /// When a sequence fails, with the smallest that was found to fail.
    #[track_caller]
    pub fn check(self) {
        let checkout = |base: &Env| Checkout::new(base.sibling());
        if let Some(found) = self.search(Env::new, checkout) {
            panic!("{}", found.text());
        }
    }

    /// Runs everything until something fails, and gives that made small. A thread has one `B`,
    /// of which it makes a subject with an empty home for each few sequences.
    fn search<B, S: Subject>(
        self,
        base: impl Fn() -> B + Sync,
        subject: impl Fn(&B) -> S + Sync,
    ) -> Option<Found> {
        self.first(base, |base, seeds, stop| {
            let cases: Vec<Case> = seeds.map(generate::case).collect();
            let (count, failure) = run_cases(&cases, &mut subject(base))?;
            stop.store(true, Ordering::Relaxed);
            Some(Found::shrunk(cases[..count].to_vec(), failure, || {
                subject(base)
            }))
        })
    }

    /// Hands the seeds out to threads, as many at once as one home sees, until `run` finds
    /// something. It sets the flag as soon as it knows that it will, and the others stop.
    pub(crate) fn first<B, F: Send>(
        self,
        base: impl Fn() -> B + Sync,
        run: impl Fn(&B, Seeds, &AtomicBool) -> Option<F> + Sync,
    ) -> Option<F> {
        let next = AtomicU64::new(0);
        let stop = AtomicBool::new(false);
        let work = || {
            let base = base();
            loop {
                let start = next
                    .fetch_add(1, Ordering::Relaxed)
                    .saturating_mul(PER_HOME);
                if start >= self.sequences || stop.load(Ordering::Relaxed) {
                    return None;
                }
                let end = (start + PER_HOME).min(self.sequences);
                let seeds = (start..end)
                    .map(|index| self.seed.wrapping_add(index))
                    .collect::<Vec<_>>();
                if let Some(found) = run(&base, seeds.into_iter(), &stop) {
                    stop.store(true, Ordering::Relaxed);
                    return Some(found);
                }
            }
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads.max(1))
                .map(|_| scope.spawn(work))
                .collect();
            let found = threads.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            found.fold(None, Option::or)
        })
    }
}

/// The seeds of the sequences that one home sees.
pub(crate) type Seeds = std::vec::IntoIter<u64>;

/// Runs cases in one home. When one fails: how many ran, and how the last of them failed.
fn run_cases(cases: &[Case], subject: &mut dyn Subject) -> Option<(usize, Failure)> {
    let mut named = Named::default();
    cases.iter().enumerate().find_map(|(index, case)| {
        let failure = sequence::run(case, subject, &mut named).err()?;
        Some((index + 1, failure))
    })
}

/// What fails, made small.
struct Found {
    /// The seed of the sequence that failed.
    seed: u64,
    /// The first seed of its home, and how many sequences ran there.
    replay: (u64, usize),
    /// Whether it failed a second time.
    steady: bool,
    /// What came first.
    original: Failure,
    /// What ran in one home; the last of these fails.
    cases: Vec<Case>,
    failure: Failure,
}

impl Found {
    fn shrunk<S: Subject>(
        mut cases: Vec<Case>,
        original: Failure,
        subject: impl Fn() -> S,
    ) -> Self {
        let last = cases.last_mut().expect("one of them failed");
        let seed = last.seed;
        eprintln!(
            "VX_PROPERTY_SEED={seed} fails: {}\nmaking it smaller",
            original.fault
        );
        // What comes after the failure did not happen.
        last.steps.truncate(original.step);
        let replay = (cases[0].seed, cases.len());
        let deadline = Instant::now() + PATIENCE;
        let fails = |cases: &Vec<Case>| {
            if Instant::now() > deadline {
                return None;
            }
            let (count, failure) = run_cases(cases, &mut subject())?;
            (count == cases.len() && failure.fault.is_like(&original.fault)).then_some(failure)
        };
        let again = fails(&cases);
        let steady = again.is_some();
        let (cases, failure) = match again {
            Some(failure) => shrink::shrink(cases, failure, &shrink::CASES, TRIES, fails),
            None => (cases, original.clone()),
        };
        Self {
            seed,
            replay,
            steady,
            original,
            cases,
            failure,
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "VX_PROPERTY_SEED={} fails after step {}: {}\n",
            self.seed, self.original.step, self.original.fault
        );
        let (first, count) = self.replay;
        let _ = match (self.steady, self.cases.len()) {
            (true, 1) => writeln!(text, "The smallest that fails, in an empty home:"),
            (true, _) => writeln!(
                text,
                "It fails with VX_PROPERTY_SEED={first} VX_PROPERTY_SEQUENCES={count}. The smallest \
                 sequences that fail, one after the other in one home:"
            ),
            (false, _) => writeln!(
                text,
                "It did not fail again: VX_PROPERTY_SEED={first} VX_PROPERTY_SEQUENCES={count} \
                 were these sequences:"
            ),
        };
        for case in &self.cases {
            let _ = writeln!(text, "\n{}", case.workspace.text());
            let _ = writeln!(text, "variables: {:?}", case.workspace.environment());
            for (index, step) in case.steps.iter().enumerate() {
                let _ = writeln!(text, "step {}: {:?}", index + 1, step.edit);
            }
        }
        let _ = writeln!(
            text,
            "\nIts last sequence fails after step {}: {}",
            self.failure.step, self.failure.fault
        );
        text
    }
}
