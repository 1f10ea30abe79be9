//! The timer wheel: lazy and hashed, 100 ms per slot, four bytes per entry.
//!
//! An entry only says "look at this connection when that tick comes". What is due, and whether anything is, the
//! connection knows itself; moving a deadline back costs nothing until its old entry comes up.

/// Microseconds of one slot.
pub use crate::pace::TICK_MICROS;

const SLOTS: u64 = 1024;

/// The first tick at or after an instant in monotonic microseconds.
pub fn tick_at(micros: u64) -> u32 {
    u32::try_from(micros.div_ceil(TICK_MICROS)).unwrap_or(u32::MAX)
}

/// The last tick that has begun at an instant.
pub fn tick_of(micros: u64) -> u32 {
    u32::try_from(micros / TICK_MICROS).unwrap_or(u32::MAX)
}

pub struct Wheel {
    slots: Vec<Vec<u32>>,
    /// Every tick up to this one has been looked at.
    done: u32,
    entries: usize,
}

impl Wheel {
    pub fn new(now_micros: u64) -> Wheel {
        Wheel { slots: (0..SLOTS).map(|_| Vec::new()).collect(), done: tick_of(now_micros), entries: 0 }
    }

    /// Enters `key` for `tick`, or for the next tick if that one has passed. Returns the tick it stands under.
    pub fn insert(&mut self, key: u32, tick: u32) -> u32 {
        let tick = tick.max(self.done.saturating_add(1));
        self.slots[slot(tick)].push(key);
        self.entries += 1;
        tick
    }

    /// Takes out everything whose slot came up until now: `(key, tick)`. A key whose real tick is a later round of the
    /// same slot has to be entered again by the caller, who knows its tick.
    pub fn advance(&mut self, now_micros: u64, due: &mut Vec<(u32, u32)>) {
        let now = tick_of(now_micros);
        // After a long sleep every slot comes up once, not once per round.
        let first = self.done.saturating_add(1).max(now.saturating_sub(SLOTS as u32 - 1));
        for tick in first..=now {
            let taken = std::mem::take(&mut self.slots[slot(tick)]);
            self.entries -= taken.len();
            due.extend(taken.into_iter().map(|key| (key, tick)));
        }
        self.done = self.done.max(now);
    }

    /// The next instant, in microseconds, at which a slot with entries comes up.
    pub fn next_micros(&self) -> Option<u64> {
        if self.entries == 0 {
            return None;
        }
        (1..=SLOTS)
            .map(|ahead| u64::from(self.done) + ahead)
            .find(|&tick| !self.slots[(tick % SLOTS) as usize].is_empty())
            .map(|tick| tick * TICK_MICROS)
    }
}

fn slot(tick: u32) -> usize {
    (u64::from(tick) % SLOTS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn xorshift(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    /// Entries come up at their tick and never before, whatever rounds and sleeps lie between.
    #[test]
    fn the_wheel_agrees_with_a_sorted_map() {
        for seed in 1..100u64 {
            let mut random = seed * 0x9E37_79B9;
            let mut wheel = Wheel::new(0);
            let mut ticks: Vec<u32> = Vec::new();
            let mut sorted: BTreeMap<(u32, u32), ()> = BTreeMap::new();
            let mut micros = 0;
            for _ in 0..300 {
                if xorshift(&mut random).is_multiple_of(2) {
                    let key = ticks.len() as u32;
                    let tick = wheel.insert(key, tick_at(micros + xorshift(&mut random) % 300_000_000));
                    ticks.push(tick);
                    sorted.insert((tick, key), ());
                } else {
                    micros +=
                        xorshift(&mut random) % if xorshift(&mut random).is_multiple_of(10) { 400_000_000 } else { 3_000_000 };
                    let mut due = Vec::new();
                    wheel.advance(micros, &mut due);
                    let mut fired: Vec<u32> = Vec::new();
                    for (key, _) in due {
                        if ticks[key as usize] <= tick_of(micros) {
                            fired.push(key);
                        } else {
                            wheel.insert(key, ticks[key as usize]);
                        }
                    }
                    let later = sorted.split_off(&(tick_of(micros) + 1, 0));
                    let mut expected: Vec<u32> = std::mem::replace(&mut sorted, later).into_keys().map(|(_, key)| key).collect();
                    fired.sort_unstable();
                    expected.sort_unstable();
                    assert_eq!(fired, expected, "seed {seed}");
                    if let Some(next) = wheel.next_micros() {
                        assert!(
                            next > micros && sorted.keys().next().is_some_and(|&(tick, _)| next <= u64::from(tick) * TICK_MICROS)
                        );
                    } else {
                        assert!(sorted.is_empty(), "seed {seed}");
                    }
                }
            }
        }
    }
}
