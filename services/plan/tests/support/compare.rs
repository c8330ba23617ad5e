//! Our invocations held against cargo's. Every allowed difference is listed here, with its
//! reason; anything else fails.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use vx_core::places;
use vx_plan::{Invocation, Mode};

use super::Planned;
use super::cargo::Ran;
use super::execute::Executed;

/// Flags that one side has and the other does not.
const ALLOWED_FLAGS: &[(&str, &str)] = &[
    (
        "--remap-path-prefix=",
        "ours: outputs must not name fixed places",
    ),
    (
        "--diagnostic-width=",
        "cargo's: of its terminal; diagnostics are rendered for any",
    ),
];

/// Options of `-C` that differ.
const ALLOWED_CODEGEN: &[(&str, &str)] = &[(
    "incremental=",
    "cargo's: ours is asked for per invocation, it is part of the key",
)];

/// Variables that differ.
const ALLOWED_VARIABLES: &[(&str, &str)] = &[
    ("NUM_JOBS", "a constant of ours: no fact of a build"),
    ("CARGO_MAKEFLAGS", "the executor's"),
    ("MAKEFLAGS", "the executor's"),
    ("MFLAGS", "the executor's"),
    ("__CARGO_DEFAULT_LIB_METADATA", "never set"),
    (
        "CARGO_PRIMARY_PACKAGE",
        "cargo's, for wrappers: what was asked for along with a crate is no fact of the crate",
    ),
];

/// Compares everything; returns a description of what differs.
pub fn differences(
    planned: &Planned,
    executed: &Executed,
    plain: &[Ran],
    verbose: &[Ran],
    target: &Path,
    verbose_target: &Path,
) -> String {
    let mut report = String::new();
    let theirs = Side::cargo(planned, plain, target);
    let ours = Side::plan(planned, executed);
    report += &theirs.against(&ours);
    report += &hashes(&theirs, &ours);
    let verbose = Side::cargo(planned, verbose, verbose_target);
    report += &environments(&verbose, &ours);
    report
}

/// One side's processes, normalised.
struct Side {
    all: Vec<Normal>,
}

#[derive(Debug, Clone)]
struct Normal {
    /// With hashes replaced.
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    /// The extra file name, and those of dependencies in the order of their arguments.
    hashes: Vec<String>,
}

impl Side {
    fn plan(planned: &Planned, executed: &Executed) -> Self {
        let units = planned.plan.units.iter().zip(&executed.invocations);
        let all = units
            .filter(|(unit, _)| unit.mode == Mode::Compile || unit.overridden.is_none())
            .map(|(_, Invocation { argv, env, .. })| normal(argv, env))
            .collect();
        Self { all }
    }

    fn cargo(planned: &Planned, ran: &[Ran], target: &Path) -> Self {
        let mut pairs = vec![
            (
                target.to_str().unwrap().to_owned(),
                places::TARGET.to_owned(),
            ),
            (
                planned
                    .workspace
                    .toolchain
                    .sysroot
                    .to_str()
                    .unwrap()
                    .to_owned(),
                places::TOOLCHAIN.to_owned(),
            ),
            (
                planned.workspace.checkout.to_str().unwrap().to_owned(),
                places::CHECKOUT.to_owned(),
            ),
        ];
        for package in planned
            .plan
            .packages
            .iter()
            .filter(|package| !package.is_local)
        {
            let host = planned.workspace.host_paths(&package.found_at).remove(0);
            pairs.push((host.to_str().unwrap().to_owned(), package.dir.clone()));
        }
        pairs.sort_by_key(|(host, _)| std::cmp::Reverse(host.len()));
        let fixed = |text: &String| {
            pairs.iter().fold(text.clone(), |text, (host, place)| {
                text.replace(host, place)
            })
        };
        let all = ran
            .iter()
            .map(|ran| {
                let argv: Vec<String> = ran.argv.iter().map(fixed).collect();
                let env = ran
                    .env
                    .iter()
                    .map(|(name, value)| (name.clone(), fixed(value)))
                    .collect();
                normal(&argv, &env)
            })
            .collect();
        Self { all }
    }

    fn against(&self, ours: &Self) -> String {
        let mut counts: BTreeMap<&Vec<String>, i32> = BTreeMap::new();
        self.all
            .iter()
            .for_each(|one| *counts.entry(&one.argv).or_default() += 1);
        ours.all
            .iter()
            .for_each(|one| *counts.entry(&one.argv).or_default() -= 1);
        let mut report = String::new();
        for (argv, count) in counts.iter().filter(|(_, count)| **count > 0) {
            report += &format!("\ncargo ({count}): {}\n", argv.join(" "));
            let near = counts
                .iter()
                .filter(|(_, count)| **count < 0)
                .filter(|(other, _)| other.get(2) == argv.get(2))
                .max_by_key(|(other, _)| other.iter().filter(|arg| argv.contains(arg)).count());
            if let Some((near, _)) = near {
                let only = |a: &[String], b: &[String]| -> Vec<String> {
                    a.iter().filter(|arg| !b.contains(arg)).cloned().collect()
                };
                report += &format!("ours:      {}\n", near.join(" "));
                report += &format!(
                    "  cargo alone: {:?}\n  ours alone:  {:?}\n",
                    only(argv, near),
                    only(near, argv)
                );
            }
        }
        let surplus: i32 = counts.values().filter(|count| **count < 0).sum();
        if !report.is_empty() || surplus < 0 {
            report += &format!("\n{} of ours have no counterpart\n", -surplus);
        }
        report
    }
}

