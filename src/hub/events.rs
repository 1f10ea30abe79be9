//! The events topic: a stored message whenever a topic or a subscription comes or goes.

use crate::exchange::TopicId;
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
        let topic = self.topics.find(&events).unwrap_or_else(|| self.create(events));
        let (_, change) = self.stamp(topic, payload.as_bytes().into(), None, true);
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
