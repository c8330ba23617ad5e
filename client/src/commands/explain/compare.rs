//! Two keys of one action beside each other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use vx_core::readset::{Read, ReadPlace};

use super::arguments;
use super::difference::{Change, DeclaredWhat, Difference, What};
use crate::report::{Action, Inputs, Parts, Place, Report, Shown};

/// An action that ran, in the report that tells of it.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    /// The report.
    pub(super) report: &'a Report,
    /// The action.
    pub(super) action: &'a Action,
    /// What its key was made of.
    pub(super) parts: &'a Parts,
}

impl<'a> Side<'a> {
    /// `None` for an action whose report does not hold what its key was made of.
    pub(super) fn of(report: &'a Report, action: &'a Action) -> Option<Self> {
        let parts = action.parts.as_ref()?;
        Some(Self {
            report,
            action,
            parts,
        })
    }
}

/// All differences, in the order in which they are likely to be the cause: what a person edits
/// and sets, then what follows from it.
pub(super) fn between(then: Side<'_>, now: Side<'_>) -> Vec<Difference> {
    let mut found = Vec::new();
    let (read, more) = reads(then.parts, now.parts);
    found.extend(read);
    variables(then, now, &mut found);
    let dependencies = dependencies(then, now);
    if then.parts.static_digest != now.parts.static_digest {
        match (&then.action.inputs, &now.action.inputs) {
            (Some(old), Some(new)) => {
                let before = found.len();
                statics(old, new, &dependencies, &mut found);
                let explained = found.len() > before || !dependencies.is_empty();
                if !explained {
                    found.extend(arguments::identities(&old.argv, &new.argv));
                }
                if !explained && found.len() == before {
                    found.push(Difference::Unrecorded);
                }
            }
            _ => found.push(Difference::Unrecorded),
        }
    }
    if then.parts.checkout != now.parts.checkout {
        found.push(Difference::Checkout {
            was: then.parts.checkout.clone(),
            now: now.parts.checkout.clone(),
        });
    }
    found.extend(places(&then.parts.places, &now.parts.places));
    found.extend(dependencies);
    found.extend(more);
    found
}

/// Where packages and `OUT_DIR`s really are; where that is the same, what is in them.
fn places(then: &[Place], now: &[Place]) -> Vec<Difference> {
    let paths = |places: &[Place]| -> Vec<String> {
        let paths = places.iter().map(Place::path);
        paths.map(str::to_owned).collect()
    };
    let (was_at, now_at) = (paths(then), paths(now));
    if was_at != now_at {
        return vec![Difference::Places {
            was: was_at,
            now: now_at,
        }];
    }
    let differing = then.iter().zip(now).filter(|(then, now)| {
        matches!((then, now), (Place::With(_, then), Place::With(_, now)) if then != now)
    });
    let differing = differing.map(|(then, _)| Difference::PlaceContent {
        path: then.path().to_owned(),
    });
    differing.collect()
}

