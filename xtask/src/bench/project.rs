//! A project built by each tool in turn: rows, pairs, and what is compared with what.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::stats::Summary;
use super::tools::{Kind, Tool};
use super::{Options, store::StoreFigures};
use crate::{programs, workspace};

/// Everything that was measured.
#[derive(Serialize)]
pub(super) struct Measured {
    pub(super) project: String,
    pub(super) processors: usize,
    pub(super) rows: Vec<Row>,
    pub(super) store: Option<StoreFigures>,
}

/// One situation.
#[derive(Serialize)]
pub(super) struct Row {
    /// What is built.
    pub(super) name: &'static str,
    /// What the daemons and memos know at that time.
    pub(super) state: &'static str,
    /// What the ratios are to.
    pub(super) against: &'static str,
    /// The lower quartile of vx's ratios must not be above it.
    pub(super) limit: Option<f64>,
    /// One entry a tool.
    pub(super) tools: Vec<Timing>,
}

/// One tool in one situation.
#[derive(Serialize)]
pub(super) struct Timing {
    pub(super) tool: &'static str,
    pub(super) seconds: Vec<f64>,
    pub(super) summary: Summary,
    /// To cargo, pair by pair; none for cargo itself.
    pub(super) ratio: Option<Summary>,
}

/// What is done before each build that is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Stop,
    Edit,
}

struct Bench {
    // Dropped in this order: what runs ends before the directory it runs in goes.
    tools: Vec<Tool>,
    scratch: tempfile::TempDir,
    project: vx_corpus::Project,
    fetcher: vx_corpus::Fetcher,
    fresh: usize,
}

pub(super) fn measure(options: &Options) -> Result<Measured> {
    let project = vx_corpus::project(&options.project)?;
    let bin = programs::release()?;
    let scratch = tempfile::Builder::new().prefix("vx-bench-").tempdir()?;
    let fetcher = vx_corpus::Fetcher {
        cargo: workspace::cargo_program(),
        cargo_home: workspace::cargo_home()?,
    };
    let tools = Tool::installed(scratch.path(), &bin);
    let mut bench = Bench {
        scratch,
        project,
        fetcher,
        tools,
        fresh: 0,
    };

    let first = bench.checkout("fetched")?;
    bench.fetcher.dependencies(&first)?;
    let cold = bench.empty_store(options.cold_pairs)?;
    let homes = bench.settled()?;
    let pairs = options.pairs;
    let rows = vec![
        bench.elsewhere(pairs, Before::Nothing, &cold)?,
        bench.elsewhere(pairs, Before::Stop, &cold)?,
        bench.again(pairs, Before::Nothing, &homes)?,
        bench.again(pairs, Before::Stop, &homes)?,
        bench.again(pairs, Before::Edit, &homes)?,
    ];
    Ok(Measured {
        project: format!("{} {}", bench.project.name, bench.project.version),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        rows: std::iter::once(cold).chain(rows).collect(),
        store: None,
    })
}

impl Bench {
    /// A checkout at a path nobody has seen, its printed literal in place.
    fn checkout(&mut self, label: &str) -> Result<PathBuf> {
        self.fresh += 1;
        let path = self.scratch.path().join(format!("{label}-{}", self.fresh));
        self.fetcher.unpack(&self.project, &path)?;
        let main = main_source(&path, &self.project.bin)?;
        let source = fs::read_to_string(&main)?;
        fs::write(
            &main,
            with_literal(&source, 0).context("its main.rs has no `fn main()`")?,
        )?;
        Ok(path)
    }

    fn empty_store(&mut self, pairs: usize) -> Result<Row> {
        let mut seconds = vec![Vec::new(); self.tools.len()];
        for _ in 0..pairs {
            for (index, taken) in seconds.iter_mut().enumerate() {
                let checkout = self.checkout("cold")?;
                self.tools[index].forget()?;
                taken.push(self.tools[index].build(&checkout)?);
            }
        }
        Ok(Row {
            name: "from nothing",
            state: "no store, no memo; the build starts the daemons",
            against: "cargo, same pair",
            limit: Some(1.10),
            tools: self.timings(seconds, None),
        })
    }

    /// One checkout a tool, built.
    fn settled(&mut self) -> Result<Vec<PathBuf>> {
        let mut homes = Vec::new();
        for index in 0..self.tools.len() {
            let checkout = self.checkout(self.tools[index].kind.name())?;
            self.tools[index].build(&checkout)?;
            homes.push(checkout);
        }
        Ok(homes)
    }

