//! What to say of an action that failed and tried to use a network it does not have.

use vx_plan::Mode;

/// What is behind the failure, perhaps, and what to do: a registry's package can't be edited, so
/// the workspace speaks for it.
pub(crate) fn note(mode: Mode, package: &str, is_local: bool, address: &str) -> String {
    let tried = format!("note: it tried to reach {address}, and actions have no network");
    match (mode, is_local) {
        (Mode::Compile, _) => {
            format!("{tried}; have a build script fetch what it needs, or put it into the package")
        }
        (Mode::RunBuildScript, true) => {
            format!("{tried}; if it should, declare it: [package.metadata.vx] network = true")
        }
        (Mode::RunBuildScript, false) => format!(
            "{tried}; if it should, declare it: [workspace.metadata.vx] network = [{package:?}]"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_declare_it_is_told() {
        let said = |mode, is_local| note(mode, "some-sys", is_local, "192.0.2.7:443");
        assert!(said(Mode::RunBuildScript, true).contains("[package.metadata.vx] network = true"));
        assert!(
            said(Mode::RunBuildScript, false)
                .contains("[workspace.metadata.vx] network = [\"some-sys\"]")
        );
        assert!(!said(Mode::Compile, true).contains("metadata"));
    }
}