/// What was found otherwise; and what was read by one of them alone.
fn reads(then: &Parts, now: &Parts) -> (Vec<Difference>, Vec<Difference>) {
    let old: BTreeMap<&Read, &Value> = then.reads.iter().map(|(read, at)| (read, at)).collect();
    let new: BTreeMap<&Read, &Value> = now.reads.iter().map(|(read, at)| (read, at)).collect();
    let mut differing: Vec<(&Read, Difference)> = Vec::new();
    let mut others = Vec::new();
    let fact = |read: &Read, change, was, now| Difference::Path {
        path: named(&read.place),
        what: What::from(read.kind),
        change,
        was,
        now,
    };
    for (read, found) in &new {
        match old.get(read) {
            Some(before) if before == found => {}
            Some(before) => {
                let change = match (is_absent(before), is_absent(found)) {
                    (true, false) => Change::Appeared,
                    (false, true) => Change::Went,
                    _ => Change::Changed,
                };
                let (was, now) = (detail(before), detail(found));
                differing.push((read, fact(read, change, was, now)));
            }
            None => others.push(fact(read, Change::New, None, None)),
        }
    }
    for read in old.keys().filter(|read| !new.contains_key(*read)) {
        others.push(fact(read, Change::Gone, None, None));
    }
    // What is read at all is said once, whatever of it counts.
    others.dedup_by(|one, other| one.words() == other.words());
    // A file whose content changed has another size too, which says nothing more.
    let whole: BTreeSet<ReadPlace> = differing
        .iter()
        .filter(|(_, one)| {
            matches!(
                one,
                Difference::Path {
                    what: What::Content | What::Tree,
                    ..
                }
            )
        })
        .map(|(read, _)| read.place.clone())
        .collect();
    differing.retain(|(read, one)| {
        let lesser = matches!(
            one,
            Difference::Path {
                what: What::Metadata | What::Existence | What::LinkTarget,
                ..
            }
        );
        !(lesser && whole.contains(&read.place))
    });
    // Files tell more than the directories they are in.
    differing.sort_by_key(|(_, one)| match one {
        Difference::Path {
            what: What::Content,
            ..
        } => 0,
        Difference::Path {
            what: What::LinkTarget | What::Metadata,
            ..
        } => 1,
        Difference::Path {
            what: What::Existence,
            ..
        } => 2,
        _ => 3,
    });
    (differing.into_iter().map(|(_, one)| one).collect(), others)
}

fn is_absent(found: &Value) -> bool {
    found.as_str() == Some("Absent")
}

/// What was found, where words say more than that it differs.
fn detail(found: &Value) -> Option<String> {
    if found.as_str() == Some("Special") {
        return Some("no regular file".to_owned());
    }
    let (kind, value) = found.as_object()?.iter().next()?;
    match kind.as_str() {
        "Kind" => value.as_str().map(str::to_owned),
        "Link" => Some(format!("to {}", value.as_str()?)),
        "File" => {
            let executable = value.get("executable").and_then(Value::as_bool)?;
            let kind = if executable { "executable, " } else { "" };
            Some(format!("{kind}{} bytes", value.get("size")?.as_u64()?))
        }
        _ => None,
    }
}

fn named(place: &ReadPlace) -> String {
    match place {
        ReadPlace::Checkout(path) if path.is_empty() => ".".to_owned(),
        ReadPlace::Checkout(path) => path.to_string(),
        ReadPlace::CargoHome(path) => format!("$CARGO_HOME/{path}"),
        ReadPlace::Toolchain(path) => format!("$SYSROOT/{path}"),
        ReadPlace::Host(path) => path.clone(),
        // As cargo would name it: what a build script left.
        ReadPlace::Given(path) => path.trim_start_matches("/vx/").to_owned(),
    }
}

/// Variables that were named, and those that every build script sees.
fn variables(then: Side<'_>, now: Side<'_>, found: &mut Vec<Difference>) {
    let value = |side: Side<'_>, name: &str| {
        let inputs = side.action.inputs.as_ref();
        inputs.and_then(|inputs| inputs.named_env.get(name).cloned())
    };
    let old: BTreeMap<&String, &Value> = then.parts.env.iter().map(|(a, b)| (a, b)).collect();
    let new: BTreeMap<&String, &Value> = now.parts.env.iter().map(|(a, b)| (a, b)).collect();
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let change = match (old.get(*name), new.get(*name)) {
            (before, after) if before == after => continue,
            (Some(Value::Null), Some(_)) => Change::Appeared,
            (Some(_), Some(Value::Null)) => Change::Went,
            (Some(_), Some(_)) => Change::Changed,
            (None, _) => Change::New,
            (_, None) => Change::Gone,
        };
        found.push(Difference::Variable {
            name: (*name).clone(),
            change,
            was: value(then, name),
            now: value(now, name),
        });
    }
    if let (Some(old), Some(new)) = (&then.action.inputs, &now.action.inputs) {
        for (name, change, was, now) in maps(&old.allowed_env, &new.allowed_env) {
            found.push(Difference::Variable {
                name,
                change,
                was,
                now,
            });
        }
    }
}

