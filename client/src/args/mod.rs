//! The arguments: cargo's words and flags where cargo has them.
//!
//! Names and help are declared here; what they ask of the orchestrator is in `selection`.

mod selection;

use std::ffi::OsString;
use std::sync::LazyLock;

use clap::builder::Styles;
use clap::builder::styling::{AnsiColor, Effects, Style};
use clap::{Args, Parser, Subcommand};

use crate::exit_code;
use crate::output::ColorChoice;
use crate::version::VERSION;

/// Cargo's own look.
const STYLES: Styles = Styles::styled()
    .header(AnsiColor::BrightGreen.on_default().effects(Effects::BOLD))
    .usage(AnsiColor::BrightGreen.on_default().effects(Effects::BOLD))
    .literal(AnsiColor::BrightCyan.on_default().effects(Effects::BOLD))
    .placeholder(AnsiColor::Cyan.on_default())
    .error(AnsiColor::BrightRed.on_default().effects(Effects::BOLD))
    .valid(AnsiColor::BrightCyan.on_default().effects(Effects::BOLD))
    .invalid(Style::new().effects(Effects::BOLD));

/// Builds Cargo workspaces, and never the same thing twice
#[derive(Debug, Parser)]
#[command(
    name = "vx",
    version = VERSION.as_str(),
    styles = STYLES,
    after_help = AFTER_HELP.as_str(),
    arg_required_else_help = true,
    disable_help_subcommand = false,
    max_term_width = 100,
)]
pub(crate) struct Cli {
    /// How much is said and how it looks.
    #[command(flatten)]
    pub(crate) terminal: TerminalArgs,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TerminalArgs {
    /// Say more: what runs, what was there already, and the totals
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Print diagnostics and errors only
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// Coloring
    #[arg(long, global = true, value_name = "WHEN")]
    pub(crate) color: Option<ColorChoice>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compile a local package and all of its dependencies
    #[command(visible_alias = "b")]
    Build(BuildArgs),
    /// Build a program of the local package and run it
    #[command(
        visible_alias = "r",
        after_help = "To pass `--help` to the program, use `-- --help`."
    )]
    Run(RunArgs),
    /// Remove a workspace's final outputs and reports; what the store has stays
    Clean(ManifestArgs),
    /// Tell what the last build did and why
    Explain(ExplainArgs),
    /// Show the daemons and what they have done
    Status(StatusArgs),
    /// End the daemons when the builds under way are done; the next build starts them again
    Stop,
}

/// `vx build`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct BuildArgs {
    /// Package to build (see `cargo help pkgid`)
    #[arg(short, long = "package", value_name = "SPEC", help_heading = PACKAGES)]
    pub(crate) package: Vec<String>,

    /// Build all packages in the workspace
    #[arg(long, visible_alias = "all", help_heading = PACKAGES)]
    pub(crate) workspace: bool,

    /// Leave packages out (with --workspace)
    #[arg(long, value_name = "SPEC", help_heading = PACKAGES)]
    pub(crate) exclude: Vec<String>,

    /// Build the library only
    #[arg(long, help_heading = TARGETS)]
    pub(crate) lib: bool,

    /// Build all binaries
    #[arg(long, help_heading = TARGETS)]
    pub(crate) bins: bool,

    /// Build all examples
    #[arg(long, help_heading = TARGETS)]
    pub(crate) examples: bool,

    /// Print what would be built as JSON, and build nothing; `fresh` remembers and recalls nothing
    #[arg(
        long,
        value_name = "HOW",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "usual"
    )]
    pub(crate) plan: Option<PlanArg>,

    /// Which programs.
    #[command(flatten)]
    pub(crate) programs: ProgramArgs,

    /// How.
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Where `vx build --plan` may take the plan from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PlanArg {
    /// As a build: what was planned before and still holds, else from nothing.
    Usual,
    /// From nothing.
    Fresh,
}

/// `vx run`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RunArgs {
    /// Package with the program to run
    #[arg(short, long = "package", value_name = "SPEC", help_heading = PACKAGES)]
    pub(crate) package: Option<String>,

    /// Which program.
    #[command(flatten)]
    pub(crate) programs: ProgramArgs,

    /// How to build it.
    #[command(flatten)]
    pub(crate) common: CommonArgs,

    /// Arguments for the program
    #[arg(trailing_var_arg = true, value_name = "ARGS")]
    pub(crate) args: Vec<OsString>,
}

/// Programs by name.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ProgramArgs {
    /// The binary of this name
    #[arg(long, value_name = "NAME", help_heading = TARGETS)]
    pub(crate) bin: Vec<String>,

    /// The example of this name
    #[arg(long, value_name = "NAME", help_heading = TARGETS)]
    pub(crate) example: Vec<String>,
}

