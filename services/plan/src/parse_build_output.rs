//! Reading what a build script prints: every directive, old syntax (`cargo:`) and new
//! (`cargo::`), with cargo's rules and words.

use crate::build_output::{BuildOutput, LinkArgTarget};
use crate::build_script_error::BuildScriptError;
use crate::model::{Package, Plan, TargetKind};

/// Keys of the old syntax that are no metadata. No new ones can be added to it.
const RESERVED: &[&str] = &[
    "rustc-flags",
    "rustc-link-lib",
    "rustc-link-search",
    "rustc-link-arg-cdylib",
    "rustc-cdylib-link-arg",
    "rustc-link-arg-bins",
    "rustc-link-arg-bin",
    "rustc-link-arg-tests",
    "rustc-link-arg-benches",
    "rustc-link-arg-examples",
    "rustc-link-arg",
    "rustc-cfg",
    "rustc-check-cfg",
    "rustc-env",
    "warning",
    "rerun-if-changed",
    "rerun-if-env-changed",
];

/// One line, taken apart.
struct Directive<'a> {
    prefix: &'static str,
    key: &'a str,
    value: &'a str,
    line: &'a str,
}

struct Reader<'a> {
    package: &'a Package,
    whence: String,
    /// Whether `RUSTC_BOOTSTRAP` from a build script is only warned of.
    bootstrap_tolerated: bool,
    output: BuildOutput,
}

/// Reads the standard output of a build script's run.
pub fn parse_build_output(
    plan: &Plan,
    unit: usize,
    stdout: &[u8],
) -> Result<BuildOutput, BuildScriptError> {
    let package = &plan.packages[plan.units[unit].package];
    let tolerated = tolerates_bootstrap(plan, package);
    parse(package, tolerated, stdout)
}

pub(crate) fn parse(
    package: &Package,
    bootstrap_tolerated: bool,
    stdout: &[u8],
) -> Result<BuildOutput, BuildScriptError> {
    let whence = format!("build script of `{} v{}`", package.name, package.version);
    let mut reader = Reader {
        package,
        whence,
        bootstrap_tolerated,
        output: BuildOutput::default(),
    };
    for line in stdout.split(|byte| *byte == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else {
            continue;
        };
        if let Some(directive) = reader.directive(line.trim())? {
            reader.apply(&directive)?;
        }
    }
    Ok(reader.output)
}

/// The warnings and errors that a failed run printed; the rest of it means nothing.
pub fn parse_failed_output(stdout: &[u8]) -> BuildOutput {
    let mut output = BuildOutput::default();
    for line in String::from_utf8_lossy(stdout).lines() {
        if let Some(error) = line.strip_prefix("cargo::error=") {
            output.errors.push(error.to_owned());
        }
        let warning = line
            .strip_prefix("cargo:warning=")
            .or(line.strip_prefix("cargo::warning="));
        output.warnings.extend(warning.map(str::to_owned));
    }
    output
}

fn tolerates_bootstrap(plan: &Plan, package: &Package) -> bool {
    let nightly = plan.rustc_version.lines().any(|line| {
        line.starts_with("release: ") && (line.contains("nightly") || line.contains("dev"))
    });
    let allowed = plan.env.iter().find(|(name, _)| name == "RUSTC_BOOTSTRAP");
    let library = library_name(package);
    let named =
        |value: &str| library.is_some_and(|library| value.split(',').any(|name| name == library));
    nightly || allowed.is_some_and(|(_, value)| value == "1" || named(value))
}

fn library_name(package: &Package) -> Option<String> {
    let library = package
        .targets
        .iter()
        .find(|target| matches!(target.kind, TargetKind::Lib(_)));
    library.map(|library| library.name.replace('-', "_"))
}

