//! A sequence of builds and what has to hold after each.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::edit::Edit;
use super::workspace::{Form, Id, Workspace};

/// A workspace and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// Where it came from.
    pub(crate) seed: u64,
    pub(crate) workspace: Workspace,
    pub(crate) steps: Vec<Step>,
}

/// An edit, and whether cargo is asked after it too. It is always asked after the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) edit: Edit,
    pub(crate) compared: bool,
}

/// What builds: vx in a checkout, or a double of it.
pub(crate) trait Subject {
    /// Starts with an empty checkout.
    fn begin(&mut self);
    /// Makes the checkout's files those of a workspace.
    fn write(&mut self, workspace: &Workspace, times: Times);
    /// Does what an edit does besides.
    fn act(&mut self, edit: &Edit, workspace: &Workspace) -> Result<(), Fault>;
    /// Builds.
    fn build(&mut self, workspace: &Workspace) -> Result<Built, Fault>;
    /// What the program prints that cargo builds from nothing.
    fn reference(&mut self, workspace: &Workspace) -> String;
}

/// What becomes of the modification times of files that are written over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    New,
    Kept,
}

/// What a build did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Built {
    /// What the program printed.
    pub(crate) output: String,
    /// Packages of which an action ran, by the report.
    pub(crate) acted: BTreeSet<String>,
    /// Crates that were compiled, by the report.
    pub(crate) reported: BTreeSet<String>,
    /// Compilers that were started: crate and what tells its units apart.
    pub(crate) compiled: Vec<(String, String)>,
}

/// What a build did wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It failed.
    Failed(String),
    /// It did not fail where it had to.
    Succeeded(String),
    /// The harness gave up.
    Panicked(String),
    /// The program prints something else than the model says.
    Output { expected: String, found: String },
    /// Something was built that no change reaches.
    Excess {
        allowed: BTreeSet<String>,
        found: BTreeSet<String>,
    },
    /// A build without any change built something.
    Again(BTreeSet<String>),
    /// The report and the compilers that were started disagree.
    Report {
        reported: BTreeSet<String>,
        started: BTreeSet<String>,
    },
    /// A unit was compiled more than once without reason.
    Twice(String),
    /// Cargo's program prints something else than the model says.
    Model { expected: String, found: String },
}

impl Fault {
    /// Whether it is a fault of the same kind, so that what shows the one shows the other.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(run) => write!(f, "the build failed: {run}"),
            Self::Succeeded(run) => write!(f, "a broken file was built: {run}"),
            Self::Panicked(message) => write!(f, "a panic: {message}"),
            Self::Output { expected, found } => {
                write!(
                    f,
                    "the program prints\n  {found}and should print\n  {expected}"
                )
            }
            Self::Excess { allowed, found } => write!(
                f,
                "built were {found:?}, and the change reaches only {allowed:?}"
            ),
            Self::Again(found) => write!(f, "built again without a change: {found:?}"),
            Self::Report { reported, started } => write!(
                f,
                "the report has {reported:?} compiled, and compilers ran for {started:?}"
            ),
            Self::Twice(unit) => write!(f, "compiled twice in one build: {unit}"),
            Self::Model { expected, found } => write!(
                f,
                "cargo's program prints\n  {found}and the model says\n  {expected}"
            ),
        }
    }
}

/// A fault, and after which step of a case; the first build is step 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: usize,
    pub(crate) fault: Fault,
}

impl Edit {
    /// The workspace after it, given all there were, the newest last; nothing when it can't be
    /// done there.
    pub(crate) fn after(&self, states: &[Workspace]) -> Option<Workspace> {
        let now = states.last()?;
        match self {
            Self::Change(change) | Self::Quietly(change) => change.apply(now),
            Self::Back(steps) => {
                let index = states.len().checked_sub(1 + steps)?;
                (states[index] != *now).then(|| states[index].clone())
            }
            Self::Touch(id) | Self::Break(id) => now.packages.contains_key(id).then(|| now.clone()),
            Self::Copy | Self::RemoveOutputs | Self::Stop => Some(now.clone()),
        }
    }
}

/// Which packages were seen to name which variable in a home. Who named one once is given it from
/// then on, also in a workspace where the same package does not name it.
#[derive(Debug, Default)]
pub(crate) struct Named {
    tint: BTreeSet<Id>,
    shade: BTreeSet<Id>,
}