/// Flags of everything that builds.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct CommonArgs {
    /// Features to activate, separated by spaces or commas
    #[arg(short = 'F', long, value_name = "FEATURES", help_heading = FEATURES)]
    pub(crate) features: Vec<String>,

    /// Activate all available features
    #[arg(long, help_heading = FEATURES)]
    pub(crate) all_features: bool,

    /// Do not activate the `default` feature
    #[arg(long, help_heading = FEATURES)]
    pub(crate) no_default_features: bool,

    /// Build in release mode, with optimizations
    #[arg(short, long, conflicts_with = "profile", help_heading = COMPILATION)]
    pub(crate) release: bool,

    /// Build with this profile
    #[arg(long, value_name = "PROFILE-NAME", help_heading = COMPILATION)]
    pub(crate) profile: Option<String>,

    /// Number of parallel jobs, defaults to the number of CPUs
    #[arg(
        short,
        long,
        value_name = "N",
        allow_hyphen_values = true,
        help_heading = COMPILATION
    )]
    pub(crate) jobs: Option<String>,

    /// Build what can be built after an error
    #[arg(long, help_heading = COMPILATION)]
    pub(crate) keep_going: bool,

    /// Run what was found in the store again, and say what differs and why
    #[arg(long, help_heading = COMPILATION)]
    pub(crate) verify: bool,

    /// Build for the target triple
    #[arg(long, value_name = "TRIPLE", help_heading = COMPILATION)]
    pub(crate) target: Vec<String>,

    /// The manifest.
    #[command(flatten)]
    pub(crate) manifest: ManifestArgs,

    /// Assert that `Cargo.lock` will remain unchanged
    #[arg(long, help_heading = MANIFEST)]
    pub(crate) locked: bool,

    /// Run without accessing the network
    #[arg(long, help_heading = MANIFEST)]
    pub(crate) offline: bool,

    /// Equivalent to specifying both --locked and --offline
    #[arg(long, help_heading = MANIFEST)]
    pub(crate) frozen: bool,
}

/// Which workspace.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ManifestArgs {
    /// Path to Cargo.toml
    #[arg(long, value_name = "PATH", help_heading = MANIFEST)]
    pub(crate) manifest_path: Option<String>,
}

/// `vx explain`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ExplainArgs {
    /// Print JSON: the report with what differed, or what --why and --diff found
    #[arg(long)]
    pub(crate) json: bool,

    /// A run other than the last: `previous`, or a file name in `.vx/runs`, less `.json`
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<String>,

    /// The newest run in which something was built
    #[arg(long, conflicts_with = "run")]
    pub(crate) last_miss: bool,

    /// Follow the causes of a package's builds to the first: a name, or name@version
    #[arg(long, value_name = "PACKAGE")]
    pub(crate) why: Option<String>,

    /// Say what differs between two runs; the second is the last unless it is named
    #[arg(
        long,
        value_name = "RUN",
        num_args = 1..=2,
        conflicts_with_all = ["run", "last_miss", "why"]
    )]
    pub(crate) diff: Vec<String>,

    /// Which workspace.
    #[command(flatten)]
    pub(crate) manifest: ManifestArgs,
}

/// `vx status`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is good to know besides the flags.
static AFTER_HELP: LazyLock<String> = LazyLock::new(|| format!("{PLACES}\n\n{}", exit_code::HELP));

const PLACES: &str = "\
Final outputs are in `.vx/build/<triple>/<profile>/` of the workspace.

Environment:
  VX_HOME               where the daemons live (default: ~/.vx)
  VX_CASS, VX_RHEA      endpoints of a store and an executor to use instead of starting them
  VX_CASS_SECRET_FILE,
  VX_RHEA_SECRET_FILE   the secrets for those
  VX_CASS_LIMIT         the size that the store is kept under, such as 10G
  VX_RHEA_MEMORY        the memory that an action may have, such as 4G
  VX_RHEA_DISK          what an action may write into its output directories, such as 20G
  VX_CASS_PLACE         `off`: the store puts no files in place, they are streamed
  VX_LOG                what the daemons log, in the filter language of `tracing`
  VX_AETHER_BIN         the orchestrator's program (default: vx-aether beside vx)
  CARGO_TERM_COLOR, CARGO_TERM_QUIET, CARGO_TERM_VERBOSE, CARGO_TERM_PROGRESS_WHEN, NO_COLOR";

const PACKAGES: &str = "Package Selection";
const TARGETS: &str = "Target Selection";
const FEATURES: &str = "Feature Selection";
const COMPILATION: &str = "Compilation Options";
const MANIFEST: &str = "Manifest Options";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn refused(line: &str) -> ErrorKind {
        Cli::try_parse_from(line.split(' ')).unwrap_err().kind()
    }

    #[test]
    fn the_declaration_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_may_stand_before_and_behind_the_command() {
        for line in ["vx -v build", "vx build -v", "vx b -v"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.terminal.verbose, 1, "{line}");
        }
    }

    #[test]
    fn what_follows_a_program_is_the_programs() {
        for line in ["vx run -- --flag -v", "vx r -- --flag -v"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            let Command::Run(run) = cli.command else {
                panic!("{line}")
            };
            assert_eq!(run.args, ["--flag", "-v"]);
            assert_eq!(cli.terminal.verbose, 0);
        }
        let cli = Cli::try_parse_from(["vx", "run", "-r", "file", "--flag"]).unwrap();
        let Command::Run(run) = cli.command else {
            panic!("not a run")
        };
        assert!(run.common.release);
        assert_eq!(run.args, ["file", "--flag"]);
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(refused("vx bogus"), ErrorKind::InvalidSubcommand);
        assert_eq!(refused("vx build --bogus"), ErrorKind::UnknownArgument);
        assert_eq!(refused("vx build --color blue"), ErrorKind::InvalidValue);
        assert_eq!(
            refused("vx build --release --profile dev"),
            ErrorKind::ArgumentConflict
        );
        assert_eq!(refused("vx run --workspace"), ErrorKind::UnknownArgument);
    }
}
