//! A project that changes step by step, where each step is a case with a name.
//!
//! A step says what changes and exactly what has to be compiled again for it, as the
//! toolchain's shim counts. Where something was compiled, the program has to print what cargo's
//! build of the same sources, from an empty target directory, prints; where nothing was, it has
//! to print what such a program printed before. Failures name the case.

use std::fs;
use std::path::{Path, PathBuf};

use crate::compare::program_output;
use crate::env::{Build, Env};
use crate::fixture::Project;
use crate::run::Run;

/// The program that the projects of cases leave.
const PROGRAM: &str = "app";

/// A project and what its program has printed so far.
pub struct Cases<'e> {
    env: &'e Env,
    project: Project,
    /// What programs built by cargo printed, in any step.
    known: Vec<String>,
}

/// What a step asks `vx` and cargo to do.
#[must_use = "say what the step builds"]
pub struct Step<'c, 'e> {
    cases: &'c mut Cases<'e>,
    name: String,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    scripts: Vec<String>,
    oracle: Oracle,
}

/// What a program's words are held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Oracle {
    /// Cargo's build of the same sources under the same settings.
    Cargo,
    /// Nothing but the test itself: what is right differs from what cargo does.
    Test,
}

/// A step that did what it should, so far.
pub struct Done {
    name: String,
    /// The build.
    pub build: Build,
    /// The program's output, its end included.
    said: String,
}

impl Env {
    /// Writes a project, as [`Env::project`] does, whose steps are cases. It has to have a
    /// program named `app`.
    #[must_use]
    pub fn cases(&self, text: &str) -> Cases<'_> {
        Cases::of(self, self.project(text))
    }
}

impl<'e> Cases<'e> {
    /// Cases on a project that is there.
    #[must_use]
    pub fn of(env: &'e Env, project: Project) -> Self {
        Self {
            env,
            project,
            known: Vec::new(),
        }
    }

    /// The same sources in another directory, which knows what was printed so far.
    #[must_use]
    pub fn at(&self, project: Project) -> Self {
        Self {
            env: self.env,
            project,
            known: self.known.clone(),
        }
    }

    /// The project.
    #[must_use]
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// A case without a change.
    pub fn build(&mut self, name: &str) -> Step<'_, 'e> {
        self.change(name, |_| {})
    }

    /// A case: changes the project.
    pub fn change(&mut self, name: &str, change: impl FnOnce(&Project)) -> Step<'_, 'e> {
        change(&self.project);
        Step {
            cases: self,
            name: name.to_owned(),
            arguments: Vec::new(),
            variables: Vec::new(),
            scripts: Vec::new(),
            oracle: Oracle::Cargo,
        }
    }
}

