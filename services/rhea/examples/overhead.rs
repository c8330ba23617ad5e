//! Measures what isolation costs an action: `cargo run --release -p vx-rhea --example overhead`.
//!
//! Prints medians over many runs of `/bin/true` and of compiles, plainly spawned and as actions, in
//! turn; their difference is everything: guard, root, trace, jobserver, streams, collecting and
//! reporting. Nothing is stored.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use vx_core::{
    ActionSpec, Blob, BlobReader, BlobWriter, CheckoutMode, CheckoutMount, Collect, CollectForm,
    Digest, Execution, Executor, MessageFormat, Observer, Output, OutputStream, PlaceOutcome,
    PlaceRequest, ServiceError, ServiceResult, Store, Watch,
};
use vx_rhea::{Rhea, Settings};

/// Runs of `/bin/true`, and of each compile.
const RUNS: usize = 300;
const COMPILES: usize = 60;

/// Holds nothing; nothing is asked of it.
struct Nothing;

#[async_trait]
impl Store for Nothing {
    async fn missing(&self, _: Vec<Digest>) -> ServiceResult<Vec<Digest>> {
        Ok(Vec::new())
    }

    async fn read(&self, _: Digest, _: u64) -> ServiceResult<Option<Box<dyn BlobReader>>> {
        Ok(None)
    }

    async fn write(&self) -> ServiceResult<Box<dyn BlobWriter>> {
        Err(ServiceError::failed("nothing is kept"))
    }

    async fn read_small(&self, _: Vec<Digest>) -> ServiceResult<Vec<Option<Bytes>>> {
        Ok(Vec::new())
    }

    async fn write_small(&self, blobs: Vec<Bytes>) -> ServiceResult<Vec<Digest>> {
        Ok(blobs.iter().map(|blob| Blob::of(blob).digest).collect())
    }

    async fn place(&self, _: PlaceRequest) -> ServiceResult<PlaceOutcome> {
        Ok(PlaceOutcome::Unavailable("nothing is kept".to_owned()))
    }
}

#[async_trait]
impl Observer for Nothing {
    async fn wrote(&self, _: OutputStream, _: Bytes) -> ServiceResult<()> {
        Ok(())
    }

    async fn stored(&self, _: Output) -> ServiceResult<()> {
        Ok(())
    }
}

fn action(checkout: &Path, mode: Option<CheckoutMode>) -> ActionSpec {
    ActionSpec {
        label: "overhead".to_owned(),
        argv: vec!["/bin/true".to_owned()],
        env: Vec::new(),
        cwd: "/".to_owned(),
        toolchain: "/usr".to_owned(),
        checkout: mode.map(|mode| CheckoutMount {
            at: vx_core::places::CHECKOUT.to_owned(),
            host: checkout.to_string_lossy().into_owned(),
            hidden: Vec::new(),
            mode,
        }),
        packages: Vec::new(),
        files: Vec::new(),
        trees: Vec::new(),
        collect: vec![Collect {
            at: "/vx/out".to_owned(),
            form: CollectForm::Files,
        }],
        messages: MessageFormat::RustcJson,
        markers: Vec::new(),
        watch: Watch::Nothing,
        host_paths: Vec::new(),
        network: false,
        real_places: Vec::new(),
        base: String::new(),
    }
}

/// The median, in milliseconds; prints it with the quartiles.
fn report(what: &str, mut times: Vec<Duration>) -> f64 {
    times.sort();
    let at = |part: usize| {
        let time = times.get(times.len() * part / 4).copied();
        time.unwrap_or_default().as_secs_f64() * 1000.0
    };
    println!(
        "{what}: median {:.2} ms, quartiles {:.2} {:.2}",
        at(2),
        at(1),
        at(3)
    );
    at(2)
}

/// A directory with a small library and a small program.
fn sources(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory.join("src"))?;
    let module = "pub fn double(n: u32) -> u32 { n * 2 }\n";
    let library = "mod part;\npub use part::double;\n";
    let program = "fn main() { println!(\"{:?}\", std::env::args().collect::<Vec<_>>()); }\n";
    for (name, text) in [
        ("part.rs", module),
        ("lib.rs", library),
        ("main.rs", program),
    ] {
        std::fs::write(directory.join("src").join(name), text)?;
    }
    Ok(())
}

