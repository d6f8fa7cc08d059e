//! A seeded generator: randomised election timeouts (§5.2) without a hidden input.
//!
//! `SplitMix64`, enough to spread timeouts; nothing here is a secret.

use core::time::Duration;

/// Same seed, same numbers.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// Starts from a seed the host drew.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A span in `[min, max)`; `min` if the interval is empty.
    pub(crate) fn span(&mut self, min: Duration, max: Duration) -> Duration {
        let width = max.saturating_sub(min).as_nanos();
        if width == 0 {
            return min;
        }
        let offset = u128::from(self.next_u64()) % width;
        min + Duration::from_nanos(u64::try_from(offset).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Equal seeds give equal numbers, and spans stay inside their interval.
    #[test]
    fn same_seed_same_spans_inside_the_interval() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        let (min, max) = (Duration::from_millis(150), Duration::from_millis(300));
        for _ in 0..1000 {
            let span = a.span(min, max);
            assert_eq!(span, b.span(min, max));
            assert!(span >= min && span < max, "{span:?} is outside the interval");
        }
        assert_eq!(a.span(max, max), max);
    }
}
