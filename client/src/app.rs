//! From arguments to an exit code.

use std::ffi::OsString;
use std::io::Write;
use std::time::Instant;

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::{Cli, Command};
use crate::commands::{self, Context};
use crate::connect::Connector;
use crate::error::{CommandError, CommandResult};
use crate::exit_code::ExitCode;
use crate::home::Home;
use crate::output::{Look, Shell};
use crate::request::Caller;
use crate::signals::Signals;

/// Does what the arguments say.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let started = Instant::now();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return not_parsed(&error),
    };
    let (look, fault) = match Look::of_process(&cli.terminal) {
        Ok(look) => (look, None),
        Err(error) => (Look::default(), Some(error)),
    };
    let mut shell = Shell::new(Box::new(std::io::stderr()), look);
    let result = match fault {
        Some(error) => Err(error),
        None => execute(cli.command, &mut shell, started),
    };
    match result {
        Ok(()) => ExitCode::Success,
        Err(error) => {
            shell.command_error(&error);
            error.code
        }
    }
}

fn execute(command: Command, shell: &mut Shell, started: Instant) -> CommandResult {
    let no_runtime = |error: std::io::Error| {
        CommandError::engine("vx can't start")
            .because(error)
            .help("the limits on open files or processes may be too low")
    };
    // First of all, while there is one thread.
    let caller = Caller::of_process()?;
    let home = Home::of_process()?;
    let mut signals = Signals::watch().map_err(no_runtime)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(no_runtime)?;
    let result = runtime.block_on(async {
        let mut first_signal = signals.clone();
        let context = Context {
            shell: &mut *shell,
            caller,
            aether: Connector::new(home)?,
            signals: &mut signals,
            started,
        };
        tokio::select! {
            biased;
            // Dropping the command drops its calls, and with them what they asked for.
            code = first_signal.first() => Err(CommandError::silent(code)),
            result = dispatch(command, context) => result,
        }
    });
    shell.clear_progress();
    // Not waited for: a thread may be blocked on a lock that another process holds.
    runtime.shutdown_background();
    result
}

async fn dispatch(command: Command, context: Context<'_>) -> CommandResult {
    match command {
        Command::Build(args) => commands::build::run(context, &args).await,
        Command::Run(args) => commands::run::run(context, &args).await,
        Command::Clean(args) => commands::clean::run(context, &args).await,
        Command::Explain(args) => commands::explain::run(context, &args).await,
        Command::Status(args) => commands::status::run(context, &args).await,
        Command::Stop => commands::stop::run(context).await,
    }
}

/// Help and versions go to standard output, everything else is a usage error.
fn not_parsed(error: &clap::Error) -> ExitCode {
    let answer = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    let text = error.render();
    let _nobody_reads = if answer {
        write!(anstream::stdout(), "{}", text.ansi())
    } else {
        write!(anstream::stderr(), "{}", text.ansi())
    };
    if answer {
        ExitCode::Success
    } else {
        ExitCode::Usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: &str) -> ExitCode {
        run(line.split(' ').map(OsString::from))
    }

    #[test]
    fn usage_errors_exit_as_cargos() {
        assert_eq!(code("vx build --bogus"), ExitCode::Usage);
        assert_eq!(code("vx bogus"), ExitCode::Usage);
        assert_eq!(code("vx build -q -v"), ExitCode::Failure);
    }

    #[test]
    fn questions_about_vx_are_answered() {
        assert_eq!(code("vx --version"), ExitCode::Success);
        assert_eq!(code("vx help"), ExitCode::Success);
        assert_eq!(code("vx"), ExitCode::Success);
    }
}
