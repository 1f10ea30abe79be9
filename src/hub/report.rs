//! What the server holds at one instant, counted.

use crate::exchange::{ReactorRow, Report, Selection, TopicId, TopicRow};
use crate::hub::topic::Topic;
use crate::hub::{Hub, Window};

impl Hub {
    /// Sums and the chosen rows. The server's own topics are left out of both.
    ///
    /// What is stored beyond the reach of statistics is left out, too, but for the sum beside named rows: those are asked for
    /// along with publications, and nobody looks at the sum there.
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
        let reach = self.settings.reported;
        let Window { count, age, .. } = self.settings.window;
        let stored = match selection {
            Selection::Sums | Selection::Prefix(_) if reach.count < count || reach.age < age => {
                let shown = self.topics.iter().filter(|(_, topic)| !topic.name.is_reserved());
                shown.map(|(_, topic)| self.view(topic, reach).len() as u64).sum()
            }
            Selection::Sums | Selection::Prefix(_) | Selection::Names(_) => self.totals.stored,
        };
        let rows = ids.iter().filter_map(|&id| self.topics.get(id)).map(|topic| TopicRow {
            name: topic.name.clone(),
            published: topic.published,
            stored: self.view(topic, reach).len() as u64,
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
            stored,
            documents: self.totals.documents,
            document_subscriptions: self.totals.document_subscriptions,
            reactors: reactors.collect(),
            rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Answer, Cursor, Question, Reach, StartAt};
    use crate::hub::request::ToHub;
    use crate::hub::testing::{BEGIN, Bench, settings, topic};
    use std::time::Duration;

    #[test]
    fn rows_are_in_the_order_of_names_and_the_servers_own_topics_are_left_out() {
        let mut bench = Bench::new(settings());
        for name in ["b", "ab", "$own", "a", "ac"] {
            bench.publish(name, "1");
        }
        bench.join(0, vec![topic("ab", StartAt::Now), topic("$control/x", StartAt::Now)], Cursor::default()).unwrap();
        let report = bench.report("");
        assert_eq!(report.rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["a", "ab", "ac", "b"]);
        assert_eq!((report.topics, report.published, report.stored), (4, 4, 4));
        let report = bench.report("a");
        let rows: Vec<_> = report.rows.iter().map(|row| (row.name.as_str(), row.subscribers)).collect();
        assert_eq!(rows, [("a", 0), ("ab", 1), ("ac", 0)]);
        assert_eq!(bench.report("$").rows, []);
    }

    #[test]
    fn what_lies_beyond_the_reach_of_statistics_is_not_counted() {
        let mut settings = settings();
        settings.reported = Reach { count: 2, age: Duration::from_secs(10) };
        let mut bench = Bench::new(settings);
        for name in ["a", "a", "a", "b", "$own"] {
            bench.publish(name, "1");
        }
        let stored = |bench: &mut Bench| {
            let report = bench.report("");
            let Answer::Report(sums) = bench.ask(Question::Report(Selection::Sums)) else { panic!("not a report") };
            assert_eq!(sums.stored, report.stored);
            let names = report.rows.iter().map(|row| row.name.clone()).collect();
            let Answer::Report(named) = bench.ask(Question::Report(Selection::Names(names))) else { panic!("not a report") };
            assert_eq!(named.rows, report.rows);
            (report.stored, report.rows.iter().map(|row| row.stored).collect::<Vec<_>>())
        };
        assert_eq!(stored(&mut bench), (3, vec![2, 1]));
        bench.pass(Duration::from_secs(5));
        bench.publish("b", "2");
        bench.pass(Duration::from_secs(5));
        assert_eq!(stored(&mut bench), (1, vec![0, 1]));
        assert_eq!(bench.report("").published, 5);
    }

    #[test]
    fn named_rows_are_those_that_exist_in_the_order_asked_for() {
        let mut bench = Bench::new(settings());
        for name in ["a", "b", "$own"] {
            bench.publish(name, "1");
        }
        let names = ["b", "nobody", "$own", "a"].map(Into::into).to_vec();
        let Answer::Report(report) = bench.ask(Question::Report(Selection::Names(names))) else { panic!("not a report") };
        assert_eq!(report.rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        let Answer::Report(report) = bench.ask(Question::Report(Selection::Sums)) else { panic!("not a report") };
        assert_eq!((report.rows.len(), report.topics), (0, 2));
    }

    #[test]
    fn times_and_threads_are_those_of_the_moment() {
        let mut bench = Bench::new(settings());
        bench.pass(Duration::from_secs(2));
        bench.handle(ToHub::Started { reactor: 1, thread: 4711 });
        bench.pass(Duration::from_secs(5));
        let report = bench.report("");
        assert_eq!((report.unix_seconds, report.uptime_seconds), (BEGIN + 7, 7));
        assert_eq!(report.reactors[1], ReactorRow { thread: 4711, subscribers: 0, uptime_seconds: 5 });
        assert_eq!(report.reactors.len(), 2);
    }
}
