//! The clocks of a node: each goes at its own rate, and may stop with its machine or jump ahead.
//!
//! A world has one time; a node never sees it. Read next: `world.rs`.

use raft_core::Time;

/// A monotonic clock that drifts.
#[derive(Clone, Debug)]
pub(crate) struct NodeClock {
    world: u64,
    local: u64,
    /// Nanoseconds of this clock in a million of the world.
    rate: u64,
    is_frozen: bool,
    /// How it went before: from when on, what it showed then, how fast it went.
    past: Vec<(u64, u64, u64)>,
}

/// Changes of a clock that are remembered.
const PAST_MAX: usize = 256;

/// A clock that goes right.
pub(crate) const TRUE_RATE: u64 = 1_000_000;

impl NodeClock {
    pub(crate) const fn new() -> Self {
        Self { world: 0, local: 0, rate: TRUE_RATE, is_frozen: false, past: Vec::new() }
    }

    /// What it shows at a moment of the world.
    pub(crate) fn at(&self, world: u64) -> Time {
        Time::from_nanos(self.nanos(world))
    }

    fn nanos(&self, world: u64) -> u64 {
        if self.is_frozen {
            return self.local;
        }
        let passed = u128::from(world.saturating_sub(self.world));
        let passed = passed * u128::from(self.rate) / u128::from(TRUE_RATE);
        self.local + u64::try_from(passed).unwrap_or(u64::MAX / 4)
    }

    /// The moment of the world at which it will show this time at last; `None` for never.
    pub(crate) fn when(&self, local: Time) -> Option<u64> {
        if local == Time::NEVER || self.is_frozen {
            return None;
        }
        let left = u128::from(local.as_nanos().saturating_sub(self.local));
        let left = (left * u128::from(TRUE_RATE)).div_ceil(u128::from(self.rate));
        u64::try_from(left).ok().map(|left| self.world.saturating_add(left))
    }

    /// The first moment of the world at which it showed this time, as far as it is remembered.
    pub(crate) fn first_at(&self, local: Time) -> u64 {
        let local = local.as_nanos();
        let rate = if self.is_frozen { 0 } else { self.rate };
        let present = (self.world, self.local, rate);
        let before = self.past.iter().chain([&present]).rev().find(|(_, then, _)| *then < local);
        let Some((world, then, rate)) = before else { return 0 };
        // A clock that stood still, or jumped over it, showed it when it went on.
        let left = u128::from(local - then) * u128::from(TRUE_RATE) / u128::from((*rate).max(1));
        let last = self.past.iter().chain([&present]).find(|(next, ..)| next > world);
        let end = last.map_or(u64::MAX, |(next, ..)| *next);
        world.saturating_add(u64::try_from(left).unwrap_or(u64::MAX)).min(end)
    }

    fn anchor(&mut self, world: u64) {
        if self.past.len() == PAST_MAX {
            self.past.remove(0);
        }
        let rate = if self.is_frozen { 0 } else { self.rate };
        self.past.push((self.world, self.local, rate));
        (self.local, self.world) = (self.nanos(world), world);
    }

    pub(crate) fn set_rate(&mut self, world: u64, rate: u64) {
        self.anchor(world);
        self.rate = rate;
    }

    /// Jumps ahead, as after a suspended machine wakes.
    pub(crate) fn jump(&mut self, world: u64, nanos: u64) {
        self.anchor(world);
        self.local += nanos;
    }

    pub(crate) fn freeze(&mut self, world: u64) {
        self.anchor(world);
        self.is_frozen = true;
    }

    pub(crate) fn thaw(&mut self, world: u64) {
        self.anchor(world);
        self.is_frozen = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A deadline is reached exactly when the world says so, whatever the rate, and never before.
    #[test]
    fn a_deadline_is_reached_when_told() {
        for rate in [500_000, 999_999, TRUE_RATE, 1_999_999] {
            let mut clock = NodeClock::new();
            clock.set_rate(1000, rate);
            let deadline = Time::from_nanos(1_234_567);
            let when = clock.when(deadline).expect("it comes");
            assert!(clock.at(when) >= deadline && clock.at(when - 2) < deadline, "{rate}");
        }
    }

    /// A frozen clock stands still and goes on from where it stood.
    #[test]
    fn a_frozen_clock_stands_still() {
        let mut clock = NodeClock::new();
        clock.freeze(10);
        assert_eq!(clock.at(1_000), Time::from_nanos(10));
        clock.thaw(1_000);
        assert_eq!(clock.at(1_005), Time::from_nanos(15));
        clock.jump(1_005, 100);
        assert_eq!(clock.at(1_005), Time::from_nanos(115));
        let first = |local| clock.first_at(Time::from_nanos(local));
        assert_eq!((first(5), first(10), first(14), first(50)), (5, 10, 1_004, 1_005));
    }
}
