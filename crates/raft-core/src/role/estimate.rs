//! A smoothed span with its deviation, as TCP estimates round trips (RFC 6298, without clock
//! grain).

use core::time::Duration;

/// How long something lately took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Estimate {
    mean: Option<Duration>,
    deviation: Duration,
}

impl Estimate {
    /// It took so long this time.
    pub(super) fn add(&mut self, sample: Duration) {
        let Some(mean) = self.mean else {
            (self.mean, self.deviation) = (Some(sample), sample / 2);
            return;
        };
        self.deviation = (3 * self.deviation + sample.abs_diff(mean)) / 4;
        self.mean = Some((7 * mean + sample) / 8);
    }

    /// It hardly ever takes longer; whole microseconds, zero before the first time.
    pub(super) fn bound(&self) -> Duration {
        let bound = self.mean.unwrap_or_default() + 4 * self.deviation;
        Duration::from_micros(u64::try_from(bound.as_micros()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A steady span is bounded closely, a jump is followed within a few samples.
    #[test]
    fn the_bound_follows_what_is_measured() {
        let mut estimate = Estimate::default();
        assert_eq!(estimate.bound(), Duration::ZERO);
        for _ in 0..50 {
            estimate.add(Duration::from_millis(10));
        }
        assert!(estimate.bound() < Duration::from_millis(11), "{estimate:?}");
        for _ in 0..8 {
            estimate.add(Duration::from_millis(80));
        }
        assert!(estimate.bound() > Duration::from_millis(80), "{estimate:?}");
    }
}
