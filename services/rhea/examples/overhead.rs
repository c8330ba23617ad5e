//! Measures what isolation costs an action: `cargo run --release -p vx-rhea --example overhead`.
//!
//! Prints medians over many runs of `/bin/true`, plainly spawned and as actions; their
//! difference is everything: guard, root, jobserver, streams, collecting and reporting.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use vx_core::{
    ActionSpec, Blob, BlobReader, BlobWriter, CheckoutMode, CheckoutMount, Collect, CollectForm,
    Digest, Execution, Executor, MessageFormat, Observer, Output, OutputStream, PlaceOutcome,
    PlaceRequest, ServiceError, ServiceResult, Store,
};
use vx_rhea::{Rhea, Settings};

const RUNS: usize = 300;

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
        marker: String::new(),
        trace: false,
        host_paths: Vec::new(),
        network: false,
        base: String::new(),
    }
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: usize| {
        times
            .get(times.len() * part / 4)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{what}: median {:?}, quartiles {:?} {:?}",
        at(2),
        at(1),
        at(3)
    );
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
        let rhea = Rhea::start(Settings::new(&directory)).await?;
        let checkout = std::env::current_dir()?;
        let modes = [
            ("an action without a checkout", None),
            ("with a read-only checkout", Some(CheckoutMode::ReadOnly)),
            ("with a private layer", Some(CheckoutMode::PrivateLayer)),
        ];
        for (what, mode) in modes {
            let mut times = Vec::new();
            for _ in 0..RUNS {
                let action = action(&checkout, mode);
                let started = Instant::now();
                let ran = rhea
                    .execute(action, Arc::new(Nothing), Arc::new(Nothing))
                    .await?;
                times.push(started.elapsed());
                if !matches!(ran, Execution::Ran { .. }) {
                    return Err(format!("{what}: {ran:?}").into());
                }
            }
            report(what, times);
        }
        rhea.settle().await;
        std::fs::remove_dir_all(directory)?;
        Ok(())
    })
}
