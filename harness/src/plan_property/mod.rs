//! A property: whatever happens to a workspace between two plans, the plan that vx tells is the
//! one that it would make from nothing, and cargo refuses the one as the other.
//!
//! A workspace is a set of knobs: what its manifests, links, listings and configuration say, and
//! how `vx` is called. A seed turns some of them, and each edit turns one, or goes back. What
//! fails is made smaller as long as it fails, and printed as files and edits.

mod call;
mod case;
mod checkout;
mod files;
mod knob;
mod manifests;
mod tally;
mod text;

use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use case::Case;
use checkout::{Checkout, Failure};
use tally::Tally;
use text::describe;

use crate::env::Env;
use crate::property::{Settings, shrink};

/// How often failing cases are tried smaller. A try takes a second or two.
const TRIES: usize = 200;

/// For how long.
const PATIENCE: Duration = Duration::from_secs(300);

/// Below so many sequences, a run may by chance have nothing to remember.
const ENOUGH: u64 = 5;

/// Checks the property with so many sequences, or with those that `VX_PLAN_SEED` and
/// `VX_PLAN_SEQUENCES` say.
///
/// # Panics
/// When a sequence fails, with the smallest that was found to fail; and when no plan was ever
/// remembered, so that nothing was checked.
#[track_caller]
pub fn check(sequences: u64) {
    let settings = Settings::of_variables("VX_PLAN", sequences);
    let tally = Tally::default();
    let found = settings.first(Env::new, |base, seeds, stop| {
        let cases: Vec<Case> = seeds.map(Case::of).collect();
        let (count, failure) = Checkout::new(base.sibling()).run_all(&cases, &tally)?;
        stop.store(true, Ordering::Relaxed);
        Some(smaller(base, cases[..count].to_vec(), failure))
    });
    eprintln!("{tally}");
    if let Some(found) = found {
        panic!("{found}");
    }
    let (hits, undone) = tally.hits();
    assert!(
        settings.sequences < ENOUGH || (hits > 0 && undone > 0),
        "plans are not remembered, so nothing was checked: {tally}"
    );
}

/// Makes cases smaller, of which the last fails, and gives the text of what is left.
fn smaller(base: &Env, mut cases: Vec<Case>, original: Failure) -> String {
    let last = cases.last_mut().expect("one of them failed");
    let (seed, fault) = (last.seed, &original.fault);
    let mut text = format!(
        "VX_PLAN_SEED={seed} fails after edit {}: {fault}\n",
        original.step
    );
    eprintln!("{text}making it smaller");
    // What comes after the failure did not happen.
    last.edits.truncate(original.step);
    let _ = writeln!(
        text,
        "It ran as VX_PLAN_SEED={} VX_PLAN_SEQUENCES={}.",
        cases[0].seed,
        cases.len()
    );
    let deadline = Instant::now() + PATIENCE;
    let fails = |cases: &Vec<Case>| {
        if Instant::now() > deadline {
            return None;
        }
        let mut checkout = Checkout::new(base.sibling());
        let (count, failure) = checkout.run_all(cases, &Tally::default())?;
        (count == cases.len()).then_some(failure)
    };
    let (cases, failure) = match fails(&cases) {
        Some(failure) => shrink::shrink(cases, failure, &case::SMALLER, TRIES, fails),
        None => {
            text += "It did not fail again.\n";
            (cases, original)
        }
    };
    for case in &cases {
        text += "\n";
        text += &describe(case);
    }
    let _ = writeln!(
        text,
        "\nfails after edit {}: {}",
        failure.step, failure.fault
    );
    text
}
