//! A double of vx that is wrong on purpose: what the property finds in it, and how small.

use std::collections::{BTreeMap, BTreeSet};

use super::edit::{Change, Edit};
use super::sequence::{Built, Fault, Subject, Times};
use super::workspace::{Id, Kind, Workspace};
use super::{Found, Settings};

/// Takes what a build does not look at, wrongly, out of a workspace.
type Blind = fn(&mut Workspace);

/// Builds by the model, with a fault.
struct Double {
    blind: Blind,
    /// Compiles a package that no change reaches, or one that is built already.
    wasteful: bool,
    store: BTreeMap<String, String>,
    before: Option<Workspace>,
}

impl Double {
    fn new(blind: Blind) -> Self {
        Self {
            blind,
            wasteful: false,
            store: BTreeMap::new(),
            before: None,
        }
    }
}

impl Subject for Double {
    fn begin(&mut self) {
        self.before = None;
    }

    fn write(&mut self, _: &Workspace, _: Times) {}

    fn act(&mut self, _: &Edit, _: &Workspace) -> Result<(), Fault> {
        Ok(())
    }

    fn build(&mut self, workspace: &Workspace) -> Result<Built, Fault> {
        let mut seen = workspace.clone();
        (self.blind)(&mut seen);
        let key = format!("{seen:?}");
        let hit = self.store.contains_key(&key);
        let output = self.store.entry(key).or_insert_with(|| workspace.output());
        let affected = match &self.before {
            _ if hit => BTreeSet::new(),
            None => workspace.packages.keys().copied().collect(),
            Some(before) => workspace.affected(before, &BTreeSet::new()),
        };
        let mut names: BTreeSet<String> = affected.into_iter().map(Id::name).collect();
        if self.wasteful && self.before.is_some() {
            names.insert(Id::PROGRAM.name());
        }
        self.before = Some(workspace.clone());
        Ok(Built {
            output: output.clone(),
            compiled: names
                .iter()
                .map(|name| (name.clone(), name.clone()))
                .collect(),
            reported: names.clone(),
            acted: names,
        })
    }

    fn reference(&mut self, workspace: &Workspace) -> String {
        workspace.output()
    }
}

fn search(sequences: u64, subject: impl Fn() -> Double + Sync) -> Option<Found> {
    let settings = Settings {
        seed: 0,
        sequences,
        threads: 1,
    };
    settings.search(|| (), |()| subject())
}

fn blind_to_words(workspace: &mut Workspace) {
    for package in workspace.packages.values_mut() {
        package.words = package.words.map(|_| 0);
    }
}

#[test]
fn what_is_right_passes() {
    assert!(search(500, || Double::new(|_| {})).is_none());
}

#[test]
fn a_file_that_is_overlooked_is_found_and_made_small() {
    let found = search(100, || Double::new(blind_to_words)).expect("it is wrong");
    assert!(
        matches!(found.failure.fault, Fault::Output { .. }),
        "{}",
        found.text()
    );
    let [case] = found.cases.as_slice() else {
        panic!("one case is enough: {}", found.text());
    };
    let [step] = case.steps.as_slice() else {
        panic!("one edit is enough: {}", found.text());
    };
    assert!(
        matches!(step.edit, Edit::Change(Change::Words(..))),
        "{}",
        found.text()
    );
    // What is left is the package with the file and what leads to it.
    for package in case.workspace.packages.values() {
        assert!(package.script.is_none(), "{}", found.text());
        assert!(
            package.modules.is_empty() && !package.tint,
            "{}",
            found.text()
        );
    }
    let words = case
        .workspace
        .packages
        .values()
        .filter(|package| package.words.is_some());
    assert_eq!(words.count(), 1, "{}", found.text());
    assert!(case.workspace.packages.len() <= 2, "{}", found.text());
    assert!(found.text().contains("words.txt"), "{}", found.text());
}

#[test]
fn what_one_sequence_leaves_for_another_is_found() {
    // The seed alone passes: its workspace is only wrong after another that looks the same.
    fn blind_to_all(workspace: &mut Workspace) {
        workspace
            .packages
            .retain(|_, package| package.kind == Kind::Program);
    }
    let found = search(500, || Double::new(blind_to_all)).expect("it is wrong");
    assert!(
        matches!(found.failure.fault, Fault::Output { .. }),
        "{}",
        found.text()
    );
}

#[test]
fn too_much_work_is_found_and_made_small() {
    let found = search(10, || Double {
        wasteful: true,
        ..Double::new(|_| {})
    });
    let found = found.expect("it is wrong");
    assert!(
        matches!(found.failure.fault, Fault::Again(_)),
        "{}",
        found.text()
    );
    let case = found.cases.last().expect("one fails");
    assert!(case.steps.is_empty(), "{}", found.text());
    assert_eq!(case.workspace.packages.len(), 1, "{}", found.text());
}

#[test]
fn a_model_that_is_not_cargos_is_found() {
    struct Other(Double);
    impl Subject for Other {
        fn begin(&mut self) {
            self.0.begin();
        }
        fn write(&mut self, workspace: &Workspace, times: Times) {
            self.0.write(workspace, times);
        }
        fn act(&mut self, edit: &Edit, workspace: &Workspace) -> Result<(), Fault> {
            self.0.act(edit, workspace)
        }
        fn build(&mut self, workspace: &Workspace) -> Result<Built, Fault> {
            self.0.build(workspace)
        }
        fn reference(&mut self, workspace: &Workspace) -> String {
            workspace.output().replace("tint=Some", "tint=Other")
        }
    }
    let settings = Settings {
        seed: 0,
        sequences: 50,
        threads: 2,
    };
    let found = settings.search(|| (), |()| Other(Double::new(|_| {})));
    let found = found.expect("it is wrong");
    assert!(
        matches!(found.failure.fault, Fault::Model { .. }),
        "{}",
        found.text()
    );
    let case = found.cases.last().expect("one fails");
    assert!(case.steps.len() <= 1, "{}", found.text());
}