impl Reader<'_> {
    fn directive<'a>(&self, line: &'a str) -> Result<Option<Directive<'a>>, BuildScriptError> {
        let (prefix, data) = if let Some(data) = line.strip_prefix("cargo::") {
            self.check_rust_version(data)?;
            ("cargo::", data)
        } else if let Some(data) = line.strip_prefix("cargo:") {
            let reserved = data
                .split_once('=')
                .is_some_and(|(key, _)| RESERVED.contains(&key));
            if !reserved {
                return Ok(Some(Directive {
                    prefix: "cargo:",
                    key: "metadata",
                    value: data,
                    line,
                }));
            }
            ("cargo:", data)
        } else {
            return Ok(None);
        };
        let (key, value) = self.pair(line, data, prefix)?;
        Ok(Some(Directive {
            prefix,
            key,
            value,
            line,
        }))
    }

    fn pair<'a>(
        &self,
        line: &str,
        data: &'a str,
        syntax: &str,
    ) -> Result<(&'a str, &'a str), BuildScriptError> {
        let (key, value) = data.split_once('=').ok_or_else(|| {
            self.invalid(
                line,
                format!("Expected a line with `{syntax}KEY=VALUE` with an `=` character, but none was found."),
            )
        })?;
        Ok((key, value.trim_end()))
    }

    fn invalid(&self, line: &str, detail: String) -> BuildScriptError {
        BuildScriptError::Invalid {
            whence: self.whence.clone(),
            line: line.to_owned(),
            detail,
        }
    }

    fn check_rust_version(&self, data: &str) -> Result<(), BuildScriptError> {
        let Some(promised) = &self.package.rust_version else {
            return Ok(());
        };
        let mut numbers = promised
            .split(['.', '-', '+'])
            .map(|part| part.parse::<u64>().unwrap_or(0));
        let at_least = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (1, 77);
        if at_least {
            return Ok(());
        }
        let key = data.split('=').next().unwrap_or_default();
        let advice = if RESERVED.contains(&key) {
            format!("Switch to the old `cargo:{data}` syntax (note the single colon).\n")
        } else if let Some(old) = data.strip_prefix("metadata=") {
            format!(
                "Switch to the old `cargo:{old}` syntax instead of `cargo::{data}` (note the single colon).\n"
            )
        } else {
            String::new()
        };
        Err(BuildScriptError::TooNew {
            package: format!("{} v{}", self.package.name, self.package.version),
            rust_version: promised.clone(),
            advice,
        })
    }

    fn apply(&mut self, directive: &Directive<'_>) -> Result<(), BuildScriptError> {
        let value = directive.value.to_owned();
        match directive.key {
            "rustc-flags" => {
                let (paths, links) = parse_rustc_flags(&value, &self.whence)?;
                self.output.library_paths.extend(paths);
                self.output.library_links.extend(links);
            }
            "rustc-link-lib" => self.output.library_links.push(value),
            "rustc-link-search" => self.output.library_paths.push(value),
            "rustc-link-arg-cdylib" | "rustc-cdylib-link-arg" => {
                self.warn_without_cdylib(directive);
                self.link_arg(LinkArgTarget::Cdylib, value);
            }
            "rustc-link-arg-bins" => {
                self.for_targets(directive, "bin", &TargetKind::Bin, LinkArgTarget::Bin)?;
            }
            "rustc-link-arg-bin" => self.link_arg_of_bin(directive)?,
            "rustc-link-arg-tests" => {
                self.for_targets(directive, "test", &TargetKind::Test, LinkArgTarget::Test)?;
            }
            "rustc-link-arg-benches" => {
                self.for_targets(
                    directive,
                    "benchmark",
                    &TargetKind::Bench,
                    LinkArgTarget::Bench,
                )?;
            }
            "rustc-link-arg-examples" => {
                self.for_targets(
                    directive,
                    "example",
                    &TargetKind::ExampleBin,
                    LinkArgTarget::Example,
                )?;
            }
            "rustc-link-arg" => self.link_arg(LinkArgTarget::All, value),
            "rustc-cfg" => self.output.cfgs.push(value),
            "rustc-check-cfg" => self.output.check_cfgs.push(value),
            "rustc-env" => self.rustc_env(&value)?,
            "error" => self.output.errors.push(value),
            "warning" => self.output.warnings.push(value),
            "rerun-if-changed" => self.output.rerun_if_changed.push(value),
            "rerun-if-env-changed" => self.output.rerun_if_env_changed.push(value),
            "metadata" => {
                let syntax = if directive.prefix == "cargo:" {
                    "cargo:"
                } else {
                    "cargo::metadata="
                };
                let (key, value) = self.pair(directive.line, directive.value, syntax)?;
                self.output
                    .metadata
                    .push((key.to_owned(), value.to_owned()));
            }
            key => return Err(self.invalid(directive.line, format!("Unknown key: `{key}`."))),
        }
        Ok(())
    }

    fn link_arg(&mut self, target: LinkArgTarget, arg: String) {
        self.output.linker_args.push((target, arg));
    }

    fn has(&self, kind: &TargetKind) -> bool {
        self.package.targets.iter().any(|target| match kind {
            // Examples that are libraries count as examples too.
            TargetKind::ExampleBin => {
                matches!(
                    target.kind,
                    TargetKind::ExampleBin | TargetKind::ExampleLib(_)
                )
            }
            kind => target.kind == *kind,
        })
    }

    fn for_targets(
        &mut self,
        directive: &Directive<'_>,
        name: &str,
        kind: &TargetKind,
        target: LinkArgTarget,
    ) -> Result<(), BuildScriptError> {
        if !self.has(kind) {
            let detail = format!(
                "The package {} does not have a {name} target.",
                self.described()
            );
            return Err(self.instruction(directive, detail));
        }
        self.link_arg(target, directive.value.to_owned());
        Ok(())
    }

    fn link_arg_of_bin(&mut self, directive: &Directive<'_>) -> Result<(), BuildScriptError> {
        let Directive {
            prefix, key, value, ..
        } = directive;
        let (bin, arg) = value
            .split_once('=')
            .ok_or_else(|| BuildScriptError::Instruction {
                instruction: format!("{prefix}{key}={value}"),
                whence: self.whence.clone(),
                detail: format!("The instruction should have the form {prefix}{key}=BIN=ARG"),
            })?;
        let known = |target: &crate::model::PackageTarget| {
            target.kind == TargetKind::Bin && target.name == bin
        };
        if !self.package.targets.iter().any(known) {
            let detail = format!(
                "The package {} does not have a bin target with the name `{bin}`.",
                self.described()
            );
            return Err(self.instruction(directive, detail));
        }
        self.link_arg(LinkArgTarget::SingleBin(bin.to_owned()), arg.to_owned());
        Ok(())
    }

    fn instruction(&self, directive: &Directive<'_>, detail: String) -> BuildScriptError {
        BuildScriptError::Instruction {
            instruction: format!("{}{}", directive.prefix, directive.key),
            whence: self.whence.clone(),
            detail,
        }
    }

    fn described(&self) -> String {
        format!("{} v{}", self.package.name, self.package.version)
    }

    fn warn_without_cdylib(&mut self, directive: &Directive<'_>) {
        let is_cdylib = |kind: &TargetKind| match kind {
            TargetKind::Lib(types) => types.iter().any(|name| name == "cdylib"),
            _ => false,
        };
        if self
            .package
            .targets
            .iter()
            .any(|target| is_cdylib(&target.kind))
        {
            return;
        }
        self.output.warnings.push(format!(
            "{}{} was specified in the build script of {}, but that package does not contain a cdylib target\n\n\
             Allowing this was an unintended change in the 1.50 release, and may become an error in the future. \
             For more information, see <https://github.com/rust-lang/cargo/issues/9562>.",
            directive.prefix,
            directive.key,
            self.described()
        ));
    }

    fn rustc_env(&mut self, value: &str) -> Result<(), BuildScriptError> {
        let (name, value) = value
            .split_once('=')
            .ok_or_else(|| BuildScriptError::NoValue {
                what: "Variable rustc-env",
                whence: self.whence.clone(),
                value: value.to_owned(),
            })?;
        if name != "RUSTC_BOOTSTRAP" {
            self.output.env.push((name.to_owned(), value.to_owned()));
            return Ok(());
        }
        if !self.bootstrap_tolerated {
            return Err(BuildScriptError::Bootstrap {
                value: value.to_owned(),
                whence: self.whence.clone(),
                library: library_name(self.package).unwrap_or_else(|| "1".to_owned()),
            });
        }
        self.output.warnings.push(format!(
            "cannot set `RUSTC_BOOTSTRAP={value}` from {}.\nnote: crates cannot set `RUSTC_BOOTSTRAP` themselves, as doing so would subvert the stability guarantees of Rust for your project.",
            self.whence
        ));
        Ok(())
    }
}

/// `-l` and `-L`, glued to their values or not.
pub(crate) fn parse_rustc_flags(
    value: &str,
    whence: &str,
) -> Result<(Vec<String>, Vec<String>), BuildScriptError> {
    let mut words = value.split_whitespace();
    let (mut paths, mut links) = (Vec::new(), Vec::new());
    while let Some(word) = words.next() {
        let (into, glued) = match (word.strip_prefix("-L"), word.strip_prefix("-l")) {
            (Some(path), _) => (&mut paths, path),
            (_, Some(link)) => (&mut links, link),
            _ => {
                return Err(BuildScriptError::Flags {
                    whence: whence.to_owned(),
                    value: value.trim().to_owned(),
                });
            }
        };
        let item = if glued.is_empty() {
            words.next()
        } else {
            Some(glued)
        };
        let item = item.ok_or_else(|| BuildScriptError::NoValue {
            what: "flag in rustc-flags",
            whence: whence.to_owned(),
            value: value.to_owned(),
        })?;
        into.push(item.to_owned());
    }
    Ok((paths, links))
}

#[cfg(test)]
mod tests;
