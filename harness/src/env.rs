//! An isolated environment: its own homes, toolchain and variables.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::fixture::Project;
use crate::process::{self, ProcessInfo};
use crate::reap::Reaper;
use crate::report::Report;
use crate::run::{Run, Running};
use crate::toolchain::Toolchain;
use crate::{daemon, locate};

/// How long daemons may take to leave when a test is over.
const FAREWELL: Duration = Duration::from_secs(20);

/// Variables of the tester's that say how the network is reached; cargo downloads with them.
const NETWORK: [&str; 12] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CARGO_HTTP_CAINFO",
    "CARGO_HTTP_PROXY",
    "CARGO_NET_GIT_FETCH_WITH_CLI",
];

/// Which `CARGO_HOME` an environment has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CargoHome {
    /// One that tests share, so that a package is downloaded once.
    Shared,
    /// An empty one of its own.
    Empty,
}

/// A place for one test: nothing in it is anybody else's, and it goes with the test.
pub struct Env {
    // Fields are dropped in this order: daemons are ended in `drop`, before any of them.
    reaper: Reaper,
    root: tempfile::TempDir,
    toolchain: Arc<Toolchain>,
    variables: BTreeMap<OsString, OsString>,
    projects: AtomicUsize,
    namespaces: Namespaces,
}

/// Whether the kernel lets what `vx` starts make namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Namespaces {
    Allowed,
    Refused,
}

/// Runs its arguments where the kernel refuses user namespaces, with no privilege to change
/// that: in one in which no further one may be made.
const REFUSING: &str = r#"
exec unshare --user --map-root-user /bin/sh -c '
    echo 0 >/proc/sys/user/max_user_namespaces &&
    exec setpriv --bounding-set=-all --inh-caps=-all -- "$@"
' refusing "$@"
"#;

/// A build that succeeded, and what it took.
#[must_use = "look at what was built"]
pub struct Build {
    /// The program's end.
    pub run: Run,
    /// The report it wrote.
    pub report: Report,
    /// The crates whose compiler was started meanwhile, sorted.
    pub compiles: Vec<String>,
}

impl Build {
    /// Checks which crates were compiled, each as often as it is named.
    ///
    /// # Panics
    /// When it were others.
    #[track_caller]
    pub fn assert_compiled<const N: usize>(&self, mut expected: [&str; N]) {
        expected.sort_unstable();
        assert_eq!(
            self.compiles, expected,
            "crates whose compiler was started\n{}",
            self.run
        );
    }

    /// Checks that nothing ran: no compiler by the shim, no action by the report.
    ///
    /// # Panics
    /// When something did.
    #[track_caller]
    pub fn assert_nothing(&self) {
        self.assert_compiled([]);
        let built: Vec<_> = self.report.of("built").collect();
        assert!(built.is_empty(), "actions that were built: {built:#?}");
    }
}

impl Env {
    /// An environment with a toolchain of its own and the shared `CARGO_HOME`.
    #[must_use]
    pub fn new() -> Self {
        Self::with_toolchain(Arc::new(Toolchain::new()))
    }

    /// Another environment, whose compilers are counted together with this one's.
    #[must_use]
    pub fn sibling(&self) -> Self {
        let mut other = Self::with_toolchain(Arc::clone(&self.toolchain));
        for (name, value) in &self.variables {
            other
                .variables
                .entry(name.clone())
                .or_insert_with(|| value.clone());
        }
        other
    }

    fn with_toolchain(toolchain: Arc<Toolchain>) -> Self {
        let root = tempfile::Builder::new()
            .prefix("vx-test-")
            .tempdir()
            .expect("the temporary directory can be written");
        for name in ["home", "tmp"] {
            fs::create_dir(root.path().join(name)).expect("the new directory is ours");
        }
        let reaper = Reaper::new(root.path());
        let variables = variables(root.path(), toolchain.sysroot());
        Self {
            reaper,
            root,
            toolchain,
            variables,
            projects: AtomicUsize::new(0),
            namespaces: Namespaces::Allowed,
        }
    }

