//! Slow work of sessions: handed to the pools, and what comes of it back through the inbox.

use super::inbox::{InboxPort, Wake};
use crate::hub::request::{ToReactor, Token};
use crate::session::{Job, WorkQueue};
use crate::workers::Pool;

/// A job, and the connection that waits for it under this ticket.
pub struct Work {
    pub queue: WorkQueue,
    pub connection: Token,
    pub ticket: u64,
    pub job: Job,
}

impl Work {
    /// Does the job; the reactor is told what comes of it.
    pub fn done(self) -> ToReactor {
        ToReactor::Worked { connection: self.connection, ticket: self.ticket, result: self.job.run() }
    }
}

/// Takes a piece of work, or says that it takes no more: false.
pub type Workers = Box<dyn FnMut(Work) -> bool>;

/// One pool for each queue.
#[derive(Clone)]
pub struct Pools {
    pub passwords: Pool,
    pub documents: Pool,
}

impl Pools {
    /// The workers of the reactor behind this port.
    pub fn workers<W: Wake + 'static>(self, port: InboxPort<W>) -> Workers {
        Box::new(move |work| {
            let pool = match work.queue {
                WorkQueue::Passwords => &self.passwords,
                WorkQueue::Documents => &self.documents,
            };
            let mut port = port.clone();
            pool.submit(move || work.done(), move |reply| port.hand_over(reply))
        })
    }
}
