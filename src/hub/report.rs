//! What the server holds at one instant, counted.

use crate::exchange::{ReactorRow, Report, Selection, TopicId, TopicRow};
use crate::hub::Hub;
use crate::hub::topic::Topic;

impl Hub {
    /// Sums and the chosen rows. The server's own topics are left out of both.
    pub(super) fn report(&mut self, selection: &Selection) -> Report {
        let ids: Vec<TopicId> = match selection {
            Selection::Sums => Vec::new(),
            Selection::Names(names) => {
                names.iter().filter(|name| !name.is_reserved()).filter_map(|name| self.topics.find(name)).collect()
            }
            Selection::Prefix(prefix) => {
                let wanted = |topic: &Topic| !topic.name.is_reserved() && topic.name.as_str().starts_with(&**prefix);
                let mut found: Vec<_> = self.topics.iter().filter(|(_, topic)| wanted(topic)).collect();
                found.sort_unstable_by(|(_, one), (_, other)| one.name.cmp(&other.name));
                found.into_iter().map(|(id, _)| id).collect()
            }
        };
        for &id in &ids {
            self.trim(id);
        }
        let rows = ids.iter().filter_map(|&id| self.topics.get(id)).map(|topic| TopicRow {
            name: topic.name.clone(),
            published: topic.published,
            stored: topic.log.len() as u64,
            subscribers: u64::from(topic.subscribers),
        });
        let rows = rows.collect();
        let seconds = |since: u64| (self.now.micros - since) / 1_000_000;
        let reactors = self.reactors.iter().map(|reactor| ReactorRow {
            thread: reactor.thread,
            subscribers: reactor.subscribers,
            uptime_seconds: seconds(reactor.started),
        });
        Report {
            unix_seconds: self.released.seconds,
            uptime_seconds: seconds(self.started),
            topics: self.totals.topics,
            wildcard_topics: self.totals.wildcard_topics,
            published: self.totals.published,
            stored: self.totals.stored,
            reactors: reactors.collect(),
            rows,
        }
    }
}
