//! Gives every message its place: `Seq`, second and tag, strictly growing whatever the clock does.

use crate::clock::Now;
use crate::message::{Seq, Stamp};

/// More stamps than a process gives in the time until it has saved one of them.
const UNSAVED_MAX: u64 = 10_000_000;

/// The one source of stamps. Remembers only the last one it gave.
#[derive(Debug)]
pub struct Sequencer {
    last: Stamp,
}

impl Sequencer {
    /// Starts at the clock's microsecond, so that stamps of an earlier process are smaller even within one second:
    /// `Seq` starts there, and in the first second tags start at 1,000 times the microsecond.
    pub fn start(now: Now) -> Sequencer {
        let tag = (now.unix_micros % 1_000_000) as u32 * 1_000;
        Sequencer { last: Stamp { seq: Seq(now.unix_micros), seconds: now.unix_seconds(), tag } }
    }

    /// Starts above everything that an earlier process gave, of which it left one of the newest stamps: `Seq` goes on far
    /// enough behind it, and a second that the clock has not reached again is followed by the next one.
    pub fn resume(now: Now, left: Stamp) -> Sequencer {
        let mut last = Sequencer::start(now).last;
        last.seq = last.seq.max(Seq(left.seq.0 + UNSAVED_MAX));
        if last.position() <= left.position() {
            last.seconds = left.seconds + 1;
        }
        Sequencer { last }
    }

    /// The newest stamp given. Before the first message: the stamp at which history begins.
    pub fn last(&self) -> Stamp {
        self.last
    }

    /// The stamp of the next message.
    pub fn stamp(&mut self, now: Now) -> Stamp {
        let seq = self.next_seq();
        let Stamp { seconds, tag, .. } = self.last;
        self.last = if now.unix_seconds() > seconds {
            Stamp { seq, seconds: now.unix_seconds(), tag: 1 }
        } else {
            match tag.checked_add(1) {
                Some(tag) => Stamp { seq, seconds, tag },
                // Four thousand million messages while the clock stood still: time moves without it.
                None => Stamp { seq, seconds: seconds + 1, tag: 1 },
            }
        };
        self.last
    }

    /// Enters the clock's second if it is a later one: `(n, 0)`, the now cursor of a second without messages.
    pub fn enter_second(&mut self, now: Now) -> Option<Stamp> {
        if now.unix_seconds() <= self.last.seconds {
            return None;
        }
        self.last = Stamp { seq: self.next_seq(), seconds: now.unix_seconds(), tag: 0 };
        Some(self.last)
    }

    /// A place of its own in the order that shows the position it stands at: for control messages.
    pub fn mark(&mut self, now: Now) -> Stamp {
        self.enter_second(now);
        self.last.seq = self.next_seq();
        self.last
    }

    fn next_seq(&self) -> Seq {
        Seq(self.last.seq.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(unix_micros: u64) -> Now {
        Now { micros: 0, unix_micros }
    }

    #[test]
    fn the_first_stamps_of_a_process_are_above_those_of_one_that_ended_a_moment_ago() {
        let mut first = Sequencer::start(at(5_000_100));
        assert_eq!(first.last(), Stamp { seq: Seq(5_000_100), seconds: 5, tag: 100_000 });
        let before = (0..900).map(|_| first.stamp(at(5_000_100))).last().unwrap();
        let second = Sequencer::start(at(5_000_101)).stamp(at(5_000_101));
        assert!(second.position() > before.position());
        assert_eq!(second.position(), (5, 101_001));
    }

    #[test]
    fn a_process_goes_on_above_what_an_earlier_one_left_whatever_the_clock_says() {
        let left = Stamp { seq: Seq(5_000_900), seconds: 5, tag: 900_007 };
        let begin = |unix_micros| {
            let last = Sequencer::resume(at(unix_micros), left).last();
            (last.seq.0, last.seconds, last.tag)
        };
        assert_eq!(begin(90_000_250), (90_000_250, 90, 250_000), "the clock went on");
        assert_eq!(begin(5_000_901), (15_000_900, 5, 901_000), "within the second");
        assert_eq!(begin(5_000_900), (15_000_900, 6, 900_000), "the tag was given");
        assert_eq!(begin(4_999_999), (15_000_900, 6, 999_999_000), "the clock stepped back");
        assert_eq!(begin(0), (15_000_900, 6, 0));
    }

    #[test]
    fn tags_count_within_a_second_and_restart_at_one_when_it_moves() {
        let mut sequencer = Sequencer::start(at(5_000_000));
        let positions = [5_000_000, 5_500_000, 6_000_000, 6_999_999, 7_000_000].map(|t| sequencer.stamp(at(t)).position());
        assert_eq!(positions, [(5, 1), (5, 2), (6, 1), (6, 2), (7, 1)]);
    }

    #[test]
    fn a_clock_that_steps_back_never_breaks_the_order() {
        let mut sequencer = Sequencer::start(at(9_000_000));
        let mut last = sequencer.last();
        for t in [9_100_000, 3_000_000, 1, 8_999_999, 9_000_000, 10_000_000, 2_000_000] {
            let stamp = sequencer.stamp(at(t));
            assert!(stamp.seq > last.seq && stamp.position() > last.position(), "{stamp:?} after {last:?}");
            last = stamp;
        }
        assert_eq!(last.position(), (10, 2));
    }

    #[test]
    fn entering_a_second_gives_tag_zero_once_and_the_first_message_of_it_tag_one() {
        let mut sequencer = Sequencer::start(at(5_000_000));
        assert_eq!(sequencer.enter_second(at(5_900_000)), None);
        assert_eq!(sequencer.enter_second(at(6_000_000)).unwrap().position(), (6, 0));
        assert_eq!(sequencer.enter_second(at(6_100_000)), None);
        assert_eq!(sequencer.stamp(at(6_200_000)).position(), (6, 1));
    }

    #[test]
    fn a_mark_takes_a_place_but_no_tag() {
        let mut sequencer = Sequencer::start(at(5_000_000));
        let message = sequencer.stamp(at(5_000_000));
        let mark = sequencer.mark(at(5_000_000));
        assert!(mark.seq > message.seq);
        assert_eq!(mark.position(), message.position());
        assert_eq!(sequencer.mark(at(6_000_000)).position(), (6, 0));
    }

    #[test]
    fn tags_that_run_out_move_the_second() {
        let mut sequencer = Sequencer { last: Stamp { seq: Seq(1), seconds: 5, tag: u32::MAX } };
        assert_eq!(sequencer.stamp(at(5_000_000)).position(), (6, 1));
    }
}
