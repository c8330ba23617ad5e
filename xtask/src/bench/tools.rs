//! The builders that are compared, each with its state in a directory of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::demo::Vx;
use crate::workspace;

/// A builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Cargo alone; what the others are compared with.
    Cargo,
    /// vx.
    Vx,
    /// Cargo with sccache as its compiler wrapper.
    Sccache,
    /// Cargo with kache as its compiler wrapper.
    Kache,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Vx => "vx",
            Self::Sccache => "sccache",
            Self::Kache => "kache",
        }
    }
}

/// A builder and where it keeps what it knows.
pub(super) struct Tool {
    pub(super) kind: Kind,
    base: PathBuf,
    state: PathBuf,
    forgotten: usize,
    bin: PathBuf,
}

impl Tool {
    /// Those that are there: cargo and vx always.
    pub(super) fn installed(scratch: &Path, bin: &Path) -> Vec<Self> {
        let there = |name: &str| {
            Command::new(name)
                .arg("--version")
                .output()
                .is_ok_and(|output| output.status.success())
        };
        let mut kinds = vec![Kind::Cargo, Kind::Vx];
        kinds.extend(
            [Kind::Sccache, Kind::Kache]
                .into_iter()
                .filter(|kind| there(kind.name())),
        );
        kinds
            .into_iter()
            .map(|kind| {
                let base = scratch.join(kind.name());
                Self {
                    kind,
                    state: base.join("0"),
                    base,
                    forgotten: 0,
                    bin: bin.to_owned(),
                }
            })
            .collect()
    }

    fn vx(&self) -> Vx {
        Vx {
            bin: self.bin.clone(),
            home: self.state.clone(),
        }
    }

    fn cargo(&self, checkout: &Path) -> Command {
        let mut command = workspace::program(workspace::cargo_program());
        command
            .args(["build", "--locked", "--offline", "--quiet"])
            .current_dir(checkout)
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_TARGET_DIR", checkout.join("target"));
        match self.kind {
            Kind::Cargo | Kind::Vx => {}
            Kind::Sccache => {
                command
                    .env("RUSTC_WRAPPER", "sccache")
                    .env("SCCACHE_DIR", self.state.join("cache"))
                    .env("SCCACHE_SERVER_UDS", self.state.join("server.sock"));
            }
            Kind::Kache => {
                command
                    .env("RUSTC_WRAPPER", "kache")
                    .env("KACHE_CACHE_DIR", self.state.join("cache"))
                    .env("KACHE_CONFIG", self.state.join("config.toml"));
            }
        }
        command
    }

    /// Builds the checkout and gives the seconds from the process's start to its end.
    pub(super) fn build(&self, checkout: &Path) -> Result<f64> {
        fs::create_dir_all(&self.state)?;
        let mut command = match self.kind {
            Kind::Vx => {
                let mut command = self
                    .vx()
                    .command(checkout, &["build", "--locked", "--offline", "--quiet"]);
                command.env("CARGO_INCREMENTAL", "0");
                command
            }
            _ => self.cargo(checkout),
        };
        // Nobody is to wait for what another one wrote before.
        workspace::run(&mut workspace::program("sync"))?;
        let start = Instant::now();
        workspace::run(&mut command)
            .with_context(|| format!("{} could not build", self.kind.name()))?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Ends whatever runs in the background.
    pub(super) fn stop(&self) -> Result<()> {
        match self.kind {
            Kind::Vx if self.state.exists() => {
                workspace::read(&mut self.vx().command(Path::new("/"), &["stop"])).map(drop)
            }
            Kind::Sccache if self.state.exists() => {
                // It fails when no server runs, which is what is wanted.
                let _ = workspace::program("sccache")
                    .arg("--stop-server")
                    .env("SCCACHE_SERVER_UDS", self.state.join("server.sock"))
                    .output();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Forgets everything, and removes nothing: where much was removed a short time ago, ext4
    /// without a journal takes several times as long to make files, which would be the bench's doing.
    pub(super) fn forget(&mut self) -> Result<()> {
        self.stop()?;
        self.forgotten += 1;
        self.state = self.base.join(self.forgotten.to_string());
        Ok(())
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // Nothing of a measurement outlives it, also when it failed.
        let _ = self.stop();
    }
}
