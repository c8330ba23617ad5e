//! Programs without a trace: for tests of this crate, which no orchestrator runs.

use std::io;
use std::process::{Command, Stdio};

use vx_core::readset::{Observed, ReadKind, Trace};
use vx_core::{Exit, HostProgram};

use super::{Outside, Ran};

/// Runs programs as children of this process and sees nothing of what they look at.
pub struct Plain;

impl Outside for Plain {
    fn run(&self, program: HostProgram) -> Result<Ran, String> {
        use std::os::unix::process::ExitStatusExt;
        let (name, args) = program.argv.split_first().ok_or("no program is named")?;
        #[allow(clippy::disallowed_methods, reason = "the one place that spawns")]
        let output = Command::new(name)
            .args(args)
            .current_dir(&program.cwd)
            .env_clear()
            .envs(program.env)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        let signal = output.status.signal().map(Exit::Signal);
        let code = output.status.code().map(Exit::Code);
        Ok(Ran {
            exit: code.or(signal).unwrap_or(Exit::Code(1)),
            stdout: output.stdout,
            stderr: output.stderr,
            trace: Trace {
                incomplete: Some("nothing watched the program".to_owned()),
                ..Trace::default()
            },
        })
    }

    fn observe(&self, _: &str, _: ReadKind) -> io::Result<Observed> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
