//! Cases from seeds.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::edit::{Change, Edit};
use super::sequence::{Case, Step};
use super::workspace::{
    Form, Id, Kind, Look, Module, Package, Profile, Script, Shared, Variables, Workspace,
};

/// How many packages a workspace has at most.
const MAX_PACKAGES: u8 = 5;

/// Numbers of the same length, so that a file keeps its size when one takes another's place.
fn number(rng: &mut Rng) -> u32 {
    rng.u32(10..100)
}

/// The case of a seed.
pub(crate) fn case(seed: u64) -> Case {
    let mut rng = Rng::with_seed(seed);
    let workspace = workspace(&mut rng);
    let steps = steps(&mut rng, &workspace);
    Case {
        seed,
        workspace,
        steps,
    }
}

fn workspace(rng: &mut Rng) -> Workspace {
    let count = rng.u8(2..=MAX_PACKAGES);
    let kinds: Vec<Kind> = (0..count)
        .map(|index| match index {
            0 => Kind::Program,
            _ if rng.u8(..4) == 0 => Kind::Macro,
            _ => Kind::Library,
        })
        .collect();
    let mut packages: BTreeMap<Id, Package> = (0..count)
        .zip(kinds)
        .map(|(index, kind)| (Id(index), package(rng, kind)))
        .collect();
    for to in 1..count {
        // One way at least leads from the program to each package.
        let sure = rng.u8(..to);
        for from in 0..to {
            let user = packages.get_mut(&Id(from)).expect("all numbers are there");
            if from == sure || rng.u8(..3) == 0 {
                user.uses.insert(Id(to), rng.bool());
            }
            if let Some(script) = &mut user.script
                && rng.u8(..4) == 0
            {
                script.uses.insert(Id(to), rng.bool());
            }
        }
    }
    Workspace {
        packages,
        shared: Shared {
            table: rng.bool().then(|| number(rng)),
            listed: rng.bool(),
        },
        profile: Profile {
            optimised: false,
            unchecked: false,
            lines: rng.u8(..4) == 0,
        },
        variables: Variables {
            tint: rng.bool().then(|| number(rng)),
            shade: rng.bool().then(|| number(rng)),
        },
    }
}

fn package(rng: &mut Rng, kind: Kind) -> Package {
    let modules = (0..rng.u8(..3)).map(|index| {
        let module = Module {
            value: number(rng),
            nested: rng.bool(),
        };
        (index, module)
    });
    let modules = modules.collect();
    Package {
        constant: number(rng),
        modules,
        words: rng.bool().then(|| number(rng)),
        tint: rng.u8(..3) == 0,
        extra: rng.bool().then(|| rng.bool()),
        script: (rng.u8(..5) < 2).then(|| script(rng)),
        look: (kind == Kind::Macro && rng.u8(..4) != 0).then(|| look(rng)),
        ..Package::plain(kind)
    }
}

fn script(rng: &mut Rng) -> Script {
    let forms = [
        Form::Itself,
        Form::File,
        Form::Directory,
        Form::Variable,
        Form::Nothing,
    ];
    Script {
        form: forms[rng.usize(..forms.len())],
        salt: number(rng),
        input: number(rng),
        more: rng.bool(),
        writes: rng.bool(),
        look: (rng.u8(..3) == 0).then(|| look(rng)),
        uses: BTreeMap::new(),
    }
}

fn look(rng: &mut Rng) -> Look {
    let looks = [Look::Content, Look::Existence, Look::Listing];
    looks[rng.usize(..looks.len())]
}

/// Six to eight edits, each of which can be made where it stands.
fn steps(rng: &mut Rng, start: &Workspace) -> Vec<Step> {
    let count = rng.usize(6..=8);
    let compared = rng.usize(..count);
    let mut states = vec![start.clone()];
    let mut steps = Vec::with_capacity(count);
    while steps.len() < count {
        let now = states.last().expect("there is a start").clone();
        let edit = edit(rng, &now);
        let Some(after) = edit.after(&states) else {
            continue;
        };
        steps.push(Step {
            edit,
            compared: steps.len() == compared,
        });
        states.push(after);
    }
    steps
}

