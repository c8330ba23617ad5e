//! The store alone. The measuring client is a program of its own, since it has to be
//! optimised and speaks the store's protocol; this only runs it.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::stats::Summary;
use crate::{programs, workspace};

/// What the `vx-store-bench` measured.
#[derive(Serialize, Deserialize)]
pub(super) struct StoreFigures {
    /// Bytes of the large blob.
    pub(super) large_bytes: u64,
    /// Seconds to write and hash a file of that size in one process, each time.
    pub(super) file_seconds: Vec<f64>,
    /// Seconds to stream the blob in.
    pub(super) in_seconds: Vec<f64>,
    /// Seconds to stream it out.
    pub(super) out_seconds: Vec<f64>,
    /// How many small blobs.
    pub(super) small_count: u64,
    /// Seconds to put them in.
    pub(super) small_in_seconds: Vec<f64>,
    /// Seconds to get them.
    pub(super) small_out_seconds: Vec<f64>,
    /// Seconds of one call and its answer.
    pub(super) call_seconds: Vec<f64>,
}

pub(super) fn measure() -> Result<StoreFigures> {
    let bin = programs::release()?;
    let text = workspace::read(
        workspace::cargo()
            .args(["run", "--release", "--quiet", "-p", "vx-store-bench"])
            .env("VX_BIN_DIR", bin)
            // Only programs of one build talk to each other.
            .env("VX_BUILD_ID", programs::build_id()?),
    )?;
    serde_json::from_str(&text).context("vx-store-bench printed something else than its figures")
}

impl StoreFigures {
    /// As text.
    pub(super) fn render(&self) -> String {
        let median =
            |samples: &[f64]| Summary::of(samples).map_or(f64::NAN, |summary| summary.median);
        let ratio = |own: &[f64]| {
            let ratios: Vec<f64> = own
                .iter()
                .zip(&self.file_seconds)
                .map(|(own, file)| file / own)
                .collect();
            median(&ratios)
        };
        let speed = |samples: &[f64]| self.large_bytes as f64 / 1e9 / median(samples);
        format!(
            "\nthe store alone, over a Unix socket\n  \
             write and hash a file  {:7.2} GB/s\n  \
             large blob in          {:7.2} GB/s   {:.2} of that speed, at least 0.5 is wanted\n  \
             large blob out         {:7.2} GB/s   {:.2} of its speed in, at least 1 is wanted\n  \
             {} small blobs    {:.3} s in, {:.3} s out\n  \
             a call's round trip    {:7.1} µs     under 150 is wanted\n",
            speed(&self.file_seconds),
            speed(&self.in_seconds),
            ratio(&self.in_seconds),
            speed(&self.out_seconds),
            median(&self.in_seconds) / median(&self.out_seconds),
            self.small_count,
            median(&self.small_in_seconds),
            median(&self.small_out_seconds),
            median(&self.call_seconds) * 1e6,
        )
    }
}