fn normal(argv: &[String], env: &BTreeMap<String, String>) -> Normal {
    let mut kept: Vec<String> = Vec::new();
    let mut hashes = Vec::new();
    let mut args = argv.iter().peekable();
    let mut first = true;
    while let Some(arg) = args.next() {
        let mut arg = arg.clone();
        if std::mem::take(&mut first) {
            // `rustc` by name or by path; a build script by its place.
            arg = if arg.ends_with("rustc") {
                "rustc".to_owned()
            } else {
                arg
            };
        }
        if ALLOWED_FLAGS.iter().any(|(flag, _)| arg.starts_with(flag)) {
            continue;
        }
        if arg == "-C"
            && args.peek().is_some_and(|next| {
                ALLOWED_CODEGEN
                    .iter()
                    .any(|(option, _)| next.starts_with(option))
            })
        {
            args.next();
            continue;
        }
        if arg == "--out-dir" {
            // Theirs is where dependents look; ours is moved there afterwards.
            args.next();
            continue;
        }
        if arg == "--cap-lints" {
            // `-vv` changes it; `-v` is what is compared, and there both say `allow`.
            let next = args.next().unwrap();
            kept.extend([
                arg,
                if next == "warn" {
                    "allow".to_owned()
                } else {
                    next.clone()
                },
            ]);
            continue;
        }
        kept.push(without_hashes(&arg, &mut hashes));
    }
    Normal {
        argv: kept,
        env: env.clone(),
        hashes,
    }
}

/// Replaces `-<16 hex digits>` and `metadata=<16 hex digits>`.
fn without_hashes(arg: &str, hashes: &mut Vec<String>) -> String {
    let mut out = String::new();
    let bytes = arg.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        let is_hash = matches!(bytes[index], b'-' | b'=')
            && bytes.len() >= index + 17
            && bytes[index + 1..index + 17]
                .iter()
                .all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
            && !bytes.get(index + 17).is_some_and(u8::is_ascii_alphanumeric);
        if is_hash {
            if !arg.starts_with("metadata=") {
                hashes.push(arg[index + 1..index + 17].to_owned());
            }
            out.push(bytes[index] as char);
            out.push_str("HASH");
            index += 17;
        } else {
            let char = arg[index..].chars().next().unwrap();
            out.push(char);
            index += char.len_utf8();
        }
    }
    out
}

/// Where a command is the only one of its kind, its hashes say which of their units is which
/// of ours; that must be the same everywhere, so that every `--extern` names the right one.
fn hashes(theirs: &Side, ours: &Side) -> String {
    let mut report = String::new();
    let mut known: HashMap<String, String> = HashMap::new();
    for their in &theirs.all {
        let same = |side: &Side| side.all.iter().filter(|one| one.argv == their.argv).count();
        if same(theirs) != 1 || same(ours) != 1 {
            continue;
        }
        let our = ours.all.iter().find(|one| one.argv == their.argv).unwrap();
        for (their, our) in their.hashes.iter().zip(&our.hashes) {
            let first = known.entry(their.clone()).or_insert_with(|| our.clone());
            if first != our {
                report += &format!("\ncargo's {their} is {first} here and {our} there\n");
            }
        }
    }
    report
}

fn environments(theirs: &Side, ours: &Side) -> String {
    let mut report = String::new();
    let mut used = vec![false; ours.all.len()];
    for their in &theirs.all {
        let env = comparable(&their.env);
        let candidates: Vec<usize> = (0..ours.all.len())
            .filter(|index| !used[*index] && ours.all[*index].argv == their.argv)
            .collect();
        let exact = candidates
            .iter()
            .find(|index| comparable(&ours.all[**index].env) == env);
        if let Some(index) = exact {
            used[*index] = true;
            continue;
        }
        let Some(index) = candidates.first() else {
            continue;
        };
        let our = comparable(&ours.all[*index].env);
        let name = their
            .argv
            .iter()
            .take(3)
            .cloned()
            .collect::<Vec<_>>()
            .join(" ");
        for (key, value) in &env {
            if our.get(key) != Some(value) {
                report += &format!(
                    "\n{name}: {key}: cargo {value:?}, ours {:?}\n",
                    our.get(key)
                );
            }
        }
        for key in our.keys().filter(|key| !env.contains_key(*key)) {
            report += &format!("\n{name}: {key}: ours alone: {:?}\n", our[key]);
        }
    }
    report
}

fn comparable(env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    for (name, value) in env {
        if ALLOWED_VARIABLES.iter().any(|(other, _)| other == name) {
            continue;
        }
        let value = without_hashes(value, &mut Vec::new());
        let value = match name.as_str() {
            // Cargo adds what its own environment had: a proxy's directories.
            "LD_LIBRARY_PATH" => {
                let kept = value
                    .split(':')
                    .filter(|dir| dir.starts_with(places::TARGET) || dir.contains("rustlib"));
                kept.collect::<Vec<_>>().join(":")
            }
            // Its separator is not printed.
            "CARGO_ENCODED_RUSTFLAGS" => value.replace('\x1f', ""),
            // By name or by path.
            "RUSTC" | "RUSTDOC" | "CARGO" => {
                value.rsplit('/').next().unwrap_or_default().to_owned()
            }
            _ => value,
        };
        kept.insert(name.clone(), value);
    }
    kept
}
