//! Which of the programs that were built is to run.

use vx_core::orchestrator::{Executable, Selection};

use crate::error::{CommandError, CommandResult};

/// Chooses as `cargo run` does, and fails in its words.
pub(super) fn choose<'a>(
    executables: &'a [Executable],
    selection: &Selection,
) -> CommandResult<&'a Executable> {
    let named = !selection.bin.is_empty() || !selection.example.is_empty();
    let mut found: Vec<&Executable> = executables
        .iter()
        .filter(|executable| match executable.kind.as_str() {
            "bin" => !named || !selection.bin.is_empty(),
            "example" => !selection.example.is_empty(),
            _ => false,
        })
        .collect();
    if !named {
        let defaults: Vec<&Executable> = found
            .iter()
            .copied()
            .filter(|executable| executable.default_run.as_ref() == Some(&executable.name))
            .collect();
        if let [only] = defaults[..] {
            return Ok(only);
        }
    }
    match found[..] {
        [only] => return Ok(only),
        [] => {
            return Err(CommandError::failure(
                "a bin target must be available for `vx run`",
            ));
        }
        _ => {}
    }
    found.sort_by(|a, b| (&a.name, &a.package).cmp(&(&b.name, &b.package)));
    if named {
        let mut help = "available targets:".to_owned();
        for executable in found {
            let Executable {
                kind,
                name,
                package,
                ..
            } = executable;
            help.push_str(&format!("\n    {kind} `{name}` in package `{package}`"));
        }
        return Err(CommandError::failure(
            "`vx run` can run at most one executable, but multiple were specified",
        )
        .help(help));
    }
    let names: Vec<&str> = found
        .iter()
        .map(|executable| executable.name.as_str())
        .collect();
    Err(CommandError::failure(format!(
        "`vx run` could not determine which binary to run. Use the `--bin` option to specify \
         a binary, or the `default-run` manifest key.\navailable binaries: {}",
        names.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(kind: &str, name: &str, default_run: Option<&str>) -> Executable {
        Executable {
            name: name.to_owned(),
            kind: kind.to_owned(),
            package: "p".to_owned(),
            path: format!("/w/.vx/build/{name}"),
            default_run: default_run.map(ToOwned::to_owned),
        }
    }

    fn named(bin: &[&str], example: &[&str]) -> Selection {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Selection {
            bin: texts(bin),
            example: texts(example),
            ..Selection::default()
        }
    }

    #[test]
    fn the_only_one_runs() {
        let programs = [program("bin", "a", None), program("example", "e", None)];
        let chosen = choose(&programs, &Selection::default()).unwrap();
        assert_eq!(chosen.name, "a");
        assert_eq!(choose(&programs, &named(&[], &["e"])).unwrap().name, "e");
    }

    #[test]
    fn default_run_decides_between_several() {
        let programs = [
            program("bin", "a", Some("b")),
            program("bin", "b", Some("b")),
        ];
        let chosen = choose(&programs, &Selection::default()).unwrap();
        assert_eq!(chosen.name, "b");
    }

    #[test]
    fn two_defaults_decide_nothing() {
        let programs = [
            program("bin", "b", Some("b")),
            program("bin", "a", Some("a")),
        ];
        let error = choose(&programs, &Selection::default()).unwrap_err();
        assert!(
            error.what.ends_with("available binaries: a, b"),
            "{error:?}"
        );
    }

    #[test]
    fn none_and_too_many_are_refused_as_cargo_does() {
        let examples = [program("example", "e", None)];
        let none = choose(&examples, &Selection::default());
        assert_eq!(
            none.unwrap_err().what,
            "a bin target must be available for `vx run`"
        );
        let programs = [program("bin", "a", None), program("bin", "b", None)];
        let error = choose(&programs, &named(&["a", "b"], &[])).unwrap_err();
        assert!(error.what.contains("at most one executable"));
        assert_eq!(
            error.help.unwrap(),
            "available targets:\n    bin `a` in package `p`\n    bin `b` in package `p`"
        );
    }
}
