//! Users: who registers, and what a change of a user record means to its account (specification, section 8).

use super::super::account::{Names, Sent};
use super::super::checks::Reject;
use super::super::failure::Failure;
use super::super::frame::{self, Shape};
use super::super::password;
use super::call::{Context, Operation, Who, refused};
use super::intake::Body;
use crate::exchange::{AlterRefusal, Alteration, Answer, NewRecord, Revocation};
use crate::http::response::json;
use crate::record::{Account, RecordId};
use crate::session::{Actions, WorkQueue};
use std::any::Any;

/// What a worker made of a password.
type Hashed = String;

/// POST of somebody new.
/// ```text
/// begin ─▶ Hashing ──worker──▶ Creating ──hub──▶ answered
/// ```
pub struct Registration {
    stage: Stage,
}

enum Stage {
    Begins,
    Hashing {
        data: String,
        names: Names,
    },
    /// With the names, of which one may be somebody else's.
    Creating(Box<[Box<str>]>),
}

impl Registration {
    pub fn new() -> Registration {
        Registration { stage: Stage::Begins }
    }

    fn create(&mut self, context: &Context, (data, names): (String, Names), hashed: Hashed, actions: &mut Actions) {
        let names = names.into_names();
        let id = context.source.record_id();
        let account = Some(Box::new(Account { names: names.clone(), password: hashed.into() }));
        self.stage = Stage::Creating(names);
        let record = NewRecord { id, owner: Some(id), data: data.into_bytes().into(), account };
        context.alter(Alteration::Create(vec![record]), None, actions);
    }
}

impl Operation for Registration {
    fn begin(&mut self, context: &Context, body: Body, actions: &mut Actions) {
        let sent = match sent(body) {
            Ok(sent) => sent,
            Err(failure) => return context.fail(failure, actions),
        };
        match sent.registration() {
            Ok((names, password)) => {
                self.stage = Stage::Hashing { data: sent.data, names };
                hash(context, password, actions);
            }
            Err(failure) => context.fail(failure, actions),
        }
    }

    fn answered(&mut self, context: &Context, answer: Answer, actions: &mut Actions) {
        match (&self.stage, answer) {
            (Stage::Hashing { .. }, Answer::Refused(_)) => context.fail(Failure::Busy, actions),
            (Stage::Creating(_), Answer::Altered(Ok(records))) => {
                let new = records.first().map(|record| frame::one(record, Shape::Whole));
                context.respond(json(201, new.unwrap_or_default()), actions);
            }
            (Stage::Creating(names), Answer::Altered(Err(refusal))) => match refusal {
                AlterRefusal::Taken(place) => context.fail(Names::taken(names, place), actions),
                // The endpoint itself is missing: it has just been taken out of the configuration.
                AlterRefusal::Missing => context.respond(Reject::NotValid.response(), actions),
                AlterRefusal::Mismatch | AlterRefusal::TooMany | AlterRefusal::Unavailable => {
                    context.fail(refused(refusal), actions);
                }
            },
            // Nothing else is asked.
            (Stage::Begins | Stage::Hashing { .. } | Stage::Creating(_), _) => {}
        }
    }

    fn worked(&mut self, context: &Context, result: Box<dyn Any + Send>, actions: &mut Actions) {
        let Ok(hashed) = result.downcast::<Hashed>() else { return };
        if let Stage::Hashing { data, names } = std::mem::replace(&mut self.stage, Stage::Begins) {
            self.create(context, (data, names), *hashed, actions);
        }
    }
}

/// What a change of a user record means to its account.
#[derive(Default)]
pub struct Renewal {
    password: Option<String>,
    /// Of the new password.
    hashed: Option<Box<str>>,
}

impl Renewal {
    /// # Errors
    /// [`Failure::PasswordNotValid`]
    pub fn of(sent: &Sent) -> Result<Renewal, Failure> {
        Ok(Renewal { password: sent.password()?, hashed: None })
    }

    /// Has a new password hashed if that is not done yet.
    pub fn hashes(&mut self, context: &Context, actions: &mut Actions) -> bool {
        let password = self.password.take();
        let has_to = password.is_some();
        password.into_iter().for_each(|password| hash(context, password, actions));
        has_to
    }

    /// A worker is done; false: with something else.
    pub fn worked(&mut self, result: Box<dyn Any + Send>) -> bool {
        self.hashed = result.downcast::<Hashed>().ok().map(|hashed| (*hashed).into());
        self.hashed.is_some()
    }

    /// The account from now on.
    ///
    /// # Errors
    /// [`Failure::NamesRequired`], [`Failure::BodyNotValid`]
    pub fn account(&self, data: &str, before: Option<&Account>) -> Result<Box<Account>, Failure> {
        let names = Names::of(data)?.into_names();
        let before = before.map_or("", |account| &account.password);
        Ok(Box::new(Account { names, password: self.hashed.as_deref().unwrap_or(before).into() }))
    }

    /// A new password ends the user's other sessions; with the master key all of them.
    pub fn revokes(&self, context: &Context, user: RecordId) -> Option<Revocation> {
        self.hashed.as_ref()?;
        let except = match &context.who {
            Who::User(by) => Some(by.token),
            Who::Master(_) | Who::Anybody => None,
        };
        let group = context.endpoint().project.group.clone();
        Some(Revocation::User { group, user: user.to_string().into(), except })
    }
}

/// What a user sent of itself.
///
/// # Errors
/// [`Failure::BodyNotValid`]
pub fn sent(body: Body) -> Result<Sent, Failure> {
    match body {
        Body::Data(text) => Sent::read(&text),
        // Forms and empty bodies were refused before.
        Body::None | Body::Files(_) => Err(Failure::BodyNotValid),
    }
}

fn hash(context: &Context, password: String, actions: &mut Actions) {
    let salt = context.source.salt();
    actions.work(WorkQueue::Passwords, move || -> Hashed { password::hash(&password, salt) });
}