/// The entries in which two maps of variables differ.
fn maps(
    then: &BTreeMap<String, Shown>,
    now: &BTreeMap<String, Shown>,
) -> Vec<(String, Change, Option<Shown>, Option<Shown>)> {
    let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let plain = |value: Option<&Shown>| value.map(arguments::without_identity);
    names
        .into_iter()
        .filter_map(|name| {
            let (was, now) = (then.get(name), now.get(name));
            let change = match (was, now) {
                _ if plain(was) == plain(now) => return None,
                (None, _) => Change::Appeared,
                (_, None) => Change::Went,
                _ => Change::Changed,
            };
            Some((name.clone(), change, was.cloned(), now.cloned()))
        })
        .collect()
}

/// What the static part is made of.
fn statics(then: &Inputs, now: &Inputs, dependencies: &[Difference], found: &mut Vec<Difference>) {
    if then.versions != now.versions {
        found.push(Difference::Vx {
            was: then.versions.clone(),
            now: now.versions.clone(),
        });
    }
    if then.toolchain != now.toolchain || then.rustc != now.rustc {
        found.push(Difference::Toolchain {
            was: then.rustc.clone(),
            now: now.rustc.clone(),
        });
    }
    if then.base != now.base {
        found.push(Difference::Isolation {
            was: then.base.clone(),
            now: now.base.clone(),
        });
    }
    if then.processor != now.processor {
        found.push(Difference::Processor {
            was: then.processor.clone(),
            now: now.processor.clone(),
        });
    }
    if then.leaves != now.leaves {
        found.push(Difference::Leaves { now: now.leaves });
    }
    declared(then, now, found);
    // A dependency that came or went is told as one, not as an argument that names it.
    let others = dependencies.iter().any(
        |one| matches!(one, Difference::Dependency { change, .. } if *change != Change::Changed),
    );
    found.extend(arguments::between(&then.argv, &now.argv, others));
    for (name, change, was, now) in maps(&then.env, &now.env) {
        found.push(Difference::CargoVariable {
            name,
            change,
            was,
            now,
        });
    }
    if then.cwd != now.cwd {
        found.push(Difference::WorkingDirectory {
            was: then.cwd.clone(),
            now: now.cwd.clone(),
        });
    }
    let places: BTreeSet<&String> = then.packages.keys().chain(now.packages.keys()).collect();
    for place in places {
        let change = match (then.packages.get(place), now.packages.get(place)) {
            (was, now) if was == now => continue,
            (None, _) => Change::New,
            (_, None) => Change::Gone,
            _ => Change::Changed,
        };
        found.push(Difference::PackageSource {
            package: place.rsplit('/').next().unwrap_or(place).to_owned(),
            change,
        });
    }
}

fn declared(then: &Inputs, now: &Inputs, found: &mut Vec<Difference>) {
    let lists = [
        (DeclaredWhat::Env, &then.declared.env, &now.declared.env),
        (
            DeclaredWhat::Path,
            &then.declared.paths,
            &now.declared.paths,
        ),
    ];
    for (what, old, new) in lists {
        let fact = |name: &String, change| Difference::Declared {
            what,
            name: name.clone(),
            change,
        };
        found.extend(
            new.iter()
                .filter(|name| !old.contains(name))
                .map(|name| fact(name, Change::New)),
        );
        found.extend(
            old.iter()
                .filter(|name| !new.contains(name))
                .map(|name| fact(name, Change::Gone)),
        );
    }
    if then.declared.network != now.declared.network {
        found.push(Difference::Declared {
            what: DeclaredWhat::Network,
            name: "network".to_owned(),
            change: if now.declared.network {
                Change::New
            } else {
                Change::Gone
            },
        });
    }
}

