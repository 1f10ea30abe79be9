//! The events topic: a stored message whenever a topic or a subscription comes or goes.

use crate::exchange::TopicId;
use crate::hub::log::Keep;
use crate::hub::publish::Content;
use crate::hub::{Hub, Waiting};
use crate::message::TopicName;
use smallvec::smallvec;

/// What the events topic tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    Created,
    Destroyed,
    Subscribed,
    Unsubscribed,
}

impl Happening {
    fn name(self) -> &'static str {
        match self {
            Happening::Created => "channel_created",
            Happening::Destroyed => "channel_destroyed",
            Happening::Subscribed => "client_subscribed",
            Happening::Unsubscribed => "client_unsubscribed",
        }
    }
}

impl Hub {
    /// Publishes to the events topic, if there is one, unless it is about that topic itself or one of the server's own.
    pub(super) fn tell(&mut self, happening: Happening, about: &TopicName) {
        let Some(events) = &self.settings.events_topic else { return };
        if about == events || about.is_reserved() {
            return;
        }
        let events = events.clone();
        let name = serde_json::Value::from(about.as_str());
        let payload = format!("{{\"type\": \"{}\", \"channel\": {name}}}", happening.name());
        let topic = self.topics.find(&events).unwrap_or_else(|| self.create(events, Keep::Window));
        // Whoever listens hears of it in any case.
        let stored = self.storage_refusal().is_none();
        let content = Content { payload: payload.as_bytes().into(), event: None, stored, except: None, also: None };
        let (_, change) = self.stamp(topic, content);
        self.submit(smallvec![change], Waiting::Nothing);
    }

    pub(super) fn tell_of(&mut self, happening: Happening, topic: TopicId) {
        if self.settings.events_topic.is_some()
            && let Some(name) = self.topics.get(topic).map(|topic| topic.name.clone())
        {
            self.tell(happening, &name);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::exchange::{Cursor, Refusal, StartAt};
    use crate::hub::request::ToReactor;
    use crate::hub::testing::{Bench, settings, text, topic};
    use std::time::Duration;

    fn bench() -> Bench {
        let mut settings = settings();
        settings.events_topic = Some("events".into());
        let mut bench = Bench::new(settings);
        bench.publish("known", "1");
        bench.join(1, vec![topic("events", StartAt::Now)], Cursor::default()).unwrap();
        bench.inbox(1);
        bench
    }

    fn told(bench: &mut Bench) -> Vec<String> {
        bench.delivered(1).into_iter().map(|message| message.strip_prefix("events:").unwrap().to_owned()).collect()
    }

    /// PT-39 of the recorded exchanges, byte for byte.
    #[test]
    fn comings_and_goings_are_told_as_the_recording_has_them() {
        let mut bench = bench();
        let topics = vec![topic("known", StartAt::Now), topic("broad_z", StartAt::Now)];
        let joined = bench.join(0, topics, Cursor::default()).unwrap();
        bench.leave(0, &joined);
        bench.publish("fresh", "1");
        assert_eq!(
            told(&mut bench),
            [
                r#"{"type": "channel_created", "channel": "broad_z"}"#,
                r#"{"type": "client_subscribed", "channel": "known"}"#,
                r#"{"type": "client_subscribed", "channel": "broad_z"}"#,
                r#"{"type": "client_unsubscribed", "channel": "known"}"#,
                r#"{"type": "client_unsubscribed", "channel": "broad_z"}"#,
                r#"{"type": "channel_created", "channel": "fresh"}"#,
            ]
        );
    }

    #[test]
    fn deleted_and_forgotten_topics_are_told_as_destroyed() {
        let mut bench = bench();
        bench.publish_unstored("idle", "1");
        bench.delete(&["known"]);
        bench.live(Duration::from_secs(31));
        assert_eq!(
            told(&mut bench),
            [
                r#"{"type": "channel_created", "channel": "idle"}"#,
                r#"{"type": "channel_destroyed", "channel": "known"}"#,
                r#"{"type": "channel_destroyed", "channel": "idle"}"#,
            ]
        );
    }

    #[test]
    fn it_tells_nothing_about_itself_the_servers_own_topics_and_what_was_refused() {
        let mut bench = bench();
        let joined = bench.join(0, vec![topic("events", StartAt::Now), topic("$own", StartAt::Now)], Cursor::default()).unwrap();
        bench.leave(0, &joined);
        let mut must = topic("nowhere", StartAt::Now);
        must.must_have_messages = true;
        assert_eq!(bench.join(0, vec![must], Cursor::default()).unwrap_err(), Refusal::TopicMissing);
        bench.delete(&["events"]);
        assert_eq!(told(&mut bench), [""; 0]);
    }

    #[test]
    fn events_are_stored_and_names_are_escaped() {
        let mut bench = bench();
        bench.publish("say \"x\"\\", "1");
        let everything = Cursor { stamp: Some((0, None)), event: None };
        let shown = bench.resume(&["events"], everything);
        assert_eq!(shown.last().unwrap(), r#"events:{"type": "channel_created", "channel": "say \"x\"\\"}"#);
    }

    #[test]
    fn whoever_joins_gets_the_events_of_its_own_join_after_the_confirmation() {
        let mut bench = bench();
        bench.hub.handle(
            crate::hub::request::ToHub::Join {
                origin: Bench::origin(0),
                join: Box::new(crate::exchange::Join {
                    topics: vec![topic("events", StartAt::Now), topic("new", StartAt::Now)],
                    ..Default::default()
                }),
                first: true,
            },
            bench.now,
        );
        let mut replies = Vec::new();
        bench.hub.take_replies(0, &mut replies);
        let ToReactor::Joined { joined, .. } = &replies[0] else { panic!("{replies:?}") };
        let events = replies[1..].iter().map(|reply| match reply {
            ToReactor::Deliver { message, .. } if message.stamp.seq > joined.head.seq => text(message),
            other => panic!("{other:?}"),
        });
        assert_eq!(events.count(), 2);
    }
}
