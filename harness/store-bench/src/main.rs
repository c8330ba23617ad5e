//! Measures a store alone, over a Unix socket; prints its figures as JSON for `cargo xtask bench`.

use std::fs::File;
use std::io::Write;
use std::time::Instant;

use serde_json::json;
use tokio::runtime::Runtime;
use vx_core::service::{BlobReader, BlobWriter, MAX_BATCH};
use vx_core::{Digest, Hasher, Store};
use vx_harness::{Daemon, Env};
use vx_rpc::{Endpoint, Hub, Secret};

/// The large blob's size in bytes.
const LARGE: u64 = 1 << 30;

/// Pieces it travels in, in bytes.
const PIECE: usize = 256 * 1024;

/// How often each large transfer is measured.
const ROUNDS: u64 = 5;

/// Small blobs, and the size of each in bytes.
const SMALL: u64 = 10_000;
const SMALL_SIZE: usize = 1024;

/// How often each batch of small blobs is measured.
const SMALL_ROUNDS: u64 = 3;

/// Calls that are measured, after some that are not.
const CALLS: usize = 2_000;
const WARM_UP: usize = 200;

type Figures<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Figures<()> {
    let env = Env::new();
    let store = env.root().join("store");
    let endpoint: Endpoint = format!("unix:{}", env.root().join("bench.sock").display()).parse()?;
    let _daemon = Daemon::cass(&env, &store, &endpoint.to_string())?;
    let secret = Secret::read(&store.join("secret"))?;
    let runtime = Runtime::new()?;
    let figures = runtime.block_on(async {
        let hub = Hub::start("vx-bench", runtime.handle().clone())?;
        let cass = hub.connect_cass(&endpoint, &secret).await?;
        let granted = cass.grant("bench").await?;
        measure(&env, &granted.store).await
    })?;
    println!("{figures:#}");
    Ok(())
}

async fn measure(env: &Env, store: &dyn Store) -> Figures<serde_json::Value> {
    let (mut file, mut taken, mut given) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // In turns, so that whatever else the machine does falls on all of them.
        file.push(write_and_hash(env, round)?);
        let (seconds, digest) = put(store, round).await?;
        taken.push(seconds);
        given.push(get(store, digest).await?);
    }
    let (mut small_in, mut small_out) = (Vec::new(), Vec::new());
    for round in 0..SMALL_ROUNDS {
        let (put, got) = small(store, round).await?;
        small_in.push(put);
        small_out.push(got);
    }
    Ok(json!({
        "large_bytes": LARGE,
        "file_seconds": file,
        "in_seconds": taken,
        "out_seconds": given,
        "small_count": SMALL,
        "small_in_seconds": small_in,
        "small_out_seconds": small_out,
        "call_seconds": calls(store).await?,
    }))
}

/// A piece of a blob that no other round has, and that does not compress to nothing.
fn piece(round: u64, index: u64, into: &mut [u8]) {
    let mut state = (round << 32 | index).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for word in into.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
}

/// Every piece, made before the clock starts.
fn pieces(round: u64) -> Vec<bytes::Bytes> {
    (0..LARGE / PIECE as u64)
        .map(|index| {
            let mut piece_bytes = vec![0; PIECE];
            piece(round, index, &mut piece_bytes);
            piece_bytes.into()
        })
        .collect()
}

/// What the store is held against: the same bytes, written to a file and hashed here.
fn write_and_hash(env: &Env, round: u64) -> Figures<f64> {
    let pieces = pieces(round);
    let path = env.root().join("file");
    let start = Instant::now();
    let mut file = File::create(&path)?;
    let mut hasher = Hasher::new();
    for piece in &pieces {
        file.write_all(piece)?;
        hasher.update(piece);
    }
    std::hint::black_box(hasher.finish());
    let seconds = start.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok(seconds)
}

async fn put(store: &dyn Store, round: u64) -> Figures<(f64, Digest)> {
    let pieces = pieces(round);
    let start = Instant::now();
    let mut writer: Box<dyn BlobWriter> = store.write().await?;
    for piece in pieces {
        writer.write(piece).await?;
    }
    let blob = writer.finish().await?;
    assert_eq!(blob.size, LARGE, "the store took something else");
    Ok((start.elapsed().as_secs_f64(), blob.digest))
}

async fn get(store: &dyn Store, digest: Digest) -> Figures<f64> {
    let start = Instant::now();
    let mut reader: Box<dyn BlobReader> = store.read(digest, 0).await?.ok_or("the blob is gone")?;
    let mut size = 0;
    while let Some(piece) = reader.next().await? {
        size += piece.len() as u64;
    }
    assert_eq!(size, LARGE, "the store gave something else");
    Ok(start.elapsed().as_secs_f64())
}

async fn small(store: &dyn Store, round: u64) -> Figures<(f64, f64)> {
    let blobs: Vec<bytes::Bytes> = (0..SMALL)
        .map(|index| {
            let mut content = vec![0; SMALL_SIZE];
            piece(round + ROUNDS, index, &mut content);
            content.into()
        })
        .collect();
    let start = Instant::now();
    let mut digests = Vec::new();
    for batch in blobs.chunks(MAX_BATCH) {
        digests.extend(store.write_small(batch.to_vec()).await?);
    }
    let taken = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for (batch, content) in digests.chunks(MAX_BATCH).zip(blobs.chunks(MAX_BATCH)) {
        let got = store.read_small(batch.to_vec()).await?;
        assert!(
            got.iter()
                .zip(content)
                .all(|(got, content)| got.as_ref() == Some(content))
        );
    }
    Ok((taken, start.elapsed().as_secs_f64()))
}

async fn calls(store: &dyn Store) -> Figures<Vec<f64>> {
    let digest = Digest::of(b"a blob that is not there");
    let mut seconds = Vec::with_capacity(CALLS);
    for call in 0..WARM_UP + CALLS {
        let start = Instant::now();
        std::hint::black_box(store.missing(vec![digest]).await?);
        if call >= WARM_UP {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    Ok(seconds)
}