    /// Has everything that `vx` starts from now on run where the kernel refuses namespaces.
    #[must_use]
    pub fn refusing_namespaces(mut self) -> Self {
        self.namespaces = Namespaces::Refused;
        self
    }

    /// Sets a variable for everything that is started from now on.
    #[must_use]
    pub fn with_setting(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .insert(name.into(), value.as_ref().to_owned());
        self
    }

    /// Removes a variable.
    #[must_use]
    pub fn without_setting(mut self, name: &str) -> Self {
        self.variables.remove(OsStr::new(name));
        self
    }

    /// Chooses the `CARGO_HOME`.
    #[must_use]
    pub fn with_cargo_home(self, choice: CargoHome) -> Self {
        let path = match choice {
            CargoHome::Shared => locate::shared_cargo_home().to_owned(),
            CargoHome::Empty => self.root.path().join("home/.cargo"),
        };
        self.with_setting("CARGO_HOME", path)
    }

    /// The directory that holds everything of this environment.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Its `VX_HOME`.
    #[must_use]
    pub fn vx_home(&self) -> PathBuf {
        self.root.path().join("vx-home")
    }

    /// Its toolchain, which counts.
    #[must_use]
    pub fn toolchain(&self) -> &Toolchain {
        &self.toolchain
    }

    /// A directory nobody has used.
    #[must_use]
    pub fn fresh_path(&self, label: &str) -> PathBuf {
        let number = self.projects.fetch_add(1, Ordering::Relaxed);
        self.root
            .path()
            .join("projects")
            .join(format!("{label}-{number}"))
    }

    /// Writes a project; see [`Project::from_text`].
    #[must_use]
    pub fn project(&self, text: &str) -> Project {
        Project::from_text(&self.fresh_path("p").join("project"), text)
    }

    /// Unpacks a project of the corpus and fetches what it depends on.
    ///
    /// # Panics
    /// When it can't be had.
    #[must_use]
    pub fn corpus(&self, name: &str) -> Project {
        let project = vx_corpus::project(name).unwrap_or_else(|error| panic!("{error}"));
        let fetcher = vx_corpus::Fetcher {
            cargo: locate::real_sysroot().join("bin/cargo"),
            cargo_home: locate::shared_cargo_home().to_owned(),
        };
        let directory = self.fresh_path("corpus").join(name);
        let parent = directory.parent().expect("a joined path has a parent");
        fs::create_dir_all(parent).expect("the environment can be written");
        fetcher
            .unpack(&project, &directory)
            .and_then(|()| fetcher.dependencies(&directory))
            .unwrap_or_else(|error| panic!("{error}"));
        Project::at(directory)
    }

    /// A copy of a project at another path.
    #[must_use]
    pub fn copy(&self, project: &Project) -> Project {
        let name = project.path().file_name().unwrap_or(OsStr::new("project"));
        project.copy_to(&self.fresh_path("copy").join(name))
    }

    /// The value of one of this environment's variables; empty where it is not set.
    #[must_use]
    pub fn setting(&self, name: &str) -> String {
        let value = self.variables.get(OsStr::new(name));
        value.map_or_else(String::new, |value| value.to_string_lossy().into_owned())
    }

