//! vx in a checkout, beside cargo.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use super::edit::Edit;
use super::render::{Files, root_file};
use super::sequence::{Built, Fault, Subject, Times};
use super::workspace::{Id, Workspace};
use crate::env::Env;
use crate::fixture::Project;
use crate::report::Report;
use crate::run::Run;

/// What cargo and vx call the crate of a build script.
const SCRIPT_CRATE: &str = "build_script_build";

/// How a build ends that can't be done.
const FAILED: i32 = 101;

/// One environment and the checkout that is at work in it.
pub(crate) struct Checkout {
    env: Env,
    project: Project,
    /// What the harness wrote; cargo and vx write more.
    files: Files,
}

impl Checkout {
    /// One whose home is empty.
    pub(crate) fn new(env: Env) -> Self {
        let project = Project::at(env.fresh_path("p"));
        Self {
            env,
            project,
            files: Files::new(),
        }
    }

    fn run(&self, mut command: Command, workspace: &Workspace) -> Run {
        command.envs(workspace.environment());
        self.env.run(command)
    }

    fn vx_build(&self, workspace: &Workspace) -> Run {
        let mut command = self.env.command(self.env.program("vx"), &self.project);
        command.arg("build");
        self.run(command, workspace)
    }

    /// What the program at a path prints.
    fn output(&self, program: &Path) -> String {
        let command = self.env.command(program, &self.project);
        self.env.run(command).success().stdout
    }
}

impl Subject for Checkout {
    fn begin(&mut self) {
        // Many sequences would fill a disk.
        let _ = fs::remove_dir_all(self.project.path());
        self.project = Project::at(self.env.fresh_path("p"));
        self.files = Files::new();
    }

    fn write(&mut self, workspace: &Workspace, times: Times) {
        let files = workspace.files();
        for path in self.files.keys().filter(|path| !files.contains_key(*path)) {
            self.project.remove(path);
        }
        for (path, content) in &files {
            match self.files.get(path) {
                Some(old) if old == content => {}
                Some(_) if times == Times::Kept => {
                    let full = self.project.join(path);
                    let time = fs::metadata(&full).and_then(|metadata| metadata.modified());
                    self.project.write(path, content);
                    set_time(&full, time.expect("the file is there"));
                }
                _ => self.project.write(path, content),
            }
        }
        self.files = files;
    }

    fn act(&mut self, edit: &Edit, workspace: &Workspace) -> Result<(), Fault> {
        let root = |id: &Id| format!("{}/{}", id.name(), root_file(workspace.package(*id)));
        match edit {
            Edit::Touch(id) => set_time(&self.project.join(&root(id)), SystemTime::now()),
            Edit::Break(id) => {
                let path = root(id);
                let content = &self.files[&path];
                self.project.write(&path, &format!("{content}broken\n"));
                let run = self.vx_build(workspace);
                self.project.write(&path, content);
                return match run.status.code() {
                    Some(FAILED) => Ok(()),
                    Some(0) => Err(Fault::Succeeded(run.to_string())),
                    _ => Err(Fault::Failed(run.to_string())),
                };
            }
            Edit::Copy => {
                let copy = self.env.fresh_path("p");
                let copy = self.project.copy_to(&copy);
                let _ = fs::remove_dir_all(self.project.path());
                self.project = copy;
            }
            Edit::RemoveOutputs => self.project.remove(".vx"),
            Edit::Stop => {
                let _ = self.env.vx(&self.project, &["stop"]).success();
            }
            Edit::Change(_) | Edit::Quietly(_) | Edit::Back(_) => {}
        }
        Ok(())
    }

    fn build(&mut self, workspace: &Workspace) -> Result<Built, Fault> {
        let before = self.env.toolchain().compiles().len();
        let run = self.vx_build(workspace);
        if !run.status.success() {
            return Err(Fault::Failed(run.to_string()));
        }
        let compiles = self.env.toolchain().compiles().into_iter().skip(before);
        let compiled = compiles.map(|compile| (compile.crate_name, compile.metadata));
        let built = Built {
            compiled: compiled.collect(),
            output: self.output(&self.project.output("debug", &Id::PROGRAM.name())),
            ..built(&run.report())
        };
        Ok(built)
    }

    fn reference(&mut self, workspace: &Workspace) -> String {
        let target = self.env.fresh_path("cargo-target");
        let cargo = self.env.toolchain().sysroot().join("bin/cargo");
        let mut command = self.env.command(cargo, &self.project);
        command.arg("build").arg("--target-dir").arg(&target);
        let _ = self.run(command, workspace).success();
        let output = self.output(&target.join("debug").join(Id::PROGRAM.name()));
        let _ = fs::remove_dir_all(&target);
        output
    }
}

/// What a report says of what ran.
fn built(report: &Report) -> Built {
    let mut built = Built::default();
    // An action that another build ran would be news too: there is no other.
    for action in report.of("built").chain(report.of("waited")) {
        built.acted.insert(action.package_name().to_owned());
        if action.kind == "compile" {
            built.reported.insert(match action.unit.as_str() {
                "build script" => SCRIPT_CRATE.to_owned(),
                _ => action.package_name().to_owned(),
            });
        }
    }
    built
}

fn set_time(path: &Path, time: SystemTime) {
    let file = File::options().write(true).open(path);
    file.and_then(|file| file.set_modified(time))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
