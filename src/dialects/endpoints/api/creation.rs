//! POST: a record, or one per file.

use super::super::checks::Reject;
use super::super::frame::{self, Shape};
use super::call::{Context, Operation, refused};
use super::intake::Body;
use crate::exchange::{AlterRefusal, Alteration, Answer, NewRecord};
use crate::http::response::json;
use crate::record::Record;
use crate::session::Actions;
use std::sync::Arc;

pub struct Creation;

impl Operation for Creation {
    fn begin(&mut self, context: &Context, body: Body, actions: &mut Actions) {
        let data = match body {
            Body::None => Vec::new(),
            Body::Data(text) => vec![text.into_bytes()],
            Body::Files(files) => files,
        };
        let owner = context.owner();
        let record = |data: Vec<u8>| NewRecord { id: context.source.record_id(), owner, data: data.into(), account: None };
        context.alter(Alteration::Create(data.into_iter().map(record).collect()), None, actions);
    }

    fn answered(&mut self, context: &Context, answer: Answer, actions: &mut Actions) {
        match answer {
            Answer::Altered(Ok(records)) => context.respond(json(201, created(&records)), actions),
            // The endpoint itself is missing: it has just been taken out of the configuration.
            Answer::Altered(Err(AlterRefusal::Missing)) => context.respond(Reject::NotValid.response(), actions),
            Answer::Altered(Err(refusal)) => context.fail(refused(refusal), actions),
            // Nothing else is asked.
            _ => {}
        }
    }
}

/// One record is told alone.
fn created(records: &[Arc<Record>]) -> Vec<u8> {
    match records {
        [one] => frame::one(one, Shape::Whole),
        several => {
            let list = frame::list(several.iter().map(|record| &**record), Shape::Whole, u64::MAX);
            list.expect("no list is that long")
        }
    }
}
