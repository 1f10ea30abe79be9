//! Who listens to what: which messages each connection must see, worked out from numbers alone.
use std::ops::Range;

/// Message `n` goes to topic `n` modulo topics; connection `i` listens to `per_connection` topics from `i` modulo topics on, round the end.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// At least 1.
    pub topics: u32,
    /// From 1 to `topics`.
    pub per_connection: u32,
}

impl Layout {
    /// One number names the message and its topic.
    pub fn topic_of(self, number: u64) -> u32 {
        (number % u64::from(self.topics)) as u32
    }

    pub fn topics_of(self, connection: u32) -> impl Iterator<Item = u32> {
        let first = connection % self.topics;
        (0..self.per_connection).map(move |at| (first + at) % self.topics)
    }

    pub fn listens(self, connection: u32, number: u64) -> bool {
        self.phase(connection, number) % u64::from(self.topics) < u64::from(self.per_connection)
    }

    /// The first message from `number` on that the connection must see.
    pub fn following(self, connection: u32, number: u64) -> u64 {
        let topics = u64::from(self.topics);
        let phase = self.phase(connection, number) % topics;
        if phase < u64::from(self.per_connection) { number } else { number + topics - phase }
    }

    /// How many of `numbers` the connection must see.
    pub fn count(self, connection: u32, numbers: Range<u64>) -> u64 {
        let (topics, per_connection) = (u64::from(self.topics), u64::from(self.per_connection));
        let below = |phase: u64| phase / topics * per_connection + (phase % topics).min(per_connection);
        below(self.phase(connection, numbers.end)) - below(self.phase(connection, numbers.start))
    }

    /// How many of the first `connections` must see message `number`.
    pub fn subscribers(self, connections: u32, number: u64) -> u32 {
        let (topics, topic) = (self.topics, self.topic_of(number));
        let starting_at = |first: u32| connections / topics + u32::from(first < connections % topics);
        (0..self.per_connection).map(|back| starting_at((topic + topics - back) % topics)).sum()
    }

    /// Numbers as the connection sees them: its own topics come first in each turn.
    fn phase(self, connection: u32, number: u64) -> u64 {
        number + u64::from(self.topics - connection % self.topics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_ways_say_the_same_as_looking_at_every_topic() {
        for (topics, per_connection) in [(1, 1), (3, 1), (5, 2), (7, 7), (10, 9)] {
            let layout = Layout { topics, per_connection };
            for connection in 0..23 {
                let own: Vec<u32> = layout.topics_of(connection).collect();
                let listens = |number: u64| own.contains(&layout.topic_of(number));
                for number in 0..40 {
                    assert_eq!(layout.listens(connection, number), listens(number));
                    assert_eq!(layout.following(connection, number), (number..).find(|at| listens(*at)).expect("some"));
                    let counted = (number..40).filter(|at| listens(*at)).count() as u64;
                    assert_eq!(layout.count(connection, number..40), counted);
                }
            }
            for number in 0..20 {
                let listening = (0..23).filter(|connection| layout.listens(*connection, number)).count();
                assert_eq!(layout.subscribers(23, number), listening as u32, "{layout:?} {number}");
            }
        }
    }
}
