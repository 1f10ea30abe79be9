//! `If-Match` and `If-None-Match` (RFC 9110, section 13.1): what a document has to be for a request to be carried out.

use super::super::version::Version;
use crate::exchange::Condition;
use crate::http::head::Head;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// `If-Match`
    wanted: Option<Tags>,
    /// `If-None-Match`
    unwanted: Option<Tags>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Tags {
    Any,
    /// Those that can be a document's at all.
    Listed(Vec<Version>),
}

impl Preconditions {
    pub fn of_write(head: &Head<'_>) -> Preconditions {
        // Weak tags never match strongly, and nothing else does for a write (section 13.1.1).
        Preconditions { wanted: tags(head, "If-Match", false), unwanted: tags(head, "If-None-Match", true) }
    }

    /// Of a request that only reads `If-None-Match` counts.
    pub fn of_read(head: &Head<'_>) -> Preconditions {
        Preconditions { wanted: None, unwanted: tags(head, "If-None-Match", true) }
    }

    /// Whether they hold for a document of this version; `None`: there is none.
    pub fn hold(&self, current: Option<Version>) -> bool {
        let matches = |tags: &Tags| match (tags, current) {
            (_, None) => false,
            (Tags::Any, Some(_)) => true,
            (Tags::Listed(versions), Some(version)) => versions.contains(&version),
        };
        self.wanted.as_ref().is_none_or(&matches) && !self.unwanted.as_ref().is_some_and(&matches)
    }

    /// What the hub has to judge; `Err`: more than it can, somebody has to look first.
    pub fn for_hub(&self) -> Result<Option<Condition>, LookFirst> {
        match (&self.wanted, &self.unwanted) {
            (None, None) => Ok(None),
            (Some(Tags::Any), None) => Ok(Some(Condition::Present)),
            (None, Some(Tags::Any)) => Ok(Some(Condition::Absent)),
            (Some(Tags::Listed(versions)), None) => match versions[..] {
                [version] => Ok(Some(Condition::Version(version.millis()))),
                _ => Err(LookFirst),
            },
            (_, Some(_)) => Err(LookFirst),
        }
    }
}

/// Preconditions that no single [`Condition`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookFirst;

fn tags(head: &Head<'_>, field: &str, weak: bool) -> Option<Tags> {
    let mut listed = None;
    for element in head.fields_named(field).flat_map(|value| value.split(',')).map(str::trim) {
        if element == "*" {
            return Some(Tags::Any);
        }
        let versions = listed.get_or_insert_with(Vec::new);
        let opaque = element.strip_prefix("W/").filter(|_| weak).unwrap_or(element);
        versions.extend(opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).and_then(Version::parse));
    }
    listed.map(Tags::Listed)
}

/// The tag of a document's version.
pub fn entity_tag(version: Version) -> String {
    format!("\"{version}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{BodyLength, Version as HttpVersion};

    const OLD: &str = "2024-01-30T15:50:35.742Z";
    const NEW: &str = "2024-01-30T15:50:35.743Z";

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    fn read(fields: &[(&str, &str)]) -> Preconditions {
        let (version, body, fields) = (HttpVersion::Http11, BodyLength::None, fields.to_vec());
        let head = Head { method: "PUT", target: "/", version, fields, body, keep_alive: true, expects_continue: false };
        Preconditions::of_write(&head)
    }

    /// For no document, the old version and the new one.
    fn holds(fields: &[(&str, &str)]) -> [bool; 3] {
        let read = read(fields);
        [None, Some(version(OLD)), Some(version(NEW))].map(|current| read.hold(current))
    }

    #[test]
    fn a_version_has_to_match_whole_and_strongly() {
        let quoted = format!("\"{OLD}\"");
        assert_eq!(holds(&[]), [true, true, true]);
        assert_eq!(holds(&[("If-Match", "*")]), [false, true, true]);
        assert_eq!(holds(&[("if-match", &quoted)]), [false, true, false]);
        for never in [OLD, "", "\"\"", "\"x\"", &format!("W/{quoted}"), &format!("\"{OLD} \"")] {
            assert_eq!(holds(&[("If-Match", never)]), [false, false, false], "{never}");
        }
        let both = format!("\"x\", {quoted},\"{NEW}\"");
        assert_eq!(holds(&[("If-Match", &both)]), [false, true, true]);
        assert_eq!(holds(&[("If-Match", "\"x\""), ("If-Match", &quoted)]), [false, true, false]);
    }

    #[test]
    fn what_is_unwanted_must_not_match_not_even_weakly() {
        let quoted = format!("\"{OLD}\"");
        assert_eq!(holds(&[("If-None-Match", "*")]), [true, false, false]);
        assert_eq!(holds(&[("If-None-Match", &quoted)]), [true, false, true]);
        assert_eq!(holds(&[("If-None-Match", &format!("\"x\", W/{quoted}"))]), [true, false, true]);
        assert_eq!(holds(&[("If-None-Match", "nonsense")]), [true, true, true]);
        assert_eq!(holds(&[("If-Match", &quoted), ("If-None-Match", "*")]), [false, false, false]);
        assert_eq!(holds(&[("If-Match", "*"), ("If-None-Match", &quoted)]), [false, false, true]);
    }

    #[test]
    fn the_hub_judges_what_one_condition_says() {
        let quoted = format!("\"{OLD}\"");
        let ask = |fields: &[(&str, &str)]| read(fields).for_hub();
        assert_eq!(ask(&[]), Ok(None));
        assert_eq!(ask(&[("If-Match", "*")]), Ok(Some(Condition::Present)));
        assert_eq!(ask(&[("If-None-Match", "*")]), Ok(Some(Condition::Absent)));
        assert_eq!(ask(&[("If-Match", &quoted)]), Ok(Some(Condition::Version(version(OLD).millis()))));
        for more in [
            &[("If-Match", "x")][..],
            &[("If-None-Match", &quoted)],
            &[("If-Match", "*"), ("If-None-Match", "*")],
            &[("If-Match", &quoted), ("If-Match", &quoted)],
        ] {
            assert_eq!(ask(more), Err(LookFirst), "{more:?}");
        }
    }

    #[test]
    fn a_read_is_not_bound_to_a_version() {
        let fields = vec![("If-Match", "\"x\"")];
        let (version, body) = (HttpVersion::Http11, BodyLength::None);
        let head = Head { method: "GET", target: "/", version, fields, body, keep_alive: true, expects_continue: false };
        assert_eq!(Preconditions::of_read(&head), Preconditions::default());
    }
}
