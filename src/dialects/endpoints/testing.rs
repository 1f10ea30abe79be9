//! What unit tests of several modules begin with.

use super::Endpoints;
use super::options::Options;
use super::shared::{Endpoint, Live};
use crate::access::tokens::Source;
use crate::record::{Record, RecordId, RecordList};
use crate::session::Encoders;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

/// What a stop of the whole server may take.
pub const STOP: Duration = Duration::from_secs(35);

/// What was done with keys: an answer must not tell by its time what is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyWork {
    pub digests: u32,
    pub comparisons: u32,
}

thread_local! {
    static KEY_WORK: Cell<KeyWork> = const { Cell::new(KeyWork { digests: 0, comparisons: 0 }) };
}

/// Notes what this thread does with a key.
pub fn key_work(note: impl FnOnce(&mut KeyWork)) {
    let mut work = KEY_WORK.get();
    note(&mut work);
    KEY_WORK.set(work);
}

/// What this thread has done with keys since it was asked last.
pub fn take_key_work() -> KeyWork {
    KEY_WORK.take()
}

pub const KEY: &str = "d59eb2859c284168ac48aef65046d5dd";

/// A service with these keys, and a project with these of its own; further tables follow.
pub fn text(service: &str, project: &str, tables: &str) -> String {
    format!(
        "[rested]\n{service}\n[[rested.projects]]\nname = \"p\"\nkey = \"{KEY}\"\ncookie_from_any_origin = true\n{project}\n\
         [[rested.projects.endpoints]]\nname = \"p/open\"\n\
         [[rested.projects.endpoints]]\nname = \"p/notes\"\nsecure = true\n\
         [[rested.projects.endpoints]]\nname = \"p/users\"\nauth = true\n{tables}\n"
    )
}

pub fn options(text: &str) -> Options {
    let mut options: Options = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    options.resolve(&mut |_| Err(String::new()), &mut |key, problem| panic!("{key}: {problem}"));
    options
}

/// Brings these options into force.
pub fn enforce(live: &Live, text: &str) {
    live.prepare(&options(text), &Source::new([1; 32]), &mut Encoders::default(), STOP).enforce();
}

/// The dialect with these options in force.
pub fn dialect(text: &str) -> Endpoints {
    let live = super::Live::new([1; 32]);
    live.prepare(&options(text), &mut Encoders::default(), STOP).enforce();
    live.dialect()
}

/// The endpoint in force.
pub fn endpoint(live: &Live, name: &str) -> Arc<Endpoint> {
    let table = live.table();
    let service = table.service_of(None, "/api/1/ce/x").expect("there is a service");
    service.endpoint(name).unwrap_or_else(|| panic!("{name}")).clone()
}

/// So many records with this data, in places from 1 on.
pub fn records(count: u64, data: &str) -> RecordList {
    let mut list = RecordList::default();
    for place in 1..=count {
        let (id, place) = (RecordId(u128::from(place) << 64), crate::message::Seq(place));
        let data = data.as_bytes().into();
        list.push(Arc::new(Record { id, place, owner: None, created: 1_000, updated: 2_500, data, account: None }));
    }
    list
}
