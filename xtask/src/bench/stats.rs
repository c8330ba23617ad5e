//! Medians and quartiles of few samples.

use serde::Serialize;

/// A sample's middle and spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    /// Samples.
    pub(super) count: usize,
    /// A quarter lies below.
    pub(super) lower: f64,
    /// Half lies below.
    pub(super) median: f64,
    /// Three quarters lie below.
    pub(super) upper: f64,
}

impl Summary {
    /// Of at least one sample; `None` of none.
    pub(super) fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            count: sorted.len(),
            lower: quantile(&sorted, 0.25)?,
            median: quantile(&sorted, 0.5)?,
            upper: quantile(&sorted, 0.75)?,
        })
    }
}

/// The quantile of sorted samples, interpolated between neighbours.
fn quantile(sorted: &[f64], fraction: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = fraction * last as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (position - position.floor()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_interpolate() {
        let summary = Summary::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(
            (summary.lower, summary.median, summary.upper),
            (1.75, 2.5, 3.25)
        );
        assert!(Summary::of(&[]).is_none());
    }
}
