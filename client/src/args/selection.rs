//! From flags to what the orchestrator is asked, with the checks that cargo makes after
//! parsing and in cargo's words.

use vx_core::orchestrator::Selection;

use super::{BuildArgs, CommonArgs, ManifestArgs, ProgramArgs, RunArgs};
use crate::error::{CommandError, CommandResult};
use crate::request::Schedule;

/// What to build and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Which units.
    pub(crate) selection: Selection,
    /// How they are run.
    pub(crate) schedule: Schedule,
}

impl BuildArgs {
    /// What `vx build` asks.
    pub(crate) fn ask(&self) -> CommandResult<Ask> {
        if !self.exclude.is_empty() && !self.workspace {
            return Err(CommandError::failure(
                "--exclude can only be used together with --workspace",
            ));
        }
        let mut ask = common(&self.common, &self.programs)?;
        ask.selection.packages.clone_from(&self.package);
        ask.selection.workspace = self.workspace;
        ask.selection.exclude.clone_from(&self.exclude);
        ask.selection.lib = self.lib;
        ask.selection.bins = self.bins;
        ask.selection.examples = self.examples;
        Ok(ask)
    }
}

impl RunArgs {
    /// What `vx run` asks to be built.
    pub(crate) fn ask(&self) -> CommandResult<Ask> {
        let mut ask = common(&self.common, &self.programs)?;
        ask.selection.packages.extend(self.package.clone());
        Ok(ask)
    }
}

impl ManifestArgs {
    /// A selection that says only which workspace.
    pub(crate) fn selection(&self) -> Selection {
        Selection {
            manifest_path: self.manifest_path.clone(),
            ..Selection::default()
        }
    }
}

fn common(common: &CommonArgs, programs: &ProgramArgs) -> CommandResult<Ask> {
    let selection = Selection {
        bin: programs.bin.clone(),
        example: programs.example.clone(),
        features: common
            .features
            .iter()
            .flat_map(|list| split(list))
            .collect(),
        all_features: common.all_features,
        no_default_features: common.no_default_features,
        profile: common.profile.clone(),
        release: common.release,
        target: common.target.clone(),
        locked: common.locked,
        offline: common.offline,
        frozen: common.frozen,
        ..common.manifest.selection()
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let schedule = Schedule {
        jobs: match &common.jobs {
            Some(text) => jobs(text, processors)?,
            None => None,
        },
        keep_going: common.keep_going,
        verify: common.verify,
    };
    Ok(Ask {
        selection,
        schedule,
    })
}

fn split(features: &str) -> impl Iterator<Item = String> + '_ {
    features
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter(|feature| !feature.is_empty())
        .map(ToOwned::to_owned)
}

/// `-j` as cargo reads it: a number, `default`, or a negative number that counts down from the
/// number of processors.
fn jobs(text: &str, processors: usize) -> CommandResult<Option<u32>> {
    if text == "default" {
        return Ok(None);
    }
    let number: i32 = text.parse().map_err(|_| {
        CommandError::failure(format!(
            "could not parse `{text}`. Number of parallel jobs should be `default` or a number."
        ))
    })?;
    if number == 0 {
        return Err(CommandError::failure("jobs may not be 0"));
    }
    if let Ok(positive) = u32::try_from(number) {
        return Ok(Some(positive));
    }
    let processors = i64::try_from(processors).unwrap_or(i64::MAX);
    let left = (processors + i64::from(number)).max(1);
    Ok(Some(u32::try_from(left).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn ask(line: &str) -> CommandResult<Ask> {
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Build(build) => build.ask(),
            Command::Run(run) => run.ask(),
            other => panic!("{other:?}"),
        }
    }

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn nothing_selects_nothing() {
        assert_eq!(ask("vx build").unwrap(), Ask::default());
        assert_eq!(ask("vx run").unwrap(), Ask::default());
    }

    #[test]
    fn every_flag_arrives() {
        let asked = ask(
            "vx build --manifest-path a/Cargo.toml -p x --package y --workspace \
             --exclude z --lib --bins --bin b --examples --example e -F one,two \
             --features three --all-features --no-default-features --profile fast \
             --target t -j 3 --locked --offline --frozen --keep-going",
        );
        let expected = Selection {
            manifest_path: Some("a/Cargo.toml".to_owned()),
            packages: texts(&["x", "y"]),
            workspace: true,
            exclude: texts(&["z"]),
            lib: true,
            bins: true,
            bin: texts(&["b"]),
            examples: true,
            example: texts(&["e"]),
            features: texts(&["one", "two", "three"]),
            all_features: true,
            no_default_features: true,
            profile: Some("fast".to_owned()),
            release: false,
            target: texts(&["t"]),
            locked: true,
            offline: true,
            frozen: true,
        };
        let asked = asked.unwrap();
        assert_eq!(asked.selection, expected);
        let schedule = Schedule {
            jobs: Some(3),
            keep_going: true,
            verify: false,
        };
        assert_eq!(asked.schedule, schedule);
        assert!(ask("vx build -r").unwrap().selection.release);
        assert!(ask("vx build --all").unwrap().selection.workspace);
        assert_eq!(ask("vx run -p x").unwrap().selection.packages, ["x"]);
    }

    #[test]
    fn features_are_split_as_cargo_splits_them() {
        let found: Vec<_> = split(" a,b  c/d,,e").collect();
        assert_eq!(found, ["a", "b", "c/d", "e"]);
    }

    #[test]
    fn jobs_are_read_as_cargo_reads_them() {
        assert_eq!(jobs("default", 8), Ok(None));
        assert_eq!(jobs("5", 8), Ok(Some(5)));
        assert_eq!(jobs("-2", 8), Ok(Some(6)));
        assert_eq!(jobs("-20", 8), Ok(Some(1)));
        assert_eq!(jobs("0", 8).unwrap_err().what, "jobs may not be 0");
        assert!(jobs("many", 8).is_err());
        assert_eq!(ask("vx build -j -999999").unwrap().schedule.jobs, Some(1));
    }

    #[test]
    fn exclude_needs_the_workspace() {
        assert!(ask("vx build --exclude x").is_err());
    }
}