    fn elsewhere(&mut self, pairs: usize, before: Before, cold: &Row) -> Result<Row> {
        let mut seconds = vec![Vec::new(); self.tools.len()];
        for _ in 0..pairs {
            for (index, taken) in seconds.iter_mut().enumerate() {
                // Cargo has no store: elsewhere is from nothing for it, which is measured above.
                if self.tools[index].kind == Kind::Cargo {
                    continue;
                }
                let checkout = self.checkout("elsewhere")?;
                if before == Before::Stop {
                    self.tools[index].stop()?;
                }
                taken.push(self.tools[index].build(&checkout)?);
                fs::remove_dir_all(&checkout)?;
            }
        }
        let cargo = cold.tools.first().map(|timing| timing.summary.median);
        Ok(Row {
            name: "fresh checkout elsewhere",
            state: match before {
                Before::Stop => "warm store and memo; daemons stopped before",
                _ => "warm store and memo; daemons running",
            },
            against: "cargo from nothing, median",
            limit: (before == Before::Nothing).then_some(0.015),
            tools: self.timings(seconds, cargo),
        })
    }

    fn again(&mut self, pairs: usize, before: Before, homes: &[PathBuf]) -> Result<Row> {
        let mut seconds = vec![Vec::new(); self.tools.len()];
        for pair in 0..pairs {
            for (index, taken) in seconds.iter_mut().enumerate() {
                match before {
                    Before::Nothing => {}
                    Before::Stop => self.tools[index].stop()?,
                    Before::Edit => {
                        let main = main_source(&homes[index], &self.project.bin)?;
                        let source = fs::read_to_string(&main)?;
                        let edited =
                            with_literal(&source, pair + 1).context("the literal is gone")?;
                        fs::write(&main, edited)?;
                    }
                }
                taken.push(self.tools[index].build(&homes[index])?);
            }
        }
        let (name, state, limit) = match before {
            Before::Nothing => (
                "nothing to do",
                "warm store and memo; daemons running",
                Some(0.5),
            ),
            Before::Stop => (
                "nothing to do",
                "warm store and memo; daemons stopped before",
                None,
            ),
            Before::Edit => (
                "one edit of a printed literal",
                "warm store and memo; daemons running",
                Some(1.3),
            ),
        };
        Ok(Row {
            name,
            state,
            against: "cargo, same pair",
            limit,
            tools: self.timings(seconds, None),
        })
    }

    /// Ratios to cargo in the same pair, or to one figure.
    fn timings(&self, seconds: Vec<Vec<f64>>, to: Option<f64>) -> Vec<Timing> {
        let cargo = seconds.first().cloned().unwrap_or_default();
        let tools = self.tools.iter().zip(seconds);
        tools
            .filter_map(|(tool, seconds)| {
                let summary = Summary::of(&seconds)?;
                let ratios: Vec<f64> = match to {
                    Some(figure) => seconds.iter().map(|own| own / figure).collect(),
                    None => seconds
                        .iter()
                        .zip(&cargo)
                        .map(|(own, cargo)| own / cargo)
                        .collect(),
                };
                let ratio = (tool.kind != Kind::Cargo)
                    .then(|| Summary::of(&ratios))
                    .flatten();
                Some(Timing {
                    tool: tool.kind.name(),
                    seconds,
                    summary,
                    ratio,
                })
            })
            .collect()
    }
}

/// The source file of a program, as cargo says it.
fn main_source(checkout: &Path, bin: &str) -> Result<PathBuf> {
    let text = workspace::read(
        workspace::program(workspace::cargo_program())
            .args([
                "metadata",
                "--no-deps",
                "--offline",
                "--format-version",
                "1",
            ])
            .current_dir(checkout),
    )?;
    let metadata: Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let targets = packages
        .iter()
        .filter_map(|package| package["targets"].as_array())
        .flatten();
    let source = targets
        .filter(|target| target["name"] == bin && target["kind"][0] == "bin")
        .find_map(|target| target["src_path"].as_str())
        .with_context(|| format!("{bin} is no program of {}", checkout.display()))?;
    Ok(PathBuf::from(source))
}

/// Marks the line that [`with_literal`] owns.
const MARK: &str = "// a literal to edit";

/// `source` with a line at the start of `main` that would print `number`.
fn with_literal(source: &str, number: usize) -> Option<String> {
    let line = format!(
        "    if std::env::args_os().len() > 9999 {{ println!(\"edit {number}\"); }} {MARK}"
    );
    if source.contains(MARK) {
        let lines = source.lines().map(|old| {
            if old.ends_with(MARK) {
                line.as_str()
            } else {
                old
            }
        });
        return Some(lines.collect::<Vec<_>>().join("\n") + "\n");
    }
    let main = source.find("fn main()")?;
    let brace = main + source[main..].find('{')?;
    Some(format!(
        "{}\n{line}{}",
        &source[..=brace],
        &source[brace + 1..]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_literal_is_put_once_and_then_edited() {
        let first = with_literal("fn main() -> X {\n    go()\n}\n", 0).unwrap();
        let second = with_literal(&first, 7).unwrap();
        assert!(first.contains("\"edit 0\"") && first.contains("go()"));
        assert!(second.contains("\"edit 7\"") && !second.contains("\"edit 0\""));
        assert_eq!(first.lines().count(), second.lines().count());
        assert!(with_literal("fn other() {}", 0).is_none());
    }
}
