//! A message: immutable, ordered once, encoded at most once per encoding, shared by `Arc`.

use std::fmt;
use std::sync::{Arc, OnceLock};

/// Place in the one order of the whole server. Grows, but is never dense: nothing computes `seq + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

/// Everything the sequencer decides about a message. `(seconds, tag)` grows with `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Stamp {
    pub seq: Seq,
    /// Unix seconds; never goes back, whatever the clock does.
    pub seconds: u64,
    /// Counts the messages of one second over all topics from 1; 0 names a second without any.
    pub tag: u32,
}

impl Stamp {
    /// The pair that clients see as a cursor.
    pub fn position(&self) -> (u64, u32) {
        (self.seconds, self.tag)
    }
}

/// Name of a topic: one flat namespace for all dialects. A first byte `$` is the server's own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for names that no client of any dialect may use.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('$')
    }
}

impl From<&str> for TopicName {
    fn from(name: &str) -> TopicName {
        TopicName(Arc::from(name))
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, out)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Bytes ready for a socket, shared by everyone they are sent to.
pub type Frame = Arc<[u8]>;

/// Which of the registered encoders made a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EncodingId(pub u16);

/// Turns a message into the bytes of one transport. Must depend on the message alone.
pub trait Encoder: Send + Sync {
    fn encode(&self, message: &Message, out: &mut Vec<u8>);
}

/// What a publisher may say about a message beside its payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFields {
    pub id: Option<Box<[u8]>>,
    pub kind: Option<Box<[u8]>>,
}

/// One message of one topic.
pub struct Message {
    pub stamp: Stamp,
    pub topic: TopicName,
    /// Counts the topic's messages from 1, unstored ones too. Negative: a control message of a dialect.
    pub id: i64,
    pub payload: Arc<[u8]>,
    /// `None` for the many messages that have neither an event id nor an event type.
    pub event: Option<Box<EventFields>>,
    /// Whether the topic's log keeps it.
    pub stored: bool,
    /// Counts the topic's stored messages from 1 without a hole, as long as `epoch` stays the same; 0: not stored.
    pub offset: u64,
    /// Names the life of the topic in which `offset` counts: the `Seq` of its first stored message.
    pub epoch: u64,
    /// This connection does not get it: its reactor, and its token there.
    pub except: Option<Box<(u16, u64)>>,
    /// It belongs to this topic, too: the same message in both logs, and to the listeners of both.
    pub also: Option<Box<Also>>,
    /// Monotonic microseconds at which it was ordered: the start of the publish-to-write latency.
    pub ordered_micros: u64,
    encoded: OnceLock<Box<Encoded>>,
}

/// The second topic of a message, and its place in the history there: as `epoch` and `offset` of the message in its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Also {
    pub topic: TopicName,
    pub epoch: u64,
    pub offset: u64,
}

/// A list that only grows: one link per encoding that somebody asked for.
struct Encoded {
    encoding: EncodingId,
    frame: Frame,
    next: OnceLock<Box<Encoded>>,
}

impl Message {
    /// A stored message without event fields; the hub sets what differs.
    pub fn new(stamp: Stamp, topic: TopicName, id: i64, payload: Arc<[u8]>) -> Message {
        Message {
            stamp,
            topic,
            id,
            payload,
            event: None,
            stored: true,
            offset: 0,
            epoch: 0,
            except: None,
            also: None,
            ordered_micros: 0,
            encoded: OnceLock::new(),
        }
    }

    /// The frame of one encoding, made by the first who asks, whichever thread that is.
    ///
    /// `made` is called once for each encoding that had to be made: it counts.
    pub fn frame(&self, encoding: EncodingId, encoder: &dyn Encoder, made: impl Fn()) -> &Frame {
        let mut link = &self.encoded;
        loop {
            let found = link.get_or_init(|| {
                let mut bytes = Vec::with_capacity(self.payload.len() + 160);
                encoder.encode(self, &mut bytes);
                made();
                Box::new(Encoded { encoding, frame: bytes.into(), next: OnceLock::new() })
            });
            if found.encoding == encoding {
                return &found.frame;
            }
            link = &found.next;
        }
    }

    /// Epoch and offset in this one of its topics.
    pub fn place_in(&self, topic: &TopicName) -> (u64, u64) {
        match &self.also {
            Some(also) if also.topic == *topic => (also.epoch, also.offset),
            Some(_) | None => (self.epoch, self.offset),
        }
    }

    pub fn event_id(&self) -> Option<&[u8]> {
        self.event.as_ref()?.id.as_deref()
    }

    pub fn event_type(&self) -> Option<&[u8]> {
        self.event.as_ref()?.kind.as_deref()
    }
}

impl fmt::Debug for Message {
    /// Payloads are private: they never reach a log.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Message({} #{} {:?})", self.topic, self.id, self.stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Upper(u8);

    impl Encoder for Upper {
        fn encode(&self, message: &Message, out: &mut Vec<u8>) {
            out.push(self.0);
            out.extend_from_slice(&message.payload);
        }
    }

    #[test]
    fn each_encoding_is_made_once_whoever_asks_first() {
        let message = Message::new(Stamp::default(), "a".into(), 1, Arc::from(&b"x"[..]));
        let made = AtomicUsize::new(0);
        std::thread::scope(|threads| {
            for thread in 0..4u16 {
                let (message, made) = (&message, &made);
                threads.spawn(move || {
                    for round in 0..100u16 {
                        let kind = (round + thread) % 3;
                        let frame = message.frame(EncodingId(kind), &Upper(b'0' + kind as u8), || {
                            made.fetch_add(1, Ordering::Relaxed);
                        });
                        assert_eq!(**frame, [b'0' + kind as u8, b'x']);
                    }
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 3);
    }
}
