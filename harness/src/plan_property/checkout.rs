//! A checkout in a home, whose plans are compared.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::call;
use super::case::{Case, Edit};
use super::files::{CHECKOUT, Entry, Files, files};
use super::knob::State;
use super::tally::Tally;
use crate::env::{CargoHome, Env};
use crate::run::Run;

/// How planning ends that cargo refuses.
const REFUSED: i32 = 101;

/// What two plans of the same workspace differ in, and after which edit; the first plan is 0.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) step: usize,
    pub(crate) fault: String,
}

/// What a plan said.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Plan(Value),
    Refused(String),
}

/// A home, and the checkout that is planned in it.
pub(crate) struct Checkout {
    env: Env,
    url: String,
    /// The checkout's parent.
    parent: PathBuf,
    /// What the harness wrote.
    files: Files,
}

impl Checkout {
    /// An empty one, in a home whose cargo has the git repository already.
    pub(crate) fn new(env: Env) -> Self {
        let env = env.with_cargo_home(CargoHome::Empty);
        let repository = env.root().join("repository");
        let url = format!("file://{}", repository.display());
        repository_at(&env, &repository);
        fetch(&env, &url);
        Self {
            parent: env.fresh_path("p"),
            env,
            url,
            files: Files::new(),
        }
    }

    /// Runs cases one after the other. When one fails: how many ran, and how the last of them
    /// failed.
    pub(crate) fn run_all(&mut self, cases: &[Case], tally: &Tally) -> Option<(usize, Failure)> {
        cases.iter().enumerate().find_map(|(index, case)| {
            let failure = self.run(case, tally).err()?;
            Some((index + 1, failure))
        })
    }

    fn run(&mut self, case: &Case, tally: &Tally) -> Result<(), Failure> {
        self.begin();
        let failed = |step| move |fault| Failure { step, fault };
        let mut states = vec![case.start.clone()];
        self.write(&case.start);
        self.compare(&case.start, tally).map_err(failed(0))?;
        let mut locks = vec![self.lock()];
        for (index, edit) in case.edits.iter().enumerate() {
            let after = edit.after(&states);
            self.write(&after);
            match edit {
                Edit::Back(steps) => {
                    self.set_lock(locks[Edit::target(*steps, locks.len())].as_deref());
                }
                Edit::Unlock => self.set_lock(None),
                Edit::Turn(..) | Edit::Again => {}
            }
            let hit = self.compare(&after, tally).map_err(failed(index + 1))?;
            if matches!(edit, Edit::Back(_)) {
                tally.undone(hit);
            }
            states.push(after);
            locks.push(self.lock());
        }
        Ok(())
    }

    fn begin(&mut self) {
        self.write_files(Files::new());
        // Many sequences would fill a disk.
        let _ = fs::remove_dir_all(&self.parent);
        self.parent = self.env.fresh_path("p");
    }

    fn lock_path(&self) -> PathBuf {
        self.parent.join(CHECKOUT).join("Cargo.lock")
    }

    fn lock(&self) -> Option<String> {
        fs::read_to_string(self.lock_path()).ok()
    }

    fn set_lock(&self, text: Option<&str>) {
        if self.lock().as_deref() == text {
            return;
        }
        let path = self.lock_path();
        match text {
            Some(text) => fs::write(&path, text).expect("the checkout is ours"),
            None => fs::remove_file(&path).expect("the checkout is ours"),
        }
    }

    fn write(&mut self, state: &State) {
        self.write_files(files(state, &self.url));
    }

