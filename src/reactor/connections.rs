//! The slab of connections: an index is reused, a token never is.

use super::connection::Slot;
use crate::hub::request::Token;
use slab::Slab;

pub struct Connections<T> {
    slots: Slab<Slot<T>>,
    next_generation: u32,
}

impl<T> Connections<T> {
    pub fn new() -> Connections<T> {
        Connections { slots: Slab::new(), next_generation: 1 }
    }

    /// The token that the next connection gets.
    pub fn next_token(&self) -> Token {
        Token::new(self.slots.vacant_key(), self.next_generation)
    }

    pub fn insert(&mut self, mut slot: Slot<T>) -> u32 {
        slot.generation = self.next_generation;
        // 0 stays free, so that a zeroed token is never a connection.
        self.next_generation = self.next_generation.checked_add(1).unwrap_or(1);
        self.slots.insert(slot) as u32
    }

    /// The index behind a token, if it still means the same connection.
    pub fn find(&self, token: Token) -> Option<u32> {
        let slot = self.slots.get(token.index())?;
        (slot.generation == token.generation()).then_some(token.index() as u32)
    }

    pub fn token(&self, index: u32) -> Token {
        Token::new(index as usize, self.slots[index as usize].generation)
    }

    /// Whether a connection came before the one that was to get this token.
    pub fn is_older(&self, index: u32, token: Token) -> bool {
        // Generations wrap around; half of them is more than there ever are connections.
        (self.slots[index as usize].generation.wrapping_sub(token.generation()) as i32) < 0
    }

    pub fn get(&self, index: u32) -> Option<&Slot<T>> {
        self.slots.get(index as usize)
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut Slot<T>> {
        self.slots.get_mut(index as usize)
    }

    pub fn remove(&mut self, index: u32) -> Slot<T> {
        self.slots.remove(index as usize)
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// One past the greatest index ever in use.
    pub fn end(&self) -> u32 {
        self.slots.capacity() as u32
    }
}

impl<T> std::ops::Index<u32> for Connections<T> {
    type Output = Slot<T>;
    fn index(&self, index: u32) -> &Slot<T> {
        &self.slots[index as usize]
    }
}

impl<T> std::ops::IndexMut<u32> for Connections<T> {
    fn index_mut(&mut self, index: u32) -> &mut Slot<T> {
        &mut self.slots[index as usize]
    }
}