/// One output of a dependency.
struct Output<'a> {
    place: &'a str,
    digest: &'a Value,
    action: Option<&'a String>,
}

/// Outputs by name, without what tells builds of one crate apart: that is another whenever
/// something about the crate is.
fn outputs<'a>(side: Side<'a>) -> BTreeMap<String, Vec<Output<'a>>> {
    let mut found: BTreeMap<String, Vec<Output<'a>>> = BTreeMap::new();
    let ids = side
        .action
        .inputs
        .as_ref()
        .map(|inputs| &inputs.dependencies);
    for (index, part) in side.parts.dependencies.iter().enumerate() {
        let action = ids.and_then(|ids| ids.get(index)?.as_ref());
        found
            .entry(arguments::plain(&part.name))
            .or_default()
            .push(Output {
                place: &part.name,
                digest: &part.digest,
                action,
            });
    }
    found
}

fn dependencies(then: Side<'_>, now: Side<'_>) -> Vec<Difference> {
    let (old, new) = (outputs(then), outputs(now));
    let mut found: Vec<Difference> = Vec::new();
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let none = Vec::new();
        let (was, is) = (
            old.get(name).unwrap_or(&none),
            new.get(name).unwrap_or(&none),
        );
        let in_list = |list: &[Output<'_>], one: &Output<'_>| {
            list.iter().any(|other| other.digest == one.digest)
        };
        let left: Vec<&Output<'_>> = was.iter().filter(|one| !in_list(is, one)).collect();
        let came: Vec<&Output<'_>> = is.iter().filter(|one| !in_list(was, one)).collect();
        for index in 0..left.len().max(came.len()) {
            let (before, after) = (left.get(index), came.get(index));
            let change = match (before, after) {
                (None, _) => Change::New,
                (_, None) => Change::Gone,
                _ => Change::Changed,
            };
            let action = after.and_then(|one| one.action).cloned();
            let was_action = before.and_then(|one| one.action).cloned();
            let of = action
                .as_ref()
                .and_then(|id| now.report.action(id))
                .or_else(|| was_action.as_ref().and_then(|id| then.report.action(id)));
            let one = Difference::Dependency {
                package: of.map_or_else(|| crate_of(name), |of| of.package.clone()),
                unit: of.and_then(|of| of.unit.clone()).unwrap_or_default(),
                output: output_of(name),
                change,
                direct: after.map_or_else(
                    || before.is_some_and(|one| is_direct(then, one, of)),
                    |one| is_direct(now, one, of),
                ),
                action,
                was_action,
            };
            if !found.contains(&one) {
                found.push(one);
            }
        }
    }
    found
}

/// Whether an action takes an output by itself: what it links comes along with what that was
/// built on.
fn is_direct(side: Side<'_>, output: &Output<'_>, of: Option<&Action>) -> bool {
    let argv = side.action.inputs.iter().flat_map(|inputs| &inputs.argv);
    let mut values = argv.filter_map(|word| match word {
        Shown::Value(text) => Some(text),
        Shown::Digest { .. } => None,
    });
    of.is_some_and(|of| of.package == side.action.package)
        || values.any(|text| {
            let value = text.split_once('=').map(|(_, value)| value);
            value == Some(output.place)
        })
}

/// What an output is called: its file, or `OUT_DIR` for what a build script left.
fn output_of(name: &str) -> String {
    if name.ends_with("/out") {
        "what it said and wrote".to_owned()
    } else {
        name.rsplit('/').next().unwrap_or(name).to_owned()
    }
}

/// The crate that a file name tells, for reports that don't.
fn crate_of(name: &str) -> String {
    let file = name.strip_suffix("/out").unwrap_or(name);
    let file = file.rsplit('/').next().unwrap_or(file);
    let stem = file.split(['.', '*']).next().unwrap_or(file);
    let stem = stem.trim_end_matches('-');
    stem.strip_prefix("lib").unwrap_or(stem).to_owned()
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