impl Step<'_, '_> {
    /// Arguments after `build`, for vx and for cargo.
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// A variable of the caller's, for vx and for cargo.
    pub fn given(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.variables
            .push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The packages whose build scripts have to run, each as often as it is named; without this
    /// none may.
    pub fn runs_scripts_of<const N: usize>(mut self, packages: [&str; N]) -> Self {
        self.scripts = packages.map(str::to_owned).to_vec();
        self.scripts.sort_unstable();
        self
    }

    /// Does not hold the program against cargo's.
    pub fn unlike_cargo(mut self) -> Self {
        self.oracle = Oracle::Test;
        self
    }

    /// Builds, which has to succeed, to compile exactly these crates, each as often as it is
    /// named, and to leave a program that prints the right thing.
    ///
    /// # Panics
    /// When it is otherwise.
    #[track_caller]
    pub fn builds<const N: usize>(self, mut crates: [&str; N]) -> Done {
        crates.sort_unstable();
        let before = self.cases.env.toolchain().compiles().len();
        let run = self.run_vx();
        assert!(
            run.status.success(),
            "case `{}`: the build failed\n{run}",
            self.name
        );
        let build = Build {
            report: run.report(),
            run,
            compiles: self.cases.env.compiled_since(before),
        };
        self.check_compiles(&build, &crates);
        self.check_scripts(&build);
        if N > 0 {
            self.check_explain();
        }
        let project = &self.cases.project;
        let program = project.output(self.profile(), PROGRAM);
        let said = program_output(&program, project.path(), &[]);
        match (self.oracle, N) {
            (Oracle::Test, _) => {}
            (Oracle::Cargo, 0) => self.assert_known(&said),
            (Oracle::Cargo, _) => {
                let cargos = self.cargos_words();
                assert_eq!(
                    said, cargos,
                    "case `{}`: what the program prints, vx's beside cargo's",
                    self.name
                );
                self.cases.known.push(cargos);
            }
        }
        Done {
            name: self.name,
            build,
            said,
        }
    }

    /// Builds, which has to fail as a build and not as vx.
    ///
    /// # Panics
    /// When it is otherwise.
    #[track_caller]
    pub fn fails(self) {
        let run = self.run_vx();
        assert_eq!(
            run.status.code(),
            Some(101),
            "case `{}`: the build should have failed\n{run}",
            self.name
        );
    }

    fn run_vx(&self) -> Run {
        let env = self.cases.env;
        let mut command = env.vx_command(&self.cases.project);
        command
            .arg("build")
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        env.run(command)
    }

    #[track_caller]
    fn check_compiles(&self, build: &Build, crates: &[&str]) {
        assert_eq!(
            build.compiles,
            crates,
            "case `{}`: crates whose compiler was started\nactions that were built: {:#?}\n{}",
            self.name,
            build.report.units("built"),
            build.run
        );
        let compiled = build
            .report
            .of("built")
            .filter(|action| action.kind == "compile")
            .count();
        assert_eq!(
            compiled == 0,
            crates.is_empty(),
            "case `{}`: the report and the shim disagree: {:#?}",
            self.name,
            build.report.units("built")
        );
    }

    #[track_caller]
    fn check_scripts(&self, build: &Build) {
        let mut ran: Vec<&str> = build
            .report
            .of("built")
            .filter(|action| action.kind == "run-build-script")
            .map(crate::Action::package_name)
            .collect();
        ran.sort_unstable();
        assert_eq!(
            ran, self.scripts,
            "case `{}`: packages whose build script ran\n{}",
            self.name, build.run
        );
    }

    /// Whatever a report says, `vx explain` can read.
    #[track_caller]
    fn check_explain(&self) {
        let project = &self.cases.project;
        if project.join(".vx/runs/latest").exists() {
            let run = self.cases.env.vx(project, &["explain"]);
            assert!(run.status.success(), "case `{}`: {run}", self.name);
        }
    }

    #[track_caller]
    fn assert_known(&self, said: &str) {
        assert!(
            self.cases.known.iter().any(|known| known == said),
            "case `{}`: nothing was compiled, and the program prints what none of cargo's \
             printed before: {said}",
            self.name
        );
    }

    fn cargos_words(&self) -> String {
        let env = self.cases.env;
        let target = env.fresh_path("cargo-target");
        let mut command = env.command(
            env.toolchain().sysroot().join("bin/cargo"),
            &self.cases.project,
        );
        command
            .args(["build", "--target-dir"])
            .arg(&target)
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        let run = env.run(command);
        assert!(
            run.status.success(),
            "case `{}`: cargo's build failed\n{run}",
            self.name
        );
        let program = self.cargos_profile(&target).join(PROGRAM);
        let said = program_output(&program, self.cases.project.path(), &[]);
        fs::remove_dir_all(&target).expect("the environment is ours");
        said
    }

    /// The value of an option among the arguments.
    fn option(&self, name: &str) -> Option<&str> {
        let at = self
            .arguments
            .iter()
            .position(|argument| argument == name)?;
        self.arguments.get(at + 1).map(String::as_str)
    }

    fn profile(&self) -> &str {
        if self
            .arguments
            .iter()
            .any(|argument| argument == "--release")
        {
            return "release";
        }
        self.option("--profile").unwrap_or("debug")
    }

    fn cargos_profile(&self, target: &Path) -> PathBuf {
        let base = self
            .option("--target")
            .map_or_else(|| target.to_owned(), |triple| target.join(triple));
        base.join(self.profile())
    }
}

impl Done {
    /// What the program writes to its standard output, without the last line's end.
    #[must_use]
    pub fn stdout(&self) -> &str {
        self.said
            .split_once("--- stdout\n")
            .and_then(|(_, rest)| rest.split_once("--- stderr\n"))
            .map_or("", |(stdout, _)| stdout)
            .trim_end_matches('\n')
    }

    /// Checks what the program writes to its standard output, without the last line's end.
    ///
    /// # Panics
    /// When it is something else.
    #[track_caller]
    pub fn prints(self, words: &str) -> Self {
        assert_eq!(
            self.stdout(),
            words,
            "case `{}`: what the program prints: {}",
            self.name,
            self.said
        );
        self
    }
}
