//! Parameters of requests over HTTP (specification, sections 7, 8 and 14). What an operation does not know is ignored.

use super::failure::Failure;
use super::query::{Given, Query};
use super::strategy::Strategy;
use crate::record::RecordId;

/// Ids that one request may ask for.
const IDS_MAX: usize = 100;
const LIMIT_MAX: usize = 10_000;

/// What a POST is for beside making records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    None,
    /// With a cookie, or with the token in a header.
    Login {
        cookie: bool,
    },
    Logout,
}

impl Session {
    /// Only the word `true` counts, so that a misspelt one logs nobody out.
    ///
    /// # Errors
    /// Both at once; the endpoint is for ordinary records, and a password would become one.
    pub fn read(query: &Query<'_>, auth: bool) -> Result<Session, Failure> {
        let session = match (query.is_on("login"), query.is_on("logout")) {
            (false, false) => return Ok(Session::None),
            _ if !auth => return Err(Failure::NotAnAuthenticationEndpoint),
            (true, true) => return Err(Failure::ParametersNotValid),
            (true, false) => Session::Login { cookie: !query.is_on("noATCookie") },
            (false, true) => Session::Logout,
        };
        Ok(session)
    }
}

/// What a GET asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub what: Asked,
    /// The `data` of records instead of them.
    pub data_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// All records that the caller may see, or a page of them.
    All(Page),
    /// One object. `None`: no record can have this id.
    One(Option<RecordId>),
    /// An array in this order, none twice; ids that no record can have are left out.
    Several(Vec<RecordId>),
}

/// The default is everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub limit: Option<usize>,
    pub after: Option<RecordId>,
}

impl Reading {
    /// # Errors
    /// [`Failure::NoJsonata`], [`Failure::ParametersNotValid`]
    pub fn read(query: &Query<'_>) -> Result<Reading, Failure> {
        if query.first("jsonata").is_some() {
            return Err(Failure::NoJsonata);
        }
        let sent: Vec<&str> = ids(query).collect();
        let what = match sent[..] {
            [] => Asked::All(Page::read(query).ok_or(Failure::ParametersNotValid)?),
            [one] => Asked::One(RecordId::parse(one)),
            _ => Asked::Several(distinct(&sent)?),
        };
        Ok(Reading { what, data_only: query.is_on("dataOnly") })
    }
}

/// The record that a PUT, PATCH or DELETE is for; `Ok(None)`: no record can have this id.
///
/// # Errors
/// There is not exactly one id.
pub fn target(query: &Query<'_>) -> Result<Option<RecordId>, Failure> {
    let mut ids = ids(query);
    match (ids.next(), ids.next()) {
        (Some(one), None) => Ok(RecordId::parse(one)),
        (_, _) => Err(Failure::UniqueIdRequired),
    }
}

/// How a PUT changes what is there.
///
/// # Errors
/// [`Failure::StrategyNotValid`]
pub fn strategy(query: &Query<'_>) -> Result<Strategy, Failure> {
    match query.once("strategy") {
        Given::Absent | Given::Once("force") => Ok(Strategy::Force),
        Given::Once("merge") => Ok(Strategy::Merge),
        Given::Once("replace") => Ok(Strategy::Replace),
        Given::Once(_) | Given::Twice => Err(Failure::StrategyNotValid),
    }
}

/// Repeated, comma-separated, or both.
fn ids<'q>(query: &'q Query<'_>) -> impl Iterator<Item = &'q str> {
    query.all("uniqueId").flat_map(|value| value.split(',')).filter(|id| !id.is_empty())
}

fn distinct(sent: &[&str]) -> Result<Vec<RecordId>, Failure> {
    let mut texts: Vec<&str> = Vec::new();
    for id in sent {
        if !texts.contains(id) {
            // The head bounds how many were sent, not how few are looked through.
            if texts.len() == IDS_MAX {
                return Err(Failure::ParametersNotValid);
            }
            texts.push(id);
        }
    }
    Ok(texts.into_iter().filter_map(RecordId::parse).collect())
}

