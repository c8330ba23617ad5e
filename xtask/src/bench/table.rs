//! The figures as text.

use std::fmt::Write;

use super::project::{Measured, Row};
use super::stats::Summary;

/// A table with a section a row.
pub(super) fn render(measured: &Measured) -> String {
    let mut out = format!(
        "\n{}, dev profile, incremental off, sources fetched, {} processors\n",
        measured.project, measured.processors
    );
    for row in &measured.rows {
        render_row(&mut out, row);
    }
    if let Some(store) = &measured.store {
        out.push_str(&store.render());
    }
    out
}

fn render_row(out: &mut String, row: &Row) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "\n{} ({})", row.name, row.state);
    for timing in &row.tools {
        let _ = write!(out, "  {:8} {}", timing.tool, seconds(&timing.summary));
        if let Some(ratio) = &timing.ratio {
            let _ = write!(
                out,
                "   ratio {:.4} [{:.4}, {:.4}] to {}",
                ratio.median, ratio.lower, ratio.upper, row.against
            );
            if let Some(limit) = row.limit.filter(|_| timing.tool == "vx") {
                let verdict = if ratio.lower > limit {
                    "OVER"
                } else {
                    "within"
                };
                let _ = write!(out, "   {verdict} {limit}");
            }
        }
        out.push('\n');
    }
}

fn seconds(summary: &Summary) -> String {
    format!(
        "{:9.4} s [{:.4}, {:.4}] of {}",
        summary.median, summary.lower, summary.upper, summary.count
    )
}