fn edit(rng: &mut Rng, now: &Workspace) -> Edit {
    match rng.u8(..21) {
        0 => Edit::Touch(id(rng, now)),
        1 => Edit::Copy,
        2 => Edit::RemoveOutputs,
        3 => Edit::Stop,
        4 | 5 => Edit::Back(rng.usize(1..4)),
        6 => Edit::Break(id(rng, now)),
        7 | 8 => Edit::Quietly(change(rng, now)),
        _ => Edit::Change(change(rng, now)),
    }
}

fn id(rng: &mut Rng, now: &Workspace) -> Id {
    let ids: Vec<Id> = now.packages.keys().copied().collect();
    ids[rng.usize(..ids.len())]
}

fn change(rng: &mut Rng, now: &Workspace) -> Change {
    let on = id(rng, now);
    let value = number(rng);
    let set = rng.bool().then_some(value);
    let module = rng.u8(..4);
    match rng.u8(..31) {
        0 | 1 => Change::Constant(on, value),
        2 => Change::Comment(on, value),
        3 => Change::About(on, value),
        4 => Change::Notes(on, value),
        5 => Change::Rename(on),
        6 => Change::AddModule(on, module),
        7 => Change::RemoveModule(on, module),
        8 => Change::MoveModule(on, module),
        9 => Change::ModuleValue(on, module, value),
        10 | 11 => Change::Words(on, value),
        12 | 13 => Change::Input(on, value),
        14 => Change::MoreInput(on),
        15 => Change::Salt(on, value),
        16 => Change::DefaultFeature(on),
        17 => Change::AskFeature(on, id(rng, now)),
        18 => Change::AddUse(on, id(rng, now)),
        19 => Change::RemoveUse(on, id(rng, now)),
        20 => match rng.u8(..3) {
            0 => Change::Optimised,
            1 => Change::Unchecked,
            _ => Change::Lines,
        },
        21 | 22 => Change::Tint(set),
        23 | 24 => Change::Shade(set),
        25 | 26 => Change::Table(set),
        27 => Change::AddScript(on),
        28 => Change::RemoveScript(on),
        29 => Change::AddPackage(Id(rng.u8(1..=MAX_PACKAGES))),
        _ => Change::List,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_case_again() {
        for seed in 0..50 {
            assert_eq!(case(seed), case(seed));
        }
        assert_ne!(case(1), case(2));
    }

    /// Changes, and the other edits.
    const KINDS: usize = 27 + 7;

    #[test]
    fn every_kind_of_thing_occurs() {
        let cases: Vec<Case> = (0..200).map(case).collect();
        let packages = || {
            cases
                .iter()
                .flat_map(|case| case.workspace.packages.values())
        };
        let scripts = || packages().filter_map(|package| package.script.as_ref());
        for form in [
            Form::Itself,
            Form::File,
            Form::Directory,
            Form::Variable,
            Form::Nothing,
        ] {
            assert!(scripts().any(|script| script.form == form), "{form:?}");
        }
        for look in [Look::Content, Look::Existence, Look::Listing] {
            assert!(
                packages().any(|package| package.look == Some(look)),
                "{look:?}"
            );
            assert!(
                scripts().any(|script| script.look == Some(look)),
                "{look:?}"
            );
        }
        // The names of the variants, as `Debug` writes them.
        let mut names: Vec<String> = cases
            .iter()
            .flat_map(|case| &case.steps)
            .map(|step| match &step.edit {
                Edit::Change(change) => format!("{change:?}"),
                other => format!("{other:?}"),
            })
            .map(|text| text.split('(').next().unwrap_or_default().to_owned())
            .collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), KINDS, "{names:?}");
    }
}
