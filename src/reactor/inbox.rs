//! The way from the hub and the workers to one reactor: a FIFO, a waker, and the flag that keeps wake-ups few and none lost.

use crate::hub::request::ToReactor;
use crate::hub::thread::Port;
use crossbeam_channel::{Receiver, Sender};
use mio::Waker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What ends a loop's sleep.
pub trait Wake: Send + Sync {
    fn wake(&self);
}

impl Wake for Waker {
    fn wake(&self) {
        // A waker that can't write has a full counter, so the loop wakes anyway.
        let _ = Waker::wake(self);
    }
}

/// Wakes a reactor's loop, at most once until it has looked. The simulation puts its own waker in.
pub struct Bell<W = Waker> {
    woken: AtomicBool,
    waker: W,
}

impl<W: Wake> Bell<W> {
    pub fn new(waker: W) -> Bell<W> {
        Bell { woken: AtomicBool::new(false), waker }
    }

    /// Call after pushing: whoever sees the flag unset rings.
    pub fn ring(&self) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// Call before draining: whatever is pushed afterwards rings again.
    pub fn heard(&self) {
        self.woken.store(false, Ordering::SeqCst);
    }
}

/// What is on its way, for the hub's admission of publications.
#[derive(Default)]
struct Load {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

/// The end of the hub, and of whoever works for this reactor.
pub struct InboxPort<W = Waker> {
    sender: Sender<ToReactor>,
    bell: Arc<Bell<W>>,
    load: Arc<Load>,
}

impl<W> Clone for InboxPort<W> {
    fn clone(&self) -> InboxPort<W> {
        InboxPort { sender: self.sender.clone(), bell: self.bell.clone(), load: self.load.clone() }
    }
}

/// The reactor's end.
pub struct Inbox<W = Waker> {
    receiver: Receiver<ToReactor>,
    bell: Arc<Bell<W>>,
    load: Arc<Load>,
}

/// Unbounded in mechanism: the hub refuses publications before it gets long, and never a released message.
pub fn inbox<W: Wake>(bell: Arc<Bell<W>>) -> (InboxPort<W>, Inbox<W>) {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let load = Arc::new(Load::default());
    (InboxPort { sender, bell: bell.clone(), load: load.clone() }, Inbox { receiver, bell, load })
}

fn payload(reply: &ToReactor) -> usize {
    match reply {
        ToReactor::Deliver { message, .. } | ToReactor::Removed { message, .. } => message.payload.len(),
        // Its messages are the log's own.
        ToReactor::Backlog { .. }
        | ToReactor::Joined { .. }
        | ToReactor::Refused { .. }
        | ToReactor::Answer { .. }
        | ToReactor::Worked { .. }
        | ToReactor::Notice { .. }
        | ToReactor::Announce(_) => 0,
    }
}

impl<W: Wake> InboxPort<W> {
    pub fn hand_over(&mut self, reply: ToReactor) {
        self.push(&mut vec![reply]);
    }
}

impl<W: Wake> Port for InboxPort<W> {
    fn push(&mut self, batch: &mut Vec<ToReactor>) {
        if batch.is_empty() {
            return;
        }
        self.load.messages.fetch_add(batch.len(), Ordering::Relaxed);
        self.load.bytes.fetch_add(batch.iter().map(payload).sum(), Ordering::Relaxed);
        for reply in batch.drain(..) {
            // A reactor that has ended needs no replies.
            let _ = self.sender.send(reply);
        }
        self.bell.ring();
    }

    fn queued(&self) -> (usize, usize) {
        (self.load.messages.load(Ordering::Relaxed), self.load.bytes.load(Ordering::Relaxed))
    }
}

impl<W: Wake> Inbox<W> {
    /// Lets the next push ring again. To be called before the loop drains.
    pub fn heard(&self) {
        self.bell.heard();
    }

    /// Replies that wait at this moment.
    pub fn waiting(&self) -> usize {
        self.receiver.len()
    }
}

impl<W> Iterator for Inbox<W> {
    type Item = ToReactor;

    fn next(&mut self) -> Option<ToReactor> {
        let reply = self.receiver.try_recv().ok()?;
        self.load.messages.fetch_sub(1, Ordering::Relaxed);
        self.load.bytes.fetch_sub(payload(&reply), Ordering::Relaxed);
        Some(reply)
    }
}