impl Page {
    fn read(query: &Query<'_>) -> Option<Page> {
        let limit = match query.once("fw_limit") {
            Given::Absent => None,
            Given::Once(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit))?)
            }
            Given::Once(_) | Given::Twice => return None,
        };
        let after = match query.once("fw_after") {
            Given::Absent => None,
            Given::Once(id) => Some(RecordId::parse(id)?),
            Given::Twice => return None,
        };
        Some(Page { limit, after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3cc236ed09ef4768ba1fe6dcaf43edea";
    const B: &str = "00000000000040008000000000000001";

    fn id(text: &str) -> RecordId {
        RecordId::parse(text).unwrap()
    }

    fn read(query: &str) -> Result<Asked, Failure> {
        Reading::read(&Query::read(query)).map(|reading| reading.what)
    }

    fn all(limit: Option<usize>, after: Option<&str>) -> Result<Asked, Failure> {
        Ok(Asked::All(Page { limit, after: after.map(id) }))
    }

    #[test]
    fn ep_58_one_id_asks_for_an_object_and_several_for_an_array() {
        assert_eq!(read(""), all(None, None));
        assert_eq!(read("uniqueId="), all(None, None));
        assert_eq!(read("uniqueId=,"), all(None, None));
        assert_eq!(read(&format!("uniqueId={A}")), Ok(Asked::One(Some(id(A)))));
        assert_eq!(read(&format!("uniqueId=,{A}&uniqueId=")), Ok(Asked::One(Some(id(A)))));
        assert_eq!(read(&format!("uniqueId={}", A.to_uppercase())), Ok(Asked::One(None)));
        for query in [
            format!("uniqueId={B}&uniqueId={A}"),
            format!("uniqueId={B},{A}"),
            format!("uniqueId={B}%2C{A}"),
            format!("uniqueId={B},{A}&uniqueId={B}"),
            format!("uniqueId={B},x,{A}&x=1"),
        ] {
            assert_eq!(read(&query), Ok(Asked::Several(vec![id(B), id(A)])), "{query}");
        }
        assert_eq!(read(&format!("uniqueId={A},{A}")), Ok(Asked::Several(vec![id(A)])), "asked twice, so an array");
        let ids = |count: u32| (0..count).map(|number| format!("{number:032x}")).collect::<Vec<_>>().join(",");
        assert!(matches!(read(&format!("uniqueId={}", ids(100))), Ok(Asked::Several(list)) if list.len() == 100));
        assert_eq!(read(&format!("uniqueId={}", ids(101))), Err(Failure::ParametersNotValid));
    }

    #[test]
    fn ep_63_what_changes_a_record_needs_exactly_one_id() {
        assert_eq!(target(&Query::read(&format!("uniqueId={A}&dataOnly=true"))), Ok(Some(id(A))));
        assert_eq!(target(&Query::read("uniqueId=x")), Ok(None));
        for query in ["", "uniqueId=", "uniqueid=a", &format!("uniqueId={A}&uniqueId={A}"), &format!("uniqueId={A},{B}")] {
            assert_eq!(target(&Query::read(query)), Err(Failure::UniqueIdRequired), "{query}");
        }
    }

    #[test]
    fn ep_59_and_68_other_parameters_of_a_reading() {
        let data_only = |query| Reading::read(&Query::read(query)).map(|reading| reading.data_only);
        assert_eq!((data_only("dataOnly=true"), data_only("dataOnly=1"), data_only("")), (Ok(true), Ok(false), Ok(false)));
        assert_eq!(read("jsonata=%24"), Err(Failure::NoJsonata));
        assert_eq!(read("jsonata="), all(None, None));
    }

    #[test]
    fn pages_are_of_all_records_alone() {
        assert_eq!(read("fw_limit=1"), all(Some(1), None));
        assert_eq!(read(&format!("fw_limit=10000&fw_after={A}")), all(Some(10_000), Some(A)));
        assert_eq!(read(&format!("fw_after={A}&fw_limit=")), all(None, Some(A)));
        for bad in [
            "fw_limit=0",
            "fw_limit=10001",
            "fw_limit=-1",
            "fw_limit=%2B1",
            "fw_limit=1.0",
            "fw_limit=99999999999999999999999",
            "fw_limit=1&fw_limit=1",
            "fw_after=x",
            &format!("fw_after={}", A.to_uppercase()),
            &format!("fw_after={A}&fw_after="),
        ] {
            assert_eq!(read(bad), Err(Failure::ParametersNotValid), "{bad}");
        }
        assert_eq!(read(&format!("uniqueId={A}&fw_limit=x")), Ok(Asked::One(Some(id(A)))), "not of this operation");
    }

    #[test]
    fn ep_77_sessions_are_of_authentication_endpoints_alone() {
        let read = |query, auth| Session::read(&Query::read(query), auth);
        assert_eq!(read("login=true", true), Ok(Session::Login { cookie: true }));
        assert_eq!(read("login=true&noATCookie=true", true), Ok(Session::Login { cookie: false }));
        assert_eq!(read("login=true&noATCookie=1", true), Ok(Session::Login { cookie: true }));
        assert_eq!(read("logout=true&login=", true), Ok(Session::Logout));
        assert_eq!(read("login=true&logout=true", true), Err(Failure::ParametersNotValid));
        for query in ["", "login=1", "logout=yes", "noATCookie=true", "login=false&logout"] {
            assert_eq!(read(query, true), Ok(Session::None), "{query}");
            assert_eq!(read(query, false), Ok(Session::None), "{query}");
        }
        for query in ["login=true", "logout=true", "login=true&logout=true"] {
            assert_eq!(read(query, false), Err(Failure::NotAnAuthenticationEndpoint), "{query}");
        }
    }

    #[test]
    fn ep_61_strategies_have_names() {
        let read = |query| strategy(&Query::read(query));
        assert_eq!(
            (read(""), read("strategy="), read("strategy=force")),
            (Ok(Strategy::Force), Ok(Strategy::Force), Ok(Strategy::Force))
        );
        assert_eq!((read("strategy=merge"), read("strategy=replace")), (Ok(Strategy::Merge), Ok(Strategy::Replace)));
        for bad in ["strategy=Force", "strategy=patch", "strategy=merge&strategy=merge"] {
            assert_eq!(read(bad), Err(Failure::StrategyNotValid), "{bad}");
        }
    }
}
