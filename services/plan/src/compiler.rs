//! The programs that compile: rustc, what is to be run in its place, and what is put before it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::command::RUSTC;
use crate::error::PlanError;
use crate::host::Host;
use crate::locate::Workspace;
use crate::model::{Mode, Package, Plan};
use crate::paths::text;
use crate::process::find_program;
use crate::request::PlanRequest;

/// Wrappers that do nothing but cache: vx does that itself, and they would look for their own
/// caches where an action finds nothing.
const CACHES: &[&str] = &["cachepot", "ccache", "fcache", "kache", "mbx", "sccache"];

/// What is run for a compile, as paths in an isolation root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compiler {
    /// `RUSTC` or `build.rustc`, where that is not the toolchain's own.
    pub rustc: Option<String>,
    /// `RUSTC_WRAPPER` or `build.rustc-wrapper`: runs every compile.
    pub wrapper: Option<String>,
    /// `RUSTC_WORKSPACE_WRAPPER` or `build.rustc-workspace-wrapper`: runs those of members.
    pub workspace_wrapper: Option<String>,
}

impl Compiler {
    /// What the user's environment and configuration ask for; a note for each that is not used.
    pub(crate) fn of(
        request: &PlanRequest,
        workspace: &Workspace,
        notes: &mut Vec<String>,
    ) -> Result<Self, PlanError> {
        let mut wrapper = |(variable, key): (&str, &str)| {
            let asked = asked(request, workspace, variable, key);
            let Some(name) = asked.filter(|name| !name.is_empty()) else {
                return Ok(None);
            };
            let program = Path::new(&name).file_stem().and_then(|stem| stem.to_str());
            if program.is_some_and(|program| CACHES.contains(&program)) {
                notes.push(format!(
                    "note: the rustc wrapper `{name}` is not used: vx caches on its own"
                ));
                return Ok(None);
            }
            let mut found = find_program(&workspace.host, &name, &workspace.cwd, &request.env)?;
            // What rustup stands in for is there without it.
            if let Some(name) = found
                .file_name()
                .filter(|_| is_rustup(&workspace.host, &found))
            {
                found = workspace.toolchain.sysroot.join("bin").join(name);
            }
            Ok(Some(workspace.fixed(text(&found)?)))
        };
        Ok(Self {
            wrapper: wrapper(WRAPPER)?,
            workspace_wrapper: wrapper(WORKSPACE_WRAPPER)?,
            rustc: own_rustc(request, workspace)?,
        })
    }

    /// The compiler's own path.
    pub(crate) fn rustc(&self) -> &str {
        self.rustc.as_deref().unwrap_or(RUSTC)
    }

    /// What asks a member's compiler on the host.
    pub(crate) fn words(&self, workspace: &Workspace) -> Vec<String> {
        let wrappers = self.wrapper.iter().chain(&self.workspace_wrapper);
        let words = wrappers.map(String::as_str).chain([self.rustc()]);
        words.map(|word| workspace.real(word)).collect()
    }

    /// How the command line of a package's compile starts.
    pub(crate) fn start(&self, package: &Package) -> Vec<String> {
        let of_member = self.workspace_wrapper.as_ref();
        let of_member = of_member.filter(|_| package.is_member);
        let wrappers = self.wrapper.iter().chain(of_member).cloned();
        wrappers.chain([self.rustc().to_owned()]).collect()
    }

    /// Programs beside the toolchain's own.
    pub(crate) fn others(&self) -> impl Iterator<Item = &String> {
        let wrappers = self.wrapper.iter().chain(&self.workspace_wrapper);
        wrappers.chain(&self.rustc)
    }
}

/// The variable and the key below `build` of what runs every compile.
pub(crate) const WRAPPER: (&str, &str) = ("RUSTC_WRAPPER", "rustc-wrapper");

/// Those of what runs the compiles of the workspace's members.
pub(crate) const WORKSPACE_WRAPPER: (&str, &str) =
    ("RUSTC_WORKSPACE_WRAPPER", "rustc-workspace-wrapper");

/// A setting of cargo's for a program: the variable comes before all others.
pub(crate) fn asked(
    request: &PlanRequest,
    workspace: &Workspace,
    variable: &str,
    key: &str,
) -> Option<String> {
    let set = request.env.get(variable).cloned();
    set.or_else(|| workspace.config.program(&["build", key]))
}

/// `RUSTC` and `build.rustc` where they name something else than the toolchain's compiler or
/// rustup's stand-in for it, both of which the toolchain's own compiler is as good as.
fn own_rustc(request: &PlanRequest, workspace: &Workspace) -> Result<Option<String>, PlanError> {
    let asked = asked(request, workspace, "RUSTC", "rustc");
    let Some(name) = asked.filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let found = find_program(&workspace.host, &name, &workspace.cwd, &request.env)?;
    let real = |path: &Path| {
        workspace
            .host
            .canonicalize(path)
            .unwrap_or_else(|_| path.to_owned())
    };
    let toolchains = real(&workspace.toolchain.sysroot.join("bin/rustc"));
    if real(&found) == toolchains || is_rustup(&workspace.host, &found) {
        return Ok(None);
    }
    Ok(Some(workspace.fixed(text(&found)?)))
}

/// Whether a program is rustup under another name: a link to it, or a copy beside it.
pub(crate) fn is_rustup(host: &Host, program: &Path) -> bool {
    let Ok(real) = host.canonicalize(program) else {
        return false;
    };
    if real.file_name().is_some_and(|name| name == "rustup") {
        return true;
    }
    let beside = host.size(&real.with_file_name("rustup"));
    beside.is_some() && beside == host.size(&real)
}

/// Whether something else than the toolchain's own compiler runs a unit's compile.
pub fn is_wrapped(plan: &Plan, unit: usize) -> bool {
    let this = &plan.units[unit];
    this.mode == Mode::Compile && plan.compiler.start(&plan.packages[this.package]) != [RUSTC]
}
