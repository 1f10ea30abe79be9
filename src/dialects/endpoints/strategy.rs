//! How a PUT or a PATCH changes the data of a record (specification, section 7).

use super::failure::Failure;
use crate::json::merge_patch;
use crate::json::object::{Member, Members};
use hashbrown::HashMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The new value, whatever it is.
    Force,
    /// Top-level members are assigned.
    Merge,
    /// The new value, if it is of the same type.
    Replace,
    /// RFC 7396.
    Patch,
}

impl Strategy {
    /// The data after the change. Both are JSON that `json::compact` wrote; takes time in proportion to them.
    ///
    /// `bytes_max` bounds how far it grows: by changes alone a record does not become larger than one that is sent whole.
    ///
    /// # Errors
    /// [`Failure::TypesDiffer`], [`Failure::ObjectsRequired`], [`Failure::BodyTooLarge`]
    pub fn apply(self, old: &str, new: &str, bytes_max: usize) -> Result<String, Failure> {
        let result = match self {
            Strategy::Force => return Ok(new.to_owned()),
            Strategy::Replace if Type::of(old) == Type::of(new) => return Ok(new.to_owned()),
            Strategy::Replace => return Err(Failure::TypesDiffer),
            Strategy::Merge => assign(old, new).ok_or(Failure::ObjectsRequired)?,
            Strategy::Patch => merge_patch::merge(old, new),
        };
        if result.len() > bytes_max.max(old.len()).max(new.len()) { Err(Failure::BodyTooLarge) } else { Ok(result) }
    }
}

/// Type of a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

impl Type {
    fn of(text: &str) -> Type {
        match text.as_bytes().first() {
            Some(b'{') => Type::Object,
            Some(b'[') => Type::Array,
            Some(b'"') => Type::String,
            Some(b't' | b'f') => Type::Boolean,
            Some(b'n') => Type::Null,
            Some(_) | None => Type::Number,
        }
    }
}

/// `null` is a value like others; keys that are there keep their places, new ones follow. Of duplicate keys that are assigned
/// to, or assigned, the last counts.
fn assign(old: &str, new: &str) -> Option<String> {
    let (old, new) = (Members::of(old)?.0, Members::of(new)?.0);
    let last = |members: &[Member<'_>]| -> HashMap<String, usize> {
        members.iter().enumerate().map(|(place, member)| (member.name.to_string(), place)).collect()
    };
    let (old_places, new_places) = (last(&old), last(&new));
    let kept = old.iter().enumerate().filter_map(|(place, member)| match new_places.get(&*member.name) {
        None => Some((member.key, member.value)),
        Some(&assigned) => (old_places[&*member.name] == place).then(|| (member.key, new[assigned].value)),
    });
    let added = new
        .iter()
        .enumerate()
        .filter(|(place, member)| !old_places.contains_key(&*member.name) && new_places[&*member.name] == *place);
    let mut out = String::from("{");
    for (key, value) in kept.chain(added.map(|(_, member)| (member.key, member.value))) {
        if out.len() > 1 {
            out.push(',');
        }
        out.extend([key, ":", value]);
    }
    out.push('}');
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(strategy: Strategy, old: &str, new: &str) -> Result<String, Failure> {
        strategy.apply(old, new, 1000)
    }

    const VALUES: [&str; 8] = [r#"{"a":1}"#, "[1]", r#""s""#, "1.0", "-1", "true", "false", "null"];

    #[test]
    fn ep_61_force_takes_any_value_and_replace_one_of_the_same_type() {
        let class = |text| match text {
            "1.0" | "-1" => 3,
            "true" | "false" => 4,
            other => 10 + VALUES.iter().position(|value| *value == other).unwrap(),
        };
        for old in VALUES {
            for new in VALUES {
                assert_eq!(apply(Strategy::Force, old, new).as_deref(), Ok(new), "{old} {new}");
                let expected = if class(old) == class(new) { Ok(new) } else { Err(Failure::TypesDiffer) };
                assert_eq!(apply(Strategy::Replace, old, new).as_deref(), expected.as_ref().map(|it| &**it), "{old} {new}");
            }
        }
    }

    #[test]
    fn ep_61_merge_assigns_members_of_objects() {
        for (old, new, result) in [
            (r#"{"a":1,"b":2}"#, r#"{"c":3,"a":null}"#, r#"{"a":null,"b":2,"c":3}"#),
            (r#"{"a":{"x":1}}"#, r#"{"a":{"y":2}}"#, r#"{"a":{"y":2}}"#),
            ("{}", "{}", "{}"),
            (r#"{"a":1.0}"#, "{}", r#"{"a":1.0}"#),
            ("{}", r#"{"a":1e2}"#, r#"{"a":1e2}"#),
            (r#"{"\u0061":1,"b":1}"#, r#"{"a":2}"#, r#"{"\u0061":2,"b":1}"#),
            (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":4}"#, r#"{"b":2,"a":4}"#),
            (r#"{"a":1,"a":2}"#, r#"{"b":3}"#, r#"{"a":1,"a":2,"b":3}"#),
            (r#"{"a":1}"#, r#"{"b":1,"a":2,"b":3,"a":4}"#, r#"{"a":4,"b":3}"#),
        ] {
            assert_eq!(apply(Strategy::Merge, old, new).as_deref(), Ok(result), "{old} {new}");
        }
        for other in &VALUES[1..] {
            for (old, new) in [(*other, VALUES[0]), (VALUES[0], *other), (*other, *other)] {
                assert_eq!(apply(Strategy::Merge, old, new), Err(Failure::ObjectsRequired), "{old} {new}");
            }
        }
    }

    #[test]
    fn ep_62_a_patch_follows_rfc_7396() {
        for (old, patch, result) in [
            (r#"{"a":1,"b":{"c":2,"d":3}}"#, r#"{"a":null,"b":{"c":null,"e":4}}"#, r#"{"b":{"d":3,"e":4}}"#),
            ("[1]", r#"{"a":{"b":null}}"#, r#"{"a":{}}"#),
            (r#"{"a":1}"#, "[1]", "[1]"),
            (r#"{"a":1}"#, "null", "null"),
        ] {
            assert_eq!(apply(Strategy::Patch, old, patch).as_deref(), Ok(result), "{old} {patch}");
        }
    }

    #[test]
    fn a_record_grows_up_to_a_bound_and_may_always_shrink() {
        let of = |strategy: Strategy, old: &str, new: &str, bytes_max| strategy.apply(old, new, bytes_max).map(|it| it.len());
        for strategy in [Strategy::Merge, Strategy::Patch] {
            assert_eq!(of(strategy, r#"{"a":1}"#, r#"{"b":2}"#, 13), Ok(13));
            assert_eq!(of(strategy, r#"{"a":1}"#, r#"{"b":2}"#, 12), Err(Failure::BodyTooLarge));
            assert_eq!(of(strategy, r#"{"a":"long enough"}"#, r#"{"a":1}"#, 1), Ok(7));
        }
    }

    /// A list of names that is looked through for each key would make this take minutes.
    #[test]
    fn many_keys_take_time_in_proportion() {
        let object = |value: u32| {
            let members: Vec<String> = (0..50_000).map(|key| format!("\"k{key}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert_eq!(Strategy::Merge.apply(&object(1), &object(2), 1 << 20).unwrap(), object(2));
    }
}