impl Named {
    fn learn(&mut self, workspace: &Workspace) {
        for (id, package) in &workspace.packages {
            if package.tint {
                self.tint.insert(*id);
            }
            let script = package.script.as_ref();
            if script.is_some_and(|script| script.form == Form::Variable) {
                self.shade.insert(*id);
            }
        }
    }

    /// The packages that are given a variable which differs.
    fn differing(&self, before: &Workspace, after: &Workspace) -> BTreeSet<Id> {
        let mut found = BTreeSet::new();
        if before.variables.tint != after.variables.tint {
            found.extend(&self.tint);
        }
        if before.variables.shade != after.variables.shade {
            found.extend(&self.shade);
        }
        found
    }
}

/// Runs a case to its end or to the first fault, in a home of which it is known who named what.
pub(crate) fn run(
    case: &Case,
    subject: &mut dyn Subject,
    named: &mut Named,
) -> Result<(), Failure> {
    let mut step = 0;
    let ran = catch_unwind(AssertUnwindSafe(|| play(case, subject, named, &mut step)));
    let fault = match ran {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(fault)) => fault,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| Some((*panic.downcast_ref::<&str>()?).to_owned()));
            Fault::Panicked(text.unwrap_or_default())
        }
    };
    Err(Failure { step, fault })
}

/// Runs a case, and says in `step` how far it is.
fn play(
    case: &Case,
    subject: &mut dyn Subject,
    named: &mut Named,
    step: &mut usize,
) -> Result<(), Fault> {
    named.learn(&case.workspace);
    let mut states = vec![case.workspace.clone()];
    subject.begin();
    subject.write(&case.workspace, Times::New);
    let everything: BTreeSet<Id> = case.workspace.packages.keys().copied().collect();
    check(subject, &case.workspace, &everything, case.steps.is_empty())?;
    for (index, one) in case.steps.iter().enumerate() {
        *step = index + 1;
        let last = index + 1 == case.steps.len();
        let Some(after) = one.edit.after(&states) else {
            continue;
        };
        let before = states.last().expect("there is a start");
        named.learn(&after);
        let affected = if states.contains(&after) {
            BTreeSet::new()
        } else {
            after.affected(before, &named.differing(before, &after))
        };
        let times = match one.edit {
            Edit::Quietly(_) => Times::Kept,
            _ => Times::New,
        };
        subject.write(&after, times);
        subject.act(&one.edit, &after)?;
        check(subject, &after, &affected, one.compared || last)?;
        states.push(after);
    }
    Ok(())
}

fn check(
    subject: &mut dyn Subject,
    workspace: &Workspace,
    affected: &BTreeSet<Id>,
    compared: bool,
) -> Result<(), Fault> {
    let expected = workspace.output();
    let built = subject.build(workspace)?;
    check_output(&built, &expected)?;
    check_counts(&built, workspace)?;
    let allowed: BTreeSet<String> = affected.iter().map(|id| id.name()).collect();
    if !built.acted.is_subset(&allowed) {
        let found = built.acted;
        return Err(Fault::Excess { allowed, found });
    }
    let again = subject.build(workspace)?;
    check_output(&again, &expected)?;
    if !again.acted.is_empty() || !again.compiled.is_empty() {
        let started = again.compiled.into_iter().map(|(name, _)| name);
        return Err(Fault::Again(
            again.acted.into_iter().chain(started).collect(),
        ));
    }
    if compared {
        let found = subject.reference(workspace);
        if found != expected {
            return Err(Fault::Model { expected, found });
        }
    }
    Ok(())
}

fn check_output(built: &Built, expected: &str) -> Result<(), Fault> {
    if built.output == expected {
        return Ok(());
    }
    Err(Fault::Output {
        expected: expected.to_owned(),
        found: built.output.clone(),
    })
}

/// Whether the report says what the compilers do.
fn check_counts(built: &Built, workspace: &Workspace) -> Result<(), Fault> {
    let started: BTreeSet<String> = built
        .compiled
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    if started != built.reported {
        return Err(Fault::Report {
            reported: built.reported.clone(),
            started,
        });
    }
    // A compile that turns out to name a variable is run again with it, and so is what had
    // started on what the first run gave early.
    let again: BTreeSet<String> = workspace
        .users(|_, package| package.tint)
        .into_iter()
        .map(Id::name)
        .collect();
    let mut seen = BTreeSet::new();
    for unit in &built.compiled {
        if !seen.insert(unit) && !again.contains(&unit.0) {
            return Err(Fault::Twice(unit.0.clone()));
        }
    }
    Ok(())
}
