//! What is true of a reactor between two turns: the simulation asks after each one.

use super::connection::bits;
use super::subscribers::Way;
use super::transport::Transport;
use super::{Reactor, unfinished};

impl<T: Transport> Reactor<T> {
    /// # Panics
    /// When lists and counts contradict each other, or something waits that nothing will wake.
    pub fn check(&self) {
        let (mut subscriptions, mut prefixed, mut unopened, mut held, mut sessions) = (0, 0, 0, 0, 0);
        for index in 0..self.connections.end() {
            let Some(slot) = self.connections.get(index) else { continue };
            assert!(!slot.is(bits::DEAD), "what died is buried");
            for (place, subscription) in slot.subscriptions().enumerate() {
                let listener = self.subscribers.topic(subscription.topic()).listeners[subscription.at as usize];
                assert_eq!((listener.connection, usize::from(listener.place)), (index, place), "back-indices agree");
                subscriptions += 1;
                prefixed += usize::from(matches!(listener.way(), Way::Prefixed(_)));
            }
            unopened += usize::from(slot.is(bits::UNOPENED));
            held += unfinished(slot);
            sessions += u64::from(slot.session.is_some());
            if !slot.outbox.is_empty() && slot.is(bits::WRITABLE) {
                assert!(slot.is(bits::DIRTY), "bytes for a willing socket are on their way");
            }
            assert_eq!(slot.is(bits::COUNTED), slot.subscription_count() > 0, "the hub counts who has subscriptions");
            if slot.session.is_none() {
                assert_eq!(slot.subscription_count(), 0, "subscriptions end with their session");
                continue;
            }
            let lag = slot.extra.as_ref().and_then(|extra| extra.lag.as_ref());
            assert_eq!(slot.is(bits::LIVE), lag.is_none(), "a connection is live or behind");
            if slot.outbox.is_empty() {
                assert!(lag.is_none_or(|lag| lag.reading.is_some()), "a drained connection that is behind reads on");
            }
        }
        assert_eq!(subscriptions, self.subscribers.count(), "every listener is some connection's");
        assert_eq!(prefixed, self.subscribers.prefixed_counts().0, "the users of a prefix are counted");
        assert_eq!(sessions, self.mine().conversations().iter().sum::<u64>(), "conversations are counted");
        assert_eq!(unopened, self.unopened_count, "unopened connections are counted");
        assert_eq!(held, self.unfinished_bytes, "unfinished bytes are counted");
        assert_eq!(self.unanswered_bytes, self.unanswered.iter().map(|&(_, bytes)| bytes).sum::<usize>());
    }

    /// Bytes that wait for the socket of one connection, and the window that its session allows.
    pub fn waiting(&self, token: crate::hub::request::Token) -> Option<(usize, usize)> {
        let slot = self.connections.get(self.connections.find(token)?)?;
        Some((slot.outbox.bytes(), slot.session.as_ref()?.limits().outbox_bytes_max))
    }

    /// Whether nothing is left of the connections that there were.
    pub fn is_empty(&self) -> bool {
        self.connections.len() == 0
            && self.subscribers.count() == 0
            && self.subscribers.prefixed_counts() == (0, 0)
            && self.unanswered.is_empty()
            && self.unfinished_bytes == 0
            && self.unopened_count == 0
            && self.reads.is_empty()
    }
}
