//! Members that must never leave: removed from an object's text, whatever way their names are spelled.

use crate::json;

/// Appends an object without the members of these names; everything else stays byte for byte.
///
/// Names are compared decoded, and every duplicate goes. `object` is a JSON object without white space; `None` if it is none.
pub fn remove(object: &str, names: &[&str], out: &mut Vec<u8>) -> Option<()> {
    let before = out.len();
    out.push(b'{');
    let first = out.len();
    let read = json::members(object, |key, value| {
        // A name that cannot be decoded could be any of them.
        if json::string(key).is_some_and(|key| !names.contains(&key.as_str())) {
            if out.len() > first {
                out.push(b',');
            }
            out.extend_from_slice(key.as_bytes());
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
        }
    });
    if read.is_none() {
        out.truncate(before);
        return None;
    }
    out.push(b'}');
    Some(())
}

/// The message of an event that somebody else wrote, without these members of its `object`s.
///
/// `message` is JSON without white space; what is no object, or has no object as `object`, stays as it is.
pub fn remove_in_event(message: &str, names: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len());
    if names.is_empty() || !message.starts_with('{') {
        out.extend_from_slice(message.as_bytes());
        return out;
    }
    json::members(message, |key, value| {
        out.push(if out.is_empty() { b'{' } else { b',' });
        out.extend_from_slice(key.as_bytes());
        out.push(b':');
        let is_object = json::string(key).is_some_and(|key| key == "object") && value.starts_with('{');
        if !is_object || remove(value, names, &mut out).is_none() {
            out.extend_from_slice(value.as_bytes());
        }
    });
    out.extend_from_slice(if out.is_empty() { b"{}" } else { b"}" });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn removed(object: &str, left: &str) {
        let mut out = b"before".to_vec();
        remove(object, &["key", "é", "q\"\n"], &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("before{left}"));
    }

    #[test]
    fn ac_63_listed_members_go_duplicated_and_escaped_ones_too() {
        removed(r#"{"id":1,"key":"secret","k\u0065y":2,"key":{"a":[]},"name":"x"}"#, r#"{"id":1,"name":"x"}"#);
        removed(r#"{"\u006b\u0065\u0079":1,"\u00e9":2,"é":3,"q\"\u000a":4,"q\u0022\n":5}"#, "{}");
        removed(r#"{"key":1,"id":2}"#, r#"{"id":2}"#);
        removed(r#"{"id":2,"key":1}"#, r#"{"id":2}"#);
        removed("{}", "{}");
    }

    #[test]
    fn everything_else_stays_byte_for_byte() {
        let object = r#"{"Key":1.0,"keys":12345678901234567890123,"a":{"key":1},"a":[{"key":2}],"\u0061":"\/\u0041é","":null}"#;
        removed(object, object);
    }

    #[test]
    fn what_is_no_object_is_none() {
        let mut out = b"before".to_vec();
        for bad in ["[]", "1", "{\"a\":1", "{\"a\":1}x"] {
            assert_eq!(remove(bad, &["key"], &mut out), None, "{bad}");
            assert_eq!(out, b"before");
        }
    }

    #[test]
    fn events_of_others_lose_the_members_of_each_object() {
        for (message, left) in [
            (r#"{"event_type":"create","object":{"key":1,"id":2}}"#, r#"{"event_type":"create","object":{"id":2}}"#),
            (r#"{"object":{"key":1},"\u006fbject":{"key":2},"o":{"key":3}}"#, r#"{"object":{},"\u006fbject":{},"o":{"key":3}}"#),
            (r#"{"object":[{"key":1}],"key":2}"#, r#"{"object":[{"key":1}],"key":2}"#),
            ("{}", "{}"),
            (r#"[{"object":{"key":1}}]"#, r#"[{"object":{"key":1}}]"#),
            ("\"{\"", "\"{\""),
            ("null", "null"),
        ] {
            assert_eq!(String::from_utf8(remove_in_event(message, &["key"])).unwrap(), left);
        }
        assert_eq!(remove_in_event(r#"{"object":{"key":1}}"#, &[]), br#"{"object":{"key":1}}"#);
    }
}
