//! The two messages between reactors and the hub: one shared queue in, one FIFO per reactor out.

use crate::exchange::{
    Alter, Answer, ConversationId, Entry, Join, Joined, Legacy, Notice, Question, Refusal, Selection, TopicId, Write,
};
use crate::hub::Settings;
use crate::message::{Message, Seq, TopicName};
use crate::storage::Report;
use crossbeam_channel::Sender;
use std::any::Any;
use std::sync::Arc;

/// A connection of one reactor: generation in the upper half, slab index in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

impl Token {
    pub fn new(index: usize, generation: u32) -> Token {
        Token(u64::from(generation) << 32 | index as u64)
    }

    pub fn index(self) -> usize {
        self.0 as u32 as usize
    }

    pub fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Who asks. `ticket` is unique within the reactor; an answer whose ticket nobody waits for is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub reactor: u16,
    pub connection: Token,
    pub ticket: u64,
}

/// A topic of a [`ToHub::Read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadTopic {
    pub topic: TopicId,
    /// Stored messages after this one, if that is later than the position of the read.
    pub from: Seq,
    /// Unstored messages after this one: the head at which the subscription joined.
    pub joined: Seq,
}

#[derive(Debug)]
pub enum ToHub {
    /// The reactor's thread runs; answers nothing.
    Started { reactor: u16, thread: u32 },
    /// Answered by `Joined` or `Refused`. `first`: if it is joined, one more connection has subscriptions.
    Join { origin: Origin, join: Box<Join>, first: bool },
    /// Undoes joined topics; unknown ones are ignored. `last`: one connection less has subscriptions.
    Leave { reactor: u16, topics: Vec<TopicId>, last: bool },
    /// Answered by `Backlog`: what these topics have after the position `after`, merged, in order.
    Read { origin: Origin, after: Seq, topics: Vec<ReadTopic> },
    /// Answered by `Answer::Published` or `Answer::Refused`.
    Publish { origin: Origin, entries: Vec<Entry>, report: Option<Selection> },
    /// Answered by `Answer::Deleted`. Listeners get a control message (`id` -2) with this payload.
    Delete { origin: Origin, topics: Vec<TopicName>, payload: Arc<[u8]> },
    /// Answered by `Answer::Written`.
    Write { origin: Origin, write: Write },
    /// Answered by `Answer::Altered`.
    Alter { origin: Origin, alter: Box<Alter> },
    /// Answered by the matching `Answer`.
    Ask { origin: Origin, question: Question },
    /// This connection is now that of the conversation; answers nothing.
    Introduce { reactor: u16, connection: Token, conversation: ConversationId },
    /// The conversation's connection has ended; answers nothing.
    Part { reactor: u16, connection: Token, legacy: Legacy },
    /// The storage's thread has something to tell; answers nothing.
    Storage(Report),
    /// New settings after a reload.
    Settings(Box<Settings>),
    /// A clock was turned by hand: look at it, then say so.
    Turned(Sender<()>),
    /// The hub's thread ends after everything before this.
    Stop,
}

#[derive(Debug)]
pub enum ToReactor {
    /// A released message of a topic that somebody of this reactor joined.
    Deliver {
        topic: TopicId,
        message: Arc<Message>,
    },
    /// The topic was deleted and every subscription to it is gone. `message` tells the listeners;
    /// `last` is the last stored message that the topic had, lost for those who had not read so far, and
    /// `last_unstored` the last other one that was kept for readers that lag.
    Removed {
        topic: TopicId,
        last: Seq,
        last_unstored: Seq,
        message: Arc<Message>,
    },
    Joined {
        connection: Token,
        ticket: u64,
        joined: Box<Joined>,
    },
    Refused {
        connection: Token,
        ticket: u64,
        refusal: Refusal,
    },
    Backlog {
        connection: Token,
        ticket: u64,
        backlog: Box<Backlog>,
    },
    Answer {
        connection: Token,
        ticket: u64,
        answer: Box<Answer>,
    },
    /// From the workers, not from the hub: a job is done. `None`: it panicked.
    Worked {
        connection: Token,
        ticket: u64,
        result: Option<Box<dyn Any + Send>>,
    },
    /// For one connection's session.
    Notice {
        connection: Token,
        notice: Box<Notice>,
    },
    /// For every session.
    Announce(Arc<Notice>),
}

const _: () = assert!(size_of::<ToReactor>() <= 40, "one for each message and reactor");

/// One bounded page of what a reader had missed.
#[derive(Debug)]
pub struct Backlog {
    /// In order of `Seq`.
    pub messages: Vec<(TopicId, Arc<Message>)>,
    /// The reader has everything of its topics up to here once it took this page.
    pub end: Seq,
    /// `end` is the released head of the moment: the reader is live again.
    pub complete: bool,
    /// The log no longer reaches back to the reader's position.
    pub lost: bool,
}

/// A page ends when it holds so many messages, or so many payload bytes; it holds at least one if there is one.
pub const PAGE_MESSAGES: usize = 256;
pub const PAGE_BYTES: usize = 256 * 1024;
