//! The engine of a single server that keeps everything in memory: what is submitted counts at once.

use super::{Engine, Transaction};
use std::collections::VecDeque;

#[derive(Default)]
pub struct Local {
    submitted: VecDeque<Transaction>,
}

impl Engine for Local {
    fn submit(&mut self, transaction: Transaction) {
        self.submitted.push_back(transaction);
    }

    fn ordered(&mut self) -> Option<Transaction> {
        self.submitted.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Seq, Stamp};
    use smallvec::SmallVec;

    #[test]
    fn what_is_submitted_comes_back_at_once_and_in_order() {
        let mut engine = Local::default();
        for seq in [3, 5, 9] {
            let head = Stamp { seq: Seq(seq), seconds: 1, tag: 1 };
            engine.submit(Transaction { head, unix_micros: 0, changes: SmallVec::new() });
        }
        let order: Vec<u64> = std::iter::from_fn(|| engine.ordered()).map(|transaction| transaction.head.seq.0).collect();
        assert_eq!(order, [3, 5, 9]);
    }
}
