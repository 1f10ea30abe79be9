//! DELETE: a record, and what its user may do if it is one.

use super::super::failure::Failure;
use super::super::frame::{self, Shape};
use super::call::{Context, Operation, refused};
use super::intake::Body;
use crate::exchange::{Alteration, Answer, Revocation};
use crate::http::response::json;
use crate::record::RecordId;
use crate::session::Actions;

pub struct Removal {
    /// `None`: no record can have the id that was sent.
    target: Option<RecordId>,
}

impl Removal {
    pub fn new(target: Option<RecordId>) -> Removal {
        Removal { target }
    }
}

impl Operation for Removal {
    fn begin(&mut self, context: &Context, _body: Body, actions: &mut Actions) {
        let Some(id) = self.target else { return context.fail(Failure::NoRecord, actions) };
        let endpoint = context.endpoint();
        let revoke = endpoint.options.auth.then(|| Revocation::User {
            group: endpoint.project.group.clone(),
            user: id.to_string().into(),
            except: None,
        });
        context.alter(Alteration::Delete { id, by: context.deletes() }, revoke, actions);
    }

    fn answered(&mut self, context: &Context, answer: Answer, actions: &mut Actions) {
        match answer {
            Answer::Altered(Ok(records)) => {
                let last = records.first().map(|record| frame::one(record, Shape::Whole));
                context.respond(json(200, last.unwrap_or_default()), actions);
            }
            Answer::Altered(Err(refusal)) => context.fail(refused(refusal), actions),
            // Nothing else is asked.
            _ => {}
        }
    }
}