    /// Makes the files these: those that do not change are not written.
    fn write_files(&mut self, new: Files) {
        let old = std::mem::take(&mut self.files);
        for (path, entry) in &old {
            // Files are written over; whatever else changes goes first, as links do before there
            // are files below their paths.
            let kept = match (entry, new.get(path)) {
                (Entry::File(_), Some(Entry::File(_))) => true,
                (entry, new) => new == Some(entry),
            };
            if !kept {
                self.remove(path);
            }
        }
        for (path, entry) in &new {
            if old.get(path) == Some(entry) {
                continue;
            }
            let full = self.place(path);
            let parent = full.parent().expect("a joined path has a parent");
            fs::create_dir_all(parent)
                .and_then(|()| match entry {
                    Entry::File(text) => fs::write(&full, text),
                    Entry::Link(target) => symlink(target, &full),
                })
                .unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        self.files = new;
    }

    /// Where a path of [`Files`] lies.
    fn place(&self, path: &str) -> PathBuf {
        match path.strip_prefix("home/") {
            Some(rest) => self.env.root().join("home/.cargo").join(rest),
            None => self.parent.join(path),
        }
    }

    /// Removes an entry, and the directories that are empty without it.
    fn remove(&self, path: &str) {
        let path = self.place(path);
        fs::remove_file(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut directory = path.parent();
        while let Some(empty) = directory.filter(|path| path.starts_with(&self.parent)) {
            if fs::remove_dir(empty).is_err() {
                return;
            }
            directory = empty.parent();
        }
    }

    /// Plans as a build does and, where that was remembered, from nothing, with the same lock file
    /// before. Says whether it was. Of those that were not, which were made from nothing, only some
    /// are made again.
    fn compare(&self, state: &State, tally: &Tally) -> Result<bool, String> {
        let before = self.lock();
        let (usual, hit) = self.plan(state, "--plan")?;
        let usual_lock = self.lock();
        if !hit && !tally.is_time_for_another() {
            tally.plan(hit, matches!(usual, Told::Refused(_)));
            return Ok(hit);
        }
        self.set_lock(before.as_deref());
        let (fresh, _) = self.plan(state, "--plan=fresh")?;
        tally.plan(hit, matches!(fresh, Told::Refused(_)));
        if usual != fresh {
            return Err(difference(&usual, &fresh, hit));
        }
        if usual_lock != self.lock() {
            return Err("the lock files after them differ".to_owned());
        }
        Ok(hit)
    }

    fn plan(&self, state: &State, how: &str) -> Result<(Told, bool), String> {
        let directory = self.parent.join(call::directory(state));
        let directory = if directory.is_dir() {
            directory
        } else {
            self.parent.join(CHECKOUT)
        };
        let mut command = self.env.vx_command(directory);
        command
            .args(["build", how])
            .args(call::arguments(state))
            .envs(call::variables(state));
        let run = self.env.run(command);
        told(run)
    }
}

/// What a run told, and whether it was remembered.
fn told(run: Run) -> Result<(Told, bool), String> {
    match run.status.code() {
        Some(0) => {}
        Some(REFUSED) => return Ok((Told::Refused(run.stderr), false)),
        _ => return Err(format!("planning failed: {run}")),
    }
    let json: Result<Value, _> = serde_json::from_str(&run.stdout);
    let json = json.map_err(|error| format!("{error}: {run}"))?;
    let hit = json["from"] == "memo";
    Ok((Told::Plan(json["plan"].clone()), hit))
}

/// Says where two answers differ first.
fn difference(usual: &Told, fresh: &Told, hit: bool) -> String {
    let from = if hit { "remembered" } else { "made" };
    match (usual, fresh) {
        (Told::Plan(usual), Told::Plan(fresh)) => {
            let mut place = String::new();
            let (usual, fresh) = first_difference(usual, fresh, &mut place);
            format!("plan{place} was {from}\n  {usual}\nand is from nothing\n  {fresh}")
        }
        (usual, fresh) => format!("{from} was\n  {usual:?}\nand from nothing is\n  {fresh:?}"),
    }
}

fn first_difference<'v>(
    one: &'v Value,
    two: &'v Value,
    place: &mut String,
) -> (&'v Value, &'v Value) {
    let next = match (one, two) {
        (Value::Object(one), Value::Object(two)) if one.keys().eq(two.keys()) => one
            .iter()
            .find_map(|(key, value)| (two[key] != *value).then(|| (key.clone(), value, &two[key]))),
        (Value::Array(one), Value::Array(two)) if one.len() == two.len() => {
            let mut pairs = one.iter().zip(two).enumerate();
            pairs.find_map(|(at, (one, two))| (one != two).then(|| (at.to_string(), one, two)))
        }
        _ => None,
    };
    let Some((key, one, two)) = next else {
        return (one, two);
    };
    place.push('.');
    place.push_str(&key);
    first_difference(one, two, place)
}

/// Makes the repository that git dependencies name: two tags and a branch.
fn repository_at(env: &Env, repository: &Path) {
    let write = |version: &str, rest: &str| {
        let text = super::manifests::plain("gitdep", version) + rest;
        fs::create_dir_all(repository.join("src"))
            .and_then(|()| fs::write(repository.join("Cargo.toml"), text))
            .and_then(|()| fs::write(repository.join("src/lib.rs"), ""))
            .expect("the environment can be written");
    };
    write("1.0.0", "");
    env.git_init(repository);
    let _ = env.git(repository, &["tag", "first"]);
    let _ = env.git(repository, &["branch", "side"]);
    write("1.1.0", "[features]\ndefault = [\"more\"]\nmore = []\n");
    let _ = env.git_commit(repository, "second");
    let _ = env.git(repository, &["tag", "second"]);
}

/// Has cargo fetch the repository, so that what it says later does not depend on who was first.
fn fetch(env: &Env, url: &str) {
    let mut text = super::manifests::plain("fetching", "0.1.0") + "[dependencies]\n";
    let kinds = [
        "",
        ", tag = \"first\"",
        ", tag = \"second\"",
        ", branch = \"side\"",
    ];
    for (index, kind) in kinds.iter().enumerate() {
        text += &format!("dep{index} = {{ package = \"gitdep\", git = \"{url}\"{kind} }}\n");
    }
    let directory = env.fresh_path("fetch");
    fs::create_dir_all(directory.join("src"))
        .and_then(|()| fs::write(directory.join("Cargo.toml"), text))
        .and_then(|()| fs::write(directory.join("src/lib.rs"), ""))
        .expect("the environment can be written");
    let _ = env.cargo(&directory, &["fetch"]).success();
}
