//! Gets an action ready to run on the host: its inputs on the shelf, its own directories, and
//! its command line with real places.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vx_core::{ActionSpec, Collect, CollectForm, ServiceError, Store, Watch, places};

use super::places::Places;
use super::shelf::{Claim, Content, Hold, once};
use crate::collect::Collected;
use crate::engine::Bare;
use crate::fault::{Stop, Tried};
use crate::guard::spec::Program;
use crate::guard::trace::{Given, Reach, Scope, Writes};
use crate::layout::{Layout, is_script};
use crate::run::{hidden, with_jobserver};
use crate::scratch::Scratch;
use crate::stage::trees;

/// An action that can be run.
pub(crate) struct Prepared {
    /// Its inputs.
    pub(crate) hold: Hold,
    /// Where its places are.
    pub(crate) places: Arc<Places>,
    /// What to run.
    pub(crate) program: Program,
    /// What is collected.
    pub(crate) directories: Vec<Collected>,
    /// Bytes the store placed.
    pub(crate) placed: u64,
}

/// Gets an action ready.
pub(crate) async fn prepare(
    bare: &Bare,
    action: &ActionSpec,
    store: &Arc<dyn Store>,
    scratch: &Scratch,
) -> Result<Prepared, Stop> {
    let base = base(bare, action)?;
    let mut own = Vec::new();
    for name in ["out/0", "home", "tmp"] {
        own.push(scratch.make(name).tried("make a directory")?);
    }
    let scratch_path = fs::canonicalize(scratch.path()).tried_at("find", scratch.path())?;
    let real = Arc::new(Places::new(&action.base, &action.toolchain, &scratch_path));
    let read = trees(action, store, scratch).await?;
    // Only to be sure that nothing lies where it must not.
    Layout::of(action, read.clone())?;
    let claims = claims(action, &real, read.into_iter().map(Arc::new));
    let (hold, placed) = bare
        .shelf
        .take(once(claims), store, scratch.tasks())
        .await?;
    let directories: Vec<Collected> = action
        .collect
        .iter()
        .map(|collect| {
            let host = real.path(&collect.at);
            Collected {
                collect: collect.clone(),
                seen: host.to_string_lossy().into_owned(),
                host,
            }
        })
        .collect();
    let watched = action.watch != Watch::Nothing && bare.trace_fault.is_empty();
    let scope = || scope(action, &base, &scratch_path, &hold);
    let program = Program {
        argv: action.argv.iter().map(|text| real.real(text)).collect(),
        env: with_jobserver(env(action, &real, &scratch_path)),
        cwd: real.real(&action.cwd),
        trace: watched.then(scope),
    };
    Ok(Prepared {
        hold,
        places: real,
        program,
        directories,
        placed,
    })
}

/// The base that the action names, which has to be one of this executor's.
fn base(bare: &Bare, action: &ActionSpec) -> Result<PathBuf, Stop> {
    let base = PathBuf::from(&action.base);
    let name = base.file_name().and_then(|name| name.to_str());
    let plain = name
        .is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if base.parent() == Some(bare.shelf.directory()) && plain {
        return Ok(base);
    }
    Err(Stop::Service(ServiceError::Invalid(format!(
        "{:?} is no directory of this executor's for the inputs of a checkout",
        action.base
    ))))
}

fn claims(
    action: &ActionSpec,
    places: &Places,
    trees: impl Iterator<Item = Arc<vx_core::Tree>>,
) -> Vec<Claim> {
    let script = is_script(action);
    let claim = |at: &str, content: Content| Claim {
        place: places.path(at),
        content,
        tree: None,
        alone: false,
    };
    let files = action.files.iter().map(|file| {
        claim(
            &file.at,
            Content::File {
                digest: file.digest,
                size: file.size,
                executable: file.executable,
            },
        )
    });
    let trees = action.trees.iter().zip(trees).map(|(input, tree)| Claim {
        tree: Some(tree),
        ..claim(&input.at, Content::Tree(input.tree))
    });
    let packages = action.packages.iter().map(|package| Claim {
        // Some scripts write into their own package.
        alone: script && package.at == action.cwd,
        ..claim(
            &package.at,
            Content::Package((package.archive, package.format)),
        )
    });
    let written = action.collect.iter().filter(|collect| on_shelf(collect));
    let written = written.map(|collect| Claim {
        alone: true,
        ..claim(&collect.at, Content::Nothing)
    });
    files.chain(trees).chain(packages).chain(written).collect()
}

/// Whether others look for what is collected where it is written.
fn on_shelf(collect: &Collect) -> bool {
    matches!(collect.form, CollectForm::Tree { .. }) || collect.at != places::OUT
}

fn env(action: &ActionSpec, places: &Places, own: &Path) -> Vec<(String, String)> {
    let temporary = own.join("tmp").to_string_lossy().into_owned();
    let env = action.env.iter().map(|(name, value)| {
        let value = match name.as_str() {
            "TMPDIR" => temporary.clone(),
            _ => places.real(value),
        };
        (name.clone(), value)
    });
    env.collect()
}

/// What the trace is for: everything on the host but what is the action's own or given to it.
fn scope(action: &ActionSpec, base: &Path, own: &Path, hold: &Hold) -> Scope {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut nobodys = hidden(action);
    nobodys.push(text(own));
    // A toolchain of the distribution's lies among everything else: that is read like the rest.
    let among_others = places::HOST
        .iter()
        .any(|host| Path::new(host).starts_with(&action.toolchain));
    Scope {
        checkout: action.checkout.as_ref().map(|checkout| checkout.at.clone()),
        toolchain: (!among_others).then(|| action.toolchain.clone()),
        writes: Writes::Stay,
        own: nobodys,
        hidden: Vec::new(),
        host: Reach::Everything,
        watched: Vec::new(),
        given: Some(Given {
            base: text(base),
            paths: hold.places().map(text).collect(),
        }),
    }
}
