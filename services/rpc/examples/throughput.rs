//! How fast a call and a stream are: `cargo run --release -p vx-rpc --features contract --example throughput`.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use vx_core::{
    Blob, BlobReader, BlobWriter, Digest, GrantId, Holder, PlaceOutcome, PlaceRequest, Results,
    ServiceResult, Store, StoreService, StoreStatus,
};
use vx_rpc::contract::MemoryStore;
use vx_rpc::{Hub, Secret, Server};

const TOTAL: usize = 1024 * 1024 * 1024;

/// Gives and takes bytes without looking at them, so that only the wire is measured.
struct Void(MemoryStore);

struct Zeros {
    left: usize,
    piece: Bytes,
}

struct Sink(u64);

#[async_trait]
impl StoreService for Void {
    async fn grant(&self, label: String) -> ServiceResult<GrantId> {
        self.0.grant(label).await
    }
    async fn release(&self, grant: GrantId) {
        self.0.release(grant).await;
    }
    fn store(&self, _: GrantId, _: Holder) -> Arc<dyn Store> {
        Arc::new(Self(self.0.clone()))
    }
    fn results(&self, grant: GrantId) -> Arc<dyn Results> {
        self.0.results(grant)
    }
    async fn status(&self) -> ServiceResult<StoreStatus> {
        StoreService::status(&self.0).await
    }
}

#[async_trait]
impl Store for Void {
    async fn missing(&self, digests: Vec<Digest>) -> ServiceResult<Vec<Digest>> {
        Ok(digests)
    }
    async fn read(&self, _: Digest, _: u64) -> ServiceResult<Option<Box<dyn BlobReader>>> {
        Ok(Some(Box::new(Zeros {
            left: TOTAL,
            piece: Bytes::from(vec![0; 512 * 1024]),
        })))
    }
    async fn write(&self) -> ServiceResult<Box<dyn BlobWriter>> {
        Ok(Box::new(Sink(0)))
    }
    async fn read_small(&self, digests: Vec<Digest>) -> ServiceResult<Vec<Option<Bytes>>> {
        Ok(vec![None; digests.len()])
    }
    async fn write_small(&self, blobs: Vec<Bytes>) -> ServiceResult<Vec<Digest>> {
        Ok(blobs.iter().map(|blob| Digest::of(blob)).collect())
    }
    async fn place(&self, _: PlaceRequest) -> ServiceResult<PlaceOutcome> {
        Ok(PlaceOutcome::Unavailable(String::new()))
    }
}

#[async_trait]
impl BlobReader for Zeros {
    fn size(&self) -> u64 {
        TOTAL as u64
    }
    async fn next(&mut self) -> ServiceResult<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= self.piece.len();
        Ok(Some(self.piece.clone()))
    }
}

#[async_trait]
impl BlobWriter for Sink {
    async fn write(&mut self, piece: Bytes) -> ServiceResult<()> {
        self.0 += piece.len() as u64;
        Ok(())
    }
    async fn finish(self: Box<Self>) -> ServiceResult<Blob> {
        Ok(Blob {
            digest: Digest::of(b""),
            size: self.0,
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::temp_dir().join(format!("vx-throughput-{}", std::process::id()));
    let secret = Secret::random()?;
    let endpoint = vx_rpc::Endpoint::unix(directory.join("cass.sock"))?;
    let server = Server::builder("vx-cass", endpoint, secret.clone())
        .serve_store(Arc::new(Void(MemoryStore::new())))
        .start()
        .await?;
    let hub = Hub::start("vx-throughput", tokio::runtime::Handle::current())?;
    let granted = hub
        .connect_cass(server.endpoint(), &secret)
        .await?
        .grant("throughput")
        .await?;
    let store = granted.store;
    let digest = Digest::of(b"any");

    let mut times = Vec::new();
    for _ in 0..5000 {
        let start = Instant::now();
        store.missing(vec![digest]).await?;
        times.push(start.elapsed());
    }
    times.sort();
    println!(
        "call: median {:?}, 99th of 100 {:?}",
        times[2500], times[4950]
    );

    for turn in 0..3 {
        let start = Instant::now();
        let mut reader = store.read(digest, 0).await?.ok_or("missing")?;
        let mut read = 0;
        while let Some(piece) = reader.next().await? {
            read += piece.len();
        }
        report("out", turn, read, start);
        let start = Instant::now();
        let mut writer = store.write().await?;
        let piece = Bytes::from(vec![0; 512 * 1024]);
        for _ in 0..TOTAL / piece.len() {
            writer.write(piece.clone()).await?;
        }
        let blob = writer.finish().await?;
        report("in", turn, blob.size as usize, start);
    }
    server.shutdown().await;
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

fn report(what: &str, turn: usize, bytes: usize, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{what} {turn}: {bytes} bytes, {:.2} GB/s",
        bytes as f64 / seconds / 1e9
    );
}
