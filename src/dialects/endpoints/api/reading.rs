//! GET and HEAD: all records, a page of them, or those with some ids.

use super::super::failure::Failure;
use super::super::frame::{self, Shape};
use super::super::parameters::{self, Asked, Page};
use super::call::{Context, Operation};
use super::intake::Body;
use crate::exchange::{Answer, Question};
use crate::http::response::{Response, json};
use crate::message::Seq;
use crate::record::{Record, RecordId, RecordList};
use crate::session::{Actions, WorkQueue};
use std::any::Any;
use std::sync::Arc;

/// A list of more bytes is not written on the reactor.
const INLINE_BYTES_MAX: u64 = 64 << 10;
/// What a record has beside its data, about.
const ENVELOPE_BYTES: u64 = 128;

pub struct Reading {
    what: Asked,
    shape: Shape,
    stage: Stage,
}

enum Stage {
    /// The place of the record is asked for that the page begins behind.
    Finding,
    Listing {
        after: Seq,
    },
    Picking,
    /// A worker writes it.
    Writing,
}

type Written = Result<(Vec<u8>, bool), Failure>;

impl Reading {
    pub fn new(wanted: parameters::Reading) -> Reading {
        let shape = if wanted.data_only { Shape::Data } else { Shape::Whole };
        Reading { what: wanted.what, shape, stage: Stage::Listing { after: Seq(0) } }
    }

    fn list(&mut self, context: &Context, after: Seq, actions: &mut Actions) {
        self.stage = Stage::Listing { after };
        actions.ask(Question::Records { endpoint: context.endpoint().topic.clone(), of: context.reads() });
    }

    fn pick(&mut self, context: &Context, ids: Vec<RecordId>, stage: Stage, actions: &mut Actions) {
        self.stage = stage;
        actions.ask(Question::RecordsById { endpoint: context.endpoint().topic.clone(), ids, of: context.reads() });
    }

    fn listed(&mut self, context: &Context, records: RecordList, after: Seq, actions: &mut Actions) {
        let limit = match &self.what {
            Asked::All(page) => page.limit,
            Asked::One(_) | Asked::Several(_) => None,
        };
        let (shape, bytes_max) = (self.shape, context.endpoint().shared.options.limits.list_bytes_max);
        let long = is_long(records.after(after).take(limit.unwrap_or(usize::MAX)));
        self.write(context, long, move || frame::page(&records, Some(after), limit, shape, bytes_max), actions);
    }

    fn picked(&mut self, context: &Context, records: Vec<Arc<Record>>, actions: &mut Actions) {
        if records.is_empty() {
            return context.fail(Failure::NoRecord, actions);
        }
        if let (Asked::One(_), [one]) = (&self.what, &records[..]) {
            return context.respond(json(200, frame::one(one, self.shape)), actions);
        }
        let (shape, bytes_max) = (self.shape, context.endpoint().shared.options.limits.list_bytes_max);
        let long = is_long(&records);
        let write = move || frame::list(records.iter().map(|record| &**record), shape, bytes_max).map(|text| (text, false));
        self.write(context, long, write, actions);
    }

    fn write(&mut self, context: &Context, long: bool, write: impl FnOnce() -> Written + Send + 'static, actions: &mut Actions) {
        if long {
            self.stage = Stage::Writing;
            actions.work(WorkQueue::Documents, write);
        } else {
            context.respond(response(write()), actions);
        }
    }
}

impl Operation for Reading {
    fn begin(&mut self, context: &Context, _body: Body, actions: &mut Actions) {
        match &self.what {
            Asked::All(Page { after: None, .. }) => self.list(context, Seq(0), actions),
            Asked::All(Page { after: Some(after), .. }) => self.pick(context, vec![*after], Stage::Finding, actions),
            Asked::One(Some(id)) => self.pick(context, vec![*id], Stage::Picking, actions),
            Asked::Several(ids) if !ids.is_empty() => self.pick(context, ids.clone(), Stage::Picking, actions),
            Asked::One(None) | Asked::Several(_) => context.fail(Failure::NoRecord, actions),
        }
    }

    fn answered(&mut self, context: &Context, answer: Answer, actions: &mut Actions) {
        match (&self.stage, answer) {
            (Stage::Finding, Answer::RecordsById(found)) => match found.first() {
                Some(record) => self.list(context, record.place, actions),
                None => context.fail(Failure::NoRecord, actions),
            },
            (&Stage::Listing { after }, Answer::Records(records, _)) => self.listed(context, records, after, actions),
            (Stage::Picking, Answer::RecordsById(records)) => self.picked(context, records, actions),
            (Stage::Writing, Answer::Refused(_)) => context.fail(Failure::Busy, actions),
            // Nothing else is asked.
            (Stage::Finding | Stage::Listing { .. } | Stage::Picking | Stage::Writing, _) => {}
        }
    }

    fn worked(&mut self, context: &Context, result: Box<dyn Any + Send>, actions: &mut Actions) {
        if let Ok(written) = result.downcast::<Written>() {
            context.respond(response(*written), actions);
        }
    }
}

/// Whether it would keep others waiting; looks at no more records than fit into a short list.
fn is_long<'a>(records: impl IntoIterator<Item = &'a Arc<Record>>) -> bool {
    let mut bytes = 0;
    records.into_iter().any(|record| {
        bytes += record.data.len() as u64 + ENVELOPE_BYTES;
        bytes > INLINE_BYTES_MAX
    })
}

fn response(written: Written) -> Response {
    match written {
        Ok((text, true)) => json(200, text).field("X-Fanwire-More", "1"),
        Ok((text, false)) => json(200, text),
        Err(failure) => failure.response(),
    }
}
