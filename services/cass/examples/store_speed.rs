//! Rough speeds of a local store, beside writing and hashing plainly.
//!
//! `cargo run --release -p vx-cass --example store_speed [DIRECTORY]`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use vx_cass::{Cass, CassConfig};
use vx_core::{
    ActionKey, ActionResult, Digest, Hasher, Holder, Output, OutputForm, PlaceFile, PlaceMode,
    PlaceRequest, RelPath, ServiceError, StoreService,
};

const PIECE: usize = 256 * 1024;
const LARGE: usize = 1 << 30;
const SMALL: usize = 10_000;
const SMALL_SIZE: usize = 4096;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let base = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .canonicalize()?;
    let directory = base.join(format!("vx-cass-throughput-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    let measured = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(measure(&directory));
    std::fs::remove_dir_all(&directory)?;
    measured
}

fn noise(length: usize) -> Bytes {
    let mut content = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    content.into()
}

/// Runs something and prints how long it took, for so many bytes and items.
async fn timed<T>(name: &str, bytes: usize, items: usize, work: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let value = work.await;
    let seconds = start.elapsed().as_secs_f64();
    let gib = bytes as f64 / f64::from(1 << 30) / seconds;
    let each = seconds * 1e6 / items as f64;
    println!(
        "{name:44} {:9.1} ms {gib:8.2} GiB/s {each:11.1} us each",
        seconds * 1e3
    );
    value
}

fn plain(content: &Bytes, path: &Path) -> Outcome<()> {
    let mut file = std::fs::File::create(path)?;
    let mut hasher = Hasher::new();
    for piece in content.chunks(PIECE) {
        hasher.update(piece);
        file.write_all(piece)?;
    }
    println!("  {}", hasher.finish().digest.short());
    Ok(())
}

async fn measure(directory: &Path) -> Outcome<()> {
    let content = noise(LARGE);
    timed("plain: write and hash 1 GiB", LARGE, 1, async {
        plain(&content, &directory.join("plain"))
    })
    .await?;
    std::fs::remove_file(directory.join("plain"))?;

    let mut config = CassConfig::new(directory.join("store"));
    config.limit = 8 << 30;
    let cass = Cass::open(config.clone())?;
    let grant = cass.grant("throughput".to_owned()).await?;
    let holder = Holder::Local {
        uid: rustix::process::geteuid().as_raw(),
    };
    let (store, results) = (cass.store(grant, holder), cass.results(grant));

    let large = timed("store: 1 GiB in", LARGE, 1, async {
        let mut writer = store.write().await?;
        let mut rest = content.clone();
        while !rest.is_empty() {
            let piece = rest.split_to(PIECE.min(rest.len()));
            writer.write(piece).await?;
        }
        writer.finish().await
    })
    .await?;
    for name in ["store: 1 GiB out, known good", "store: 1 GiB out, again"] {
        timed(name, LARGE, 1, async {
            let mut reader = store
                .read(large.digest, 0)
                .await?
                .ok_or(ServiceError::Revoked)?;
            let mut total = 0;
            while let Some(piece) = reader.next().await? {
                total += piece.len();
            }
            assert_eq!(total, LARGE);
            Ok::<_, ServiceError>(())
        })
        .await?;
    }

    let small: Vec<Bytes> = (0..SMALL)
        .map(|n| {
            let mut blob = content.slice(..SMALL_SIZE).to_vec();
            blob[..8].copy_from_slice(&n.to_le_bytes());
            blob.into()
        })
        .collect();
    let mut digests = Vec::new();
    timed(
        "store: 10,000 small blobs in",
        SMALL * SMALL_SIZE,
        SMALL,
        async {
            for batch in small.chunks(1000) {
                digests.extend(store.write_small(batch.to_vec()).await?);
            }
            Ok::<_, ServiceError>(())
        },
    )
    .await?;
    timed("store: the same again", SMALL * SMALL_SIZE, SMALL, async {
        for batch in small.chunks(1000) {
            store.write_small(batch.to_vec()).await?;
        }
        Ok::<_, ServiceError>(())
    })
    .await?;
    timed(
        "store: 10,000 small blobs out",
        SMALL * SMALL_SIZE,
        SMALL,
        async {
            for batch in digests.chunks(1000) {
                store.read_small(batch.to_vec()).await?;
            }
            Ok::<_, ServiceError>(())
        },
    )
    .await?;
    timed("store: missing, in batches of 1000", 0, SMALL, async {
        for batch in digests.chunks(1000) {
            store.missing(batch.to_vec()).await?;
        }
        Ok::<_, ServiceError>(())
    })
    .await?;

    let result = |digest: &Digest| ActionResult {
        outputs: vec![Output {
            name: "lib.rmeta".to_owned(),
            blob: vx_core::Blob {
                digest: *digest,
                size: SMALL_SIZE as u64,
            },
            form: OutputForm::File { executable: false },
        }],
        payload: Bytes::from_static(b"warnings"),
        unisolated: false,
    };
    timed("store: publish", 0, SMALL, async {
        for digest in &digests {
            results.publish(ActionKey(*digest), result(digest)).await?;
        }
        Ok::<_, ServiceError>(())
    })
    .await?;
    let keys: Vec<ActionKey> = digests.iter().copied().map(ActionKey).collect();
    timed("store: look up, in batches of 1000", 0, SMALL, async {
        for batch in keys.chunks(1000) {
            results.lookup(batch.to_vec()).await?;
        }
        Ok::<_, ServiceError>(())
    })
    .await?;

    for (name, mode) in [
        ("place: 10,000 small links", PlaceMode::SharedReadOnly),
        ("place: 10,000 small copies", PlaceMode::Independent),
    ] {
        let target = directory.join(format!("target-{mode:?}"));
        std::fs::create_dir(&target)?;
        let files = digests
            .iter()
            .enumerate()
            .map(|(n, digest)| place_file(&format!("d{}/f{n}", n % 50), *digest, mode))
            .collect::<Outcome<Vec<_>>>()?;
        let request = PlaceRequest {
            directory: target.display().to_string(),
            files,
        };
        let bytes = SMALL * SMALL_SIZE;
        timed(name, bytes, SMALL, store.place(request)).await?;
    }
    for (name, mode) in [
        ("place: 1 GiB link", PlaceMode::SharedReadOnly),
        ("place: 1 GiB copy", PlaceMode::Independent),
    ] {
        let target = directory.join(format!("large-{mode:?}"));
        std::fs::create_dir(&target)?;
        let request = PlaceRequest {
            directory: target.display().to_string(),
            files: vec![place_file("f", large.digest, mode)?],
        };
        timed(name, LARGE, 1, store.place(request)).await?;
    }

    timed("close", 0, 1, cass.close()).await?;
    drop((store, results, cass));
    let cass = timed("open after a close", 0, 1, async {
        Cass::open(config.clone())
    })
    .await?;
    drop(cass);
    let cass = timed("open after a crash", 0, 1, async { Cass::open(config) }).await?;
    let grant = cass.grant("throughput".to_owned()).await?;
    let results = cass.results(grant);
    timed("look up from the index", 0, SMALL, async {
        for batch in keys.chunks(1000) {
            results.lookup(batch.to_vec()).await?;
        }
        Ok::<_, ServiceError>(())
    })
    .await?;
    cass.close().await?;
    Ok(())
}

fn place_file(path: &str, digest: Digest, mode: PlaceMode) -> Outcome<PlaceFile> {
    Ok(PlaceFile {
        path: RelPath::new(path)?,
        digest,
        executable: false,
        mode,
    })
}
