//! PUT and PATCH: the data of a record becomes another.

use super::super::account::Names;
use super::super::failure::Failure;
use super::super::frame::{self, Shape};
use super::super::strategy::Strategy;
use super::accounts::{self, Renewal};
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
/// begin ─▶ Looking ──▶ Merging, if it is large ──▶ Hashing, a new password ──▶ Writing ──hub──▶ answered
///    └──────────────── force, unless it is of a user ───────────────────────────▲
/// ```
pub struct Change {
    target: Option<RecordId>,
    kind: ChangeKind,
    strategy: Strategy,
    /// What was sent.
    sent: Arc<str>,
    /// The record is of a user.
    renewal: Option<Renewal>,
    rounds: u32,
    /// As it was when it was looked at last.
    seen: Option<Arc<Record>>,
    stage: Stage,
}

enum Stage {
    Looking,
    /// A worker makes the new data.
    Merging,
    /// The new data waits for the hash of a new password.
    Hashing(String),
    /// With the user's names, of which one may be somebody else's.
    Writing(Box<[Box<str>]>),
}

type Merged = Result<String, Failure>;

impl Change {
    /// `target`: `None` if no record can have the id that was sent.
    pub fn new(target: Option<RecordId>, kind: ChangeKind, strategy: Strategy, of_user: bool) -> Change {
        let renewal = of_user.then(Renewal::default);
        Change { target, kind, strategy, sent: "".into(), renewal, rounds: 0, seen: None, stage: Stage::Looking }
    }

    fn look(&mut self, context: &Context, id: RecordId, actions: &mut Actions) {
        self.stage = Stage::Looking;
        let endpoint = context.endpoint().topic.clone();
        actions.ask(Question::RecordsById { endpoint, ids: vec![id], of: context.updates() });
    }

    fn looked(&mut self, context: &Context, found: Option<&Arc<Record>>, actions: &mut Actions) {
        let Some(found) = found else { return context.fail(Failure::NoRecord, actions) };
        self.seen = Some(found.clone());
        let (strategy, sent) = (self.strategy, self.sent.clone());
        let bytes_max = context.endpoint().shared.options.limits.body_bytes_max as usize;
        let is_slow = match strategy {
            Strategy::Force | Strategy::Replace => false,
            Strategy::Merge | Strategy::Patch => sent.len() + found.data.len() > MERGED_HERE_BYTES_MAX,
        };
        let data = found.data.clone();
        let merge = move || -> Merged {
            let old = std::str::from_utf8(&data).expect("stored data is JSON, which is UTF-8");
            strategy.apply(old, &sent, bytes_max)
        };
        if is_slow {
            self.stage = Stage::Merging;
            actions.work(WorkQueue::Documents, merge);
        } else {
            self.merged(context, merge(), actions);
        }
    }

    fn merged(&mut self, context: &Context, merged: Merged, actions: &mut Actions) {
        let data = match merged {
            Ok(data) => data,
            Err(failure) => return context.fail(failure, actions),
        };
        // A name that cannot be is told before anything is hashed.
        let names = self.renewal.as_ref().map(|_| Names::of(&data));
        if let Some(Err(failure)) = names {
            return context.fail(failure, actions);
        }
        if self.renewal.as_mut().is_some_and(|renewal| renewal.hashes(context, actions)) {
            self.stage = Stage::Hashing(data);
        } else {
            self.write(context, data, actions);
        }
    }

    fn write(&mut self, context: &Context, data: String, actions: &mut Actions) {
        let Some(id) = self.target else { return context.fail(Failure::NoRecord, actions) };
        let before = self.seen.as_ref().and_then(|seen| seen.account.as_deref());
        let account = match self.renewal.as_ref().map(|renewal| renewal.account(&data, before)).transpose() {
            Ok(account) => account,
            Err(failure) => return context.fail(failure, actions),
        };
        self.stage = Stage::Writing(account.as_ref().map(|account| account.names.clone()).unwrap_or_default());
        let revoke = self.renewal.as_ref().and_then(|renewal| renewal.revokes(context, id));
        let unchanged_since = self.seen.as_ref().map(|seen| seen.updated);
        let (by, kind, data) = (context.updates(), self.kind, data.into_bytes().into());
        context.alter(Alteration::Replace { id, by, kind, data, unchanged_since, account }, revoke, actions);
    }

    fn written(&mut self, context: &Context, result: Result<Vec<Arc<Record>>, AlterRefusal>, actions: &mut Actions) {
        match (result, self.target, &self.stage) {
            (Ok(records), ..) => {
                let new = records.first().map(|record| frame::one(record, Shape::Whole));
                context.respond(json(200, new.unwrap_or_default()), actions);
            }
            (Err(AlterRefusal::Mismatch), Some(id), _) if self.seen.is_some() && self.rounds < ROUNDS_MAX => {
                self.rounds += 1;
                self.look(context, id, actions);
            }
            (Err(AlterRefusal::Taken(place)), _, Stage::Writing(names)) => context.fail(Names::taken(names, place), actions),
            (Err(refusal), ..) => context.fail(refused(refusal), actions),
        }
    }

    /// # Errors
    /// [`Failure::BodyNotValid`], [`Failure::PasswordNotValid`]
    fn take(&mut self, body: Body) -> Result<(), Failure> {
        if let Some(renewal) = &mut self.renewal {
            let sent = accounts::sent(body)?;
            *renewal = Renewal::of(&sent)?;
            self.sent = sent.data.into();
        } else if let Body::Data(sent) = body {
            self.sent = sent.into();
        } else {
            return Err(Failure::BodyNotValid);
        }
        Ok(())
    }
}

impl Operation for Change {
    fn begin(&mut self, context: &Context, body: Body, actions: &mut Actions) {
        if let Err(failure) = self.take(body) {
            return context.fail(failure, actions);
        }
        let Some(id) = self.target else { return context.fail(Failure::NoRecord, actions) };
        if self.strategy == Strategy::Force && self.renewal.is_none() {
            let sent = self.sent.to_string();
            return self.write(context, sent, actions);
        }
        self.look(context, id, actions);
    }

    fn answered(&mut self, context: &Context, answer: Answer, actions: &mut Actions) {
        match (&self.stage, answer) {
            (Stage::Looking, Answer::RecordsById(found)) => self.looked(context, found.first(), actions),
            (Stage::Merging | Stage::Hashing(_), Answer::Refused(_)) => context.fail(Failure::Busy, actions),
            (Stage::Writing(_), Answer::Altered(result)) => self.written(context, result, actions),
            // Nothing else is asked.
            (Stage::Looking | Stage::Merging | Stage::Hashing(_) | Stage::Writing(_), _) => {}
        }
    }

    fn worked(&mut self, context: &Context, result: Box<dyn Any + Send>, actions: &mut Actions) {
        match std::mem::replace(&mut self.stage, Stage::Looking) {
            Stage::Merging => {
                if let Ok(merged) = result.downcast::<Merged>() {
                    self.merged(context, *merged, actions);
                }
            }
            Stage::Hashing(data) => {
                if self.renewal.as_mut().is_some_and(|renewal| renewal.worked(result)) {
                    self.write(context, data, actions);
                }
            }
            // Nothing is done elsewhere then.
            stage @ (Stage::Looking | Stage::Writing(_)) => self.stage = stage,
        }
    }
}
