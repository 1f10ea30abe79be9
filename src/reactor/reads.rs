//! Reads of the hub that are under way: connections with equal topics and position share one.

use crate::hub::request::{ReadTopic, Token};
use crate::message::Seq;
use hashbrown::HashMap;

/// What is asked of the hub: everything of these topics after a position.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Read {
    pub after: Seq,
    pub topics: Vec<ReadTopic>,
}

#[derive(Default)]
pub struct Reads {
    tickets: HashMap<Read, u64>,
    waiting: HashMap<u64, (Read, Vec<Token>)>,
}

impl Reads {
    /// Waits for the same read if one is under way. What the hub says later holds for whoever is at that position then.
    pub fn join(&mut self, read: &Read, connection: Token) -> Option<u64> {
        let ticket = *self.tickets.get(read)?;
        let (_, waiting) = self.waiting.get_mut(&ticket)?;
        waiting.push(connection);
        Some(ticket)
    }

    pub fn begun(&mut self, ticket: u64, read: Read, connection: Token) {
        self.tickets.insert(read.clone(), ticket);
        self.waiting.insert(ticket, (read, vec![connection]));
    }

    /// The hub has answered: who waited for it.
    pub fn answered(&mut self, ticket: u64) -> Option<(Read, Vec<Token>)> {
        let (read, waiting) = self.waiting.remove(&ticket)?;
        self.tickets.remove(&read);
        Some((read, waiting))
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