/// rustc's arguments for one of them.
fn arguments(kind: &str, out: &str) -> Vec<String> {
    let source = if kind == "bin" { "main" } else { "lib" };
    let words = format!(
        "--crate-name small --edition=2024 src/{source}.rs --crate-type {kind} \
         --emit=dep-info,link -C debuginfo=2 --out-dir {out}"
    );
    words.split_whitespace().map(str::to_owned).collect()
}

fn sysroot() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()?;
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

async fn timed(rhea: &Rhea, action: ActionSpec) -> Result<Duration, Box<dyn std::error::Error>> {
    let started = Instant::now();
    let ran = rhea
        .execute(action, Arc::new(Nothing), Arc::new(Nothing))
        .await?;
    match ran {
        Execution::Ran { .. } => Ok(started.elapsed()),
        other => Err(format!("{other:?}").into()),
    }
}

async fn compiles(rhea: &Rhea, directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let checkout = directory.join("checkout");
    sources(&checkout)?;
    let out = directory.join("plain");
    std::fs::create_dir_all(&out)?;
    let sysroot = sysroot()?;
    for (what, kind, watch) in [
        ("a library", "lib", Watch::Nothing),
        ("a library of the checkout", "lib", Watch::Everything),
        ("a program", "bin", Watch::Everything),
    ] {
        let (mut plain, mut isolated, mut traced) = (Vec::new(), Vec::new(), Vec::new());
        let mut action = action(&checkout, Some(CheckoutMode::ReadOnly));
        action.toolchain = sysroot.to_string_lossy().into_owned();
        action.cwd = vx_core::places::CHECKOUT.to_owned();
        action.env = vec![("PATH".to_owned(), vx_core::places::PATH.to_owned())];
        action.argv = vec![format!("{}/bin/rustc", vx_core::places::TOOLCHAIN)];
        // Its outputs go to a private place: storing them is not what is measured.
        action.argv.extend(arguments(kind, "/tmp"));
        for _ in 0..COMPILES {
            let started = Instant::now();
            let status = Command::new(sysroot.join("bin/rustc"))
                .current_dir(&checkout)
                .args(arguments(kind, &out.to_string_lossy()))
                .status()?;
            if !status.success() {
                return Err("rustc failed".into());
            }
            plain.push(started.elapsed());
            isolated.push(timed(rhea, action.clone()).await?);
            let watched = ActionSpec {
                watch,
                ..action.clone()
            };
            traced.push(timed(rhea, watched).await?);
        }
        let plain = report(&format!("{what}, plainly"), plain);
        let isolated = report(&format!("{what}, isolated"), isolated);
        let traced = report(&format!("{what}, isolated and traced"), traced);
        println!(
            "  isolation {:+.2} ms, trace {:+.2} ms",
            isolated - plain,
            traced - isolated
        );
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    vx_rhea::guard::enter_if_asked();
    let mut plain = Vec::new();
    for _ in 0..RUNS {
        let started = Instant::now();
        Command::new("/bin/true").status()?;
        plain.push(started.elapsed());
    }
    report("plainly spawned", plain);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let directory = std::env::temp_dir().join(format!("overhead-{}", std::process::id()));
        let rhea = Rhea::start(Settings::new(directory.join("rhea"))).await?;
        let checkout = std::env::current_dir()?;
        let modes = [
            ("an action without a checkout", None),
            ("with a read-only checkout", Some(CheckoutMode::ReadOnly)),
            ("with a private layer", Some(CheckoutMode::PrivateLayer)),
        ];
        for (what, mode) in modes {
            let mut times = Vec::new();
            for _ in 0..RUNS {
                times.push(timed(&rhea, action(&checkout, mode)).await?);
            }
            report(what, times);
        }
        compiles(&rhea, &directory).await?;
        rhea.settle().await;
        std::fs::remove_dir_all(directory)?;
        Ok(())
    })
}
