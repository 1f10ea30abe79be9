//! PUT and PATCH: the data of a record becomes another.

use super::super::failure::Failure;
use super::super::frame::{self, Shape};
use super::super::strategy::Strategy;
use super::call::{Context, Operation, refused};
use super::intake::Body;
use crate::exchange::{AlterRefusal, Alteration, Answer, Question};
use crate::http::response::json;
use crate::record::{ChangeKind, Record, RecordId};
use crate::session::{Actions, WorkQueue};
use std::any::Any;
use std::sync::Arc;

/// How often somebody else may come in between before a request that looks first gives up.
const ROUNDS_MAX: u32 = 100;
/// Data before and after together: from here on many short members take longer than 100 µs to merge, and a worker does it.
const MERGED_HERE_BYTES_MAX: usize = 16 << 10;

/// ```text
///            ┌──────────── somebody came in between ───────────┐
///            ▼                                                 │
/// begin ─▶ Looking ──▶ Merging, if it is large ──▶ Writing ──hub──▶ answered
///    └──────────────── force ─────────────────────────▲
/// ```
pub struct Change {
    target: Option<RecordId>,
    kind: ChangeKind,
    strategy: Strategy,
    /// What was sent.
    sent: Arc<str>,
    rounds: u32,
    stage: Stage,
}

enum Stage {
    Looking,
    /// A worker makes the new data of the record that was changed last at this time.
    Merging {
        updated: u64,
    },
    /// `looked`: the new data was made of the old.
    Writing {
        looked: bool,
    },
}

type Merged = Result<String, Failure>;

impl Change {
    /// `target`: `None` if no record can have the id that was sent.
    pub fn new(target: Option<RecordId>, kind: ChangeKind, strategy: Strategy) -> Change {
        Change { target, kind, strategy, sent: "".into(), rounds: 0, stage: Stage::Looking }
    }

    fn look(&mut self, context: &Context, id: RecordId, actions: &mut Actions) {
        self.stage = Stage::Looking;
        let endpoint = context.endpoint().topic.clone();
        actions.ask(Question::RecordsById { endpoint, ids: vec![id], of: context.updates() });
    }

    fn looked(&mut self, context: &Context, found: Option<&Arc<Record>>, actions: &mut Actions) {
        let Some(found) = found else { return context.fail(Failure::NoRecord, actions) };
        let (strategy, sent) = (self.strategy, self.sent.clone());
        let bytes_max = context.endpoint().shared.options.limits.body_bytes_max as usize;
        let is_slow = match strategy {
            Strategy::Force | Strategy::Replace => false,
            Strategy::Merge | Strategy::Patch => sent.len() + found.data.len() > MERGED_HERE_BYTES_MAX,
        };
        let (updated, data) = (found.updated, found.data.clone());
        let merge = move || -> Merged {
            let old = std::str::from_utf8(&data).expect("stored data is JSON, which is UTF-8");
            strategy.apply(old, &sent, bytes_max)
        };
        if is_slow {
            self.stage = Stage::Merging { updated };
            actions.work(WorkQueue::Documents, merge);
        } else {
            self.merged(context, merge(), updated, actions);
        }
    }

    fn merged(&mut self, context: &Context, merged: Merged, updated: u64, actions: &mut Actions) {
        match merged {
            Ok(data) => self.write(context, data.into_bytes().into(), Some(updated), actions),
            Err(failure) => context.fail(failure, actions),
        }
    }

    fn write(&mut self, context: &Context, data: Arc<[u8]>, unchanged_since: Option<u64>, actions: &mut Actions) {
        let Some(id) = self.target else { return context.fail(Failure::NoRecord, actions) };
        self.stage = Stage::Writing { looked: unchanged_since.is_some() };
        let by = context.updates();
        context.alter(Alteration::Replace { id, by, kind: self.kind, data, unchanged_since, account: None }, None, actions);
    }

    fn written(
        &mut self,
        context: &Context,
        result: Result<Vec<Arc<Record>>, AlterRefusal>,
        looked: bool,
        actions: &mut Actions,
    ) {
        match (result, self.target) {
            (Ok(records), _) => {
                let new = records.first().map(|record| frame::one(record, Shape::Whole));
                context.respond(json(200, new.unwrap_or_default()), actions);
            }
            (Err(AlterRefusal::Mismatch), Some(id)) if looked && self.rounds < ROUNDS_MAX => {
                self.rounds += 1;
                self.look(context, id, actions);
            }
            (Err(refusal), _) => context.fail(refused(refusal), actions),
        }
    }
}

impl Operation for Change {
    fn begin(&mut self, context: &Context, body: Body, actions: &mut Actions) {
        let (Some(id), Body::Data(sent)) = (self.target, body) else { return context.fail(Failure::NoRecord, actions) };
        if self.strategy == Strategy::Force {
            return self.write(context, sent.into_bytes().into(), None, actions);
        }
        self.sent = sent.into();
        self.look(context, id, actions);
    }

    fn answered(&mut self, context: &Context, answer: Answer, actions: &mut Actions) {
        match (&self.stage, answer) {
            (Stage::Looking, Answer::RecordsById(found)) => self.looked(context, found.first(), actions),
            (Stage::Merging { .. }, Answer::Refused(_)) => context.fail(Failure::Busy, actions),
            (&Stage::Writing { looked }, Answer::Altered(result)) => self.written(context, result, looked, actions),
            // Nothing else is asked.
            (Stage::Looking | Stage::Merging { .. } | Stage::Writing { .. }, _) => {}
        }
    }

    fn worked(&mut self, context: &Context, result: Box<dyn Any + Send>, actions: &mut Actions) {
        if let (&Stage::Merging { updated }, Ok(merged)) = (&self.stage, result.downcast::<Merged>()) {
            self.merged(context, *merged, updated, actions);
        }
    }
}