    /// A command with this environment's variables and no others.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>, directory: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(&self.variables)
            .current_dir(directory);
        command
    }

    /// The path of one of the four programs.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        locate::bin_dir().join(name)
    }

    /// A command that runs `vx`.
    #[must_use]
    pub fn vx_command(&self, directory: impl AsRef<Path>) -> Command {
        match self.namespaces {
            Namespaces::Allowed => self.command(self.program("vx"), directory),
            Namespaces::Refused => {
                let mut command = self.command("/bin/sh", directory);
                command
                    .args(["-c", REFUSING, "refusing"])
                    .arg(self.program("vx"));
                command
            }
        }
    }

    /// Starts `vx` in a directory.
    pub fn start_vx(&self, directory: impl AsRef<Path>, arguments: &[&str]) -> Running {
        let mut command = self.vx_command(&directory);
        command.args(arguments);
        Running::start(command, directory.as_ref().to_owned())
    }

    /// Starts `vx` in a directory, with further variables.
    pub fn start_vx_with(
        &self,
        directory: impl AsRef<Path>,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Running {
        let mut command = self.vx_command(&directory);
        command.args(arguments).envs(variables.iter().copied());
        Running::start(command, directory.as_ref().to_owned())
    }

    /// Runs `vx` in a directory to its end.
    pub fn vx(&self, directory: impl AsRef<Path>, arguments: &[&str]) -> Run {
        self.start_vx(directory, arguments).wait()
    }

    /// Runs a command of [`Env::command`] to its end.
    pub fn run(&self, command: Command) -> Run {
        let directory = command.get_current_dir().unwrap_or(self.root()).to_owned();
        Running::start(command, directory).wait()
    }

    /// Runs the toolchain's cargo in a directory to its end.
    pub fn cargo(&self, directory: impl AsRef<Path>, arguments: &[&str]) -> Run {
        let mut command = self.command(self.toolchain.sysroot().join("bin/cargo"), directory);
        command.args(arguments);
        self.run(command)
    }

    /// Runs `vx build`, which has to succeed, and gathers what it took.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn build(&self, project: &Project) -> Build {
        self.build_with(project, &[])
    }

    /// Runs `vx build` with arguments, which has to succeed, and gathers what it took.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn build_with(&self, project: &Project, arguments: &[&str]) -> Build {
        let before = self.toolchain.compiles().len();
        let all: Vec<&str> = std::iter::once("build")
            .chain(arguments.iter().copied())
            .collect();
        let run = self.vx(project, &all).success();
        let report = run.report();
        assert!(report.success, "vx succeeded and its report did not: {run}");
        Build {
            report,
            run,
            compiles: self.compiled_since(before),
        }
    }

    /// The crates compiled after the first `before` compiler runs, sorted.
    #[must_use]
    pub fn compiled_since(&self, before: usize) -> Vec<String> {
        let compiles = self.toolchain.compiles().into_iter().skip(before);
        let mut names: Vec<String> = compiles.map(|compile| compile.crate_name).collect();
        names.sort_unstable();
        names
    }

    /// Everything that runs on this environment's behalf: daemons, guards, compilers, build
    /// scripts. Found in `/proc`, without asking vx.
    #[must_use]
    pub fn processes(&self) -> Vec<ProcessInfo> {
        let root = self.root.path().to_string_lossy().into_owned();
        let own = [std::process::id().cast_signed(), self.reaper.pid()];
        let mut found = process::find(|directory| {
            process::names(directory, &root)
                || self
                    .toolchain
                    .owns(&directory.join("root/vx/toolchain/bin/rustc"))
        });
        found.retain(|process| !own.contains(&process.pid));
        found
    }

    /// The processes of this name, such as `vx-rhea`.
    #[must_use]
    pub fn processes_named(&self, name: &str) -> Vec<ProcessInfo> {
        self.processes()
            .into_iter()
            .filter(|process| process.name == name)
            .collect()
    }

    /// Waits until `kept` holds for every process of this environment.
    ///
    /// # Panics
    /// When others live on for longer.
    #[track_caller]
    pub fn assert_only(&self, patience: Duration, kept: impl Fn(&ProcessInfo) -> bool) {
        let deadline = std::time::Instant::now() + patience;
        loop {
            let others: Vec<_> = self
                .processes()
                .into_iter()
                .filter(|process| !kept(process))
                .collect();
            let Some(first) = others.first() else { return };
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            assert!(!left.is_zero(), "still running: {others:#?}");
            // Whether it ended in time is seen in the next round.
            let _ = first.wait_gone(left);
        }
    }

    /// Waits until nothing of this environment runs any more.
    ///
    /// # Panics
    /// When something lives on.
    #[track_caller]
    pub fn assert_nothing_runs(&self) {
        self.assert_only(FAREWELL, |_| false);
    }

    /// The ends of the daemons' logs, for messages.
    #[must_use]
    pub fn logs(&self) -> String {
        daemon::logs(&self.vx_home())
    }

    fn end_daemons(&self) {
        if self.vx_home().join("aether.sock").exists() {
            let stop = self.start_vx(self.root(), &["stop"]);
            if stop.ended_within(FAREWELL) {
                let _ = stop.wait();
            }
        }
        // Whatever did not leave by itself; a process may start another meanwhile.
        for _ in 0..5 {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            for process in &left {
                process.kill();
            }
            for process in &left {
                let _ = process.wait_gone(FAREWELL);
            }
        }
    }
}

impl Default for Env {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        self.end_daemons();
    }
}

/// The variables of a new environment.
fn variables(root: &Path, sysroot: &Path) -> BTreeMap<OsString, OsString> {
    let mut variables: BTreeMap<OsString, OsString> = NETWORK
        .iter()
        .filter_map(|name| Some(((*name).into(), std::env::var_os(name)?)))
        .collect();
    let mut set = |name: &str, value: OsString| variables.insert(name.into(), value);
    set("HOME", root.join("home").into());
    set("TMPDIR", root.join("tmp").into());
    set("VX_HOME", root.join("vx-home").into());
    set("CARGO_HOME", locate::shared_cargo_home().into());
    set("LANG", "C.UTF-8".into());
    let rustup = std::env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| {
            let home = PathBuf::from(std::env::var_os("HOME")?).join(".rustup");
            home.is_dir().then_some(home)
        });
    if let Some(rustup) = rustup {
        set("RUSTUP_HOME", rustup.into());
    }
    let own = sysroot.join("bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let others = std::env::split_paths(&path).filter(|directory| {
        // Another compiler would not be counted.
        !["rustc", "cargo", "rustup"]
            .iter()
            .any(|name| directory.join(name).exists())
    });
    let path = std::env::join_paths(std::iter::once(own).chain(others))
        .expect("directories on PATH hold no colon");
    set("PATH", path);
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_builds_with_the_counted_compiler() {
        let env = Env::new();
        let project = env.project(
            r#"
            //- /Cargo.toml
            [package]
            name = "hello"
            version = "0.1.0"
            edition = "2024"
            //- /src/main.rs
            fn main() { println!("hello"); }
            "#,
        );
        let run = env.cargo(&project, &["build"]).success();
        assert_eq!(env.compiled_since(0), ["hello"], "{run}");
        assert!(project.join("target/debug/hello").is_file());
    }

    #[test]
    fn its_processes_are_found_and_ended() {
        let env = Env::new();
        let mut command = env.command("sleep", env.root());
        command.arg("1000");
        let running = Running::start(command, env.root().to_owned());
        assert!(
            env.processes()
                .iter()
                .any(|process| process.pid == running.pid())
        );
        env.processes_named("sleep")
            .iter()
            .for_each(ProcessInfo::kill);
        assert!(!running.wait().status.success());
        env.assert_nothing_runs();
    }

    /// Set for the test below when it plays the test that is killed.
    const VICTIM: &str = "VX_HARNESS_VICTIM";

    /// Before the path of the victim's environment in what it prints.
    const ROOT: &str = "environment: ";

    #[test]
    fn nothing_outlives_a_test_that_is_killed() {
        use std::io::{BufRead, BufReader};
        use std::process::Stdio;

        if std::env::var_os(VICTIM).is_some() {
            let env = Env::new();
            let mut command = env.command("sleep", env.root());
            command.arg("1000");
            let _running = Running::start(command, env.root().to_owned());
            println!("{ROOT}{}", env.root().display());
            let _ = std::io::stdin().read_line(&mut String::new());
            return;
        }
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args([
                "env::tests::nothing_outlives_a_test_that_is_killed",
                "--exact",
                "--nocapture",
            ])
            .env(VICTIM, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let root = lines
            .find_map(|line| Some(line.unwrap().split_once(ROOT)?.1.to_owned()))
            .unwrap();
        let left = || process::find(|directory| process::names(directory, &root));
        assert!(
            left().iter().any(|process| process.name == "sleep"),
            "{:#?}",
            left()
        );
        victim.kill().unwrap();
        victim.wait().unwrap();
        // What is left first is the reaper too, which goes when it is done.
        for process in left() {
            assert!(process.wait_gone(FAREWELL), "{process:?}");
        }
        assert_eq!(left(), []);
        assert!(!Path::new(&root).exists());
    }
}
