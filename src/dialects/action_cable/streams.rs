//! Kind `streams`: names that are filled from the parameters of an identifier.

use super::channel::Reject;
use super::identifier::{Identifier, Value};
use super::options::{ChannelOptions, ParamType};
use crate::message::TopicName;

const DIGITS_MAX: usize = 20;
const WORD_BYTES_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 256;

/// Parameters with their types, and rules over them.
#[derive(Debug)]
pub struct Streams {
    params: Vec<(Box<str>, ParamType)>,
    rules: Vec<Rule>,
}

/// The first one whose parameters are all present names the streams.
#[derive(Debug)]
struct Rule {
    /// Places in `params`.
    when: Vec<usize>,
    streams: Vec<Template>,
}

#[derive(Debug)]
struct Template(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(Box<str>),
    /// Place in `params`.
    Param(usize),
}

impl Streams {
    /// # Errors
    /// The key of the channel whose value cannot be, and what is wrong with it.
    pub fn new(of: &ChannelOptions) -> Result<Streams, (&'static str, String)> {
        if of.rules.is_empty() {
            return Err(("rules", "must name streams".to_owned()));
        }
        let mut params = of.params.iter().map(|(name, &kind)| (name.as_str().into(), kind)).collect();
        let rules = of.rules.iter().map(|rule| {
            if rule.streams.is_empty() {
                return Err(("rules", "must name streams in each rule".to_owned()));
            }
            let when = rule.when.iter().map(|name| place(&mut params, name)).collect();
            let streams = rule.streams.iter().map(|text| Template::parse(text, &mut params));
            let streams = streams.collect::<Result<_, _>>().map_err(|problem| ("rules", problem))?;
            Ok(Rule { when, streams })
        });
        let rules = rules.collect::<Result<_, _>>()?;
        Ok(Streams { params, rules })
    }

    /// # Errors
    /// [`Reject::Param`] if a parameter is of a wrong type, or one is missing that a stream needs.
    pub fn fill(&self, identifier: &Identifier, streams_max: usize) -> Result<Vec<TopicName>, Reject> {
        let values = self.params.iter().map(|(name, kind)| read(identifier.param(name), *kind));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        let rule = self.rules.iter().find(|rule| rule.when.iter().all(|&place| values[place].is_some())).ok_or(Reject::Param)?;
        let mut streams: Vec<TopicName> = Vec::new();
        for template in &rule.streams {
            let stream = template.fill(&values).ok_or(Reject::Param)?;
            if !streams.contains(&stream) {
                if streams.len() == streams_max {
                    return Err(Reject::TooManyStreams);
                }
                streams.push(stream);
            }
        }
        Ok(streams)
    }
}

/// What a parameter is written as. Blank ones count as absent.
fn read(value: Option<&Value>, kind: ParamType) -> Result<Option<&str>, Reject> {
    let accepted = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::String(text)) => Some(text).filter(|text| fits(text, kind)),
        Some(Value::Integer(digits)) => Some(digits).filter(|digits| kind == ParamType::Int && is_in_range(digits)),
        Some(Value::Other) => None,
    };
    accepted.map(|text| Some(text.as_str())).ok_or(Reject::Param)
}

fn fits(text: &str, kind: ParamType) -> bool {
    match kind {
        ParamType::Int => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
        }
        ParamType::Word => {
            text.len() <= WORD_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        }
        ParamType::Text => text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control),
    }
}

fn is_in_range(digits: &str) -> bool {
    digits.parse::<i128>().is_ok_and(|number| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number))
}

/// Where a parameter stands; one that was not declared is a word.
fn place(params: &mut Vec<(Box<str>, ParamType)>, name: &str) -> usize {
    params.iter().position(|(known, _)| **known == *name).unwrap_or_else(|| {
        params.push((name.into(), ParamType::default()));
        params.len() - 1
    })
}

impl Template {
    fn parse(text: &str, params: &mut Vec<(Box<str>, ParamType)>) -> Result<Template, String> {
        let problem = |what: &str| Err(format!("\"{text}\" {what}"));
        if text.is_empty() || text.starts_with('$') {
            return problem("must not be empty or begin with \"$\"");
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let Some((name, after)) = behind.split_once('}').filter(|(name, _)| !name.is_empty() && !name.contains('{')) else {
                return problem("has a \"{\" that begins no parameter");
            };
            parts.push(Part::Text(before.into()));
            parts.push(Part::Param(place(params, name)));
            rest = after;
        }
        parts.push(Part::Text(rest.into()));
        let stray = parts.iter().any(|part| matches!(part, Part::Text(text) if text.contains('}')));
        if stray { problem("has a \"}\" that ends no parameter") } else { Ok(Template(parts)) }
    }

    fn fill(&self, values: &[Option<&str>]) -> Option<TopicName> {
        let mut name = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Param(place) => name.push_str(values[*place]?),
            }
        }
        Some(TopicName::from(name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams(text: &str) -> Result<Streams, (&'static str, String)> {
        Streams::new(&toml::from_str(text).unwrap())
    }

    const POSTS: &str = "params = { post_id = \"int\" }\n\
                         rules = [{ when = [\"post_id\"], streams = [\"posts_{post_id}\"] }, { streams = [\"posts_realtime\"] }]";

    fn fill(rules: &str, params: &str) -> Result<Vec<String>, Reject> {
        let identifier = Identifier::parse(&format!(r#"{{"channel":"C"{params}}}"#)).unwrap();
        Ok(streams(rules).unwrap().fill(&identifier, 2)?.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn ac_73_the_first_rule_whose_params_are_present_names_the_streams() {
        assert_eq!(fill(POSTS, r#","post_id":17"#).unwrap(), ["posts_17"]);
        assert_eq!(fill(POSTS, r#","post_id":"17""#).unwrap(), ["posts_17"]);
        for blank in ["", r#","post_id":null"#, r#","post_id":"""#, r#","post_id":"  ""#, r#","other":17"#] {
            assert_eq!(fill(POSTS, blank).unwrap(), ["posts_realtime"], "{blank}");
        }
    }

    #[test]
    fn ac_74_an_int_is_digits_and_nothing_else() {
        for bad in [
            r#""realtime""#,
            "{}",
            "[17]",
            "true",
            "17.0",
            "1e1",
            "18446744073709551616",
            "-9223372036854775809",
            r#""+1""#,
            r#""-""#,
            r#"" 1""#,
            r#""123456789012345678901""#,
        ] {
            assert_eq!(fill(POSTS, &format!(r#","post_id":{bad}"#)), Err(Reject::Param), "{bad}");
        }
        for fine in ["18446744073709551615", "-9223372036854775808", "-0", r#""-007""#, r#""12345678901234567890""#] {
            let digits = fine.trim_matches('"');
            assert_eq!(fill(POSTS, &format!(r#","post_id":{fine}"#)).unwrap(), [format!("posts_{digits}")]);
        }
    }

    #[test]
    fn words_and_texts_are_bounded() {
        let rules = "params = { b = \"text\" }\nrules = [{ streams = [\"x:{a}/{b}!\"] }]";
        let filled = |a: &str, b: &str| fill(rules, &format!(r#","a":{a},"b":{b}"#));
        assert_eq!(filled(r#""A-z_0.9""#, r#""é / {a}""#).unwrap(), ["x:A-z_0.9/é / {a}!"]);
        let (long, longer) = (format!("\"{}\"", "w".repeat(64)), format!("\"{}\"", "w".repeat(65)));
        assert!(filled(&long, &longer).is_ok() && filled(&longer, &long).is_err());
        let text = format!("\"{}\"", "t".repeat(257));
        for (a, b) in [("\"a b\"", "\"b\""), ("1", "\"b\""), ("\"é\"", "\"b\""), ("\"a\"", "\"b\\n\""), ("\"a\"", &text)] {
            assert_eq!(filled(a, b), Err(Reject::Param), "{a} {b}");
        }
        // A stream needs what its name is made of.
        assert_eq!(fill(rules, r#","a":"a""#), Err(Reject::Param));
    }

    #[test]
    fn a_param_of_a_wrong_type_rejects_even_if_another_rule_would_do() {
        let rules = "rules = [{ when = [\"a\", \"b\"], streams = [\"{a}\"] }, { streams = [\"s\"] }]";
        assert_eq!(fill(rules, r#","a":"x""#).unwrap(), ["s"]);
        assert_eq!(fill(rules, r#","a":"x","b":5"#), Err(Reject::Param));
        assert_eq!(fill("rules = [{ when = [\"a\"], streams = [\"s\"] }]", ""), Err(Reject::Param));
    }

    #[test]
    fn equal_streams_count_once_and_all_are_bounded() {
        let rules = "rules = [{ streams = [\"x_{a}\", \"x_{b}\", \"y\"] }]";
        assert_eq!(fill(rules, r#","a":"1","b":"1""#).unwrap(), ["x_1", "y"]);
        assert_eq!(fill(rules, r#","a":"1","b":"2""#), Err(Reject::TooManyStreams));
    }

    #[test]
    fn templates_that_cannot_be_are_refused() {
        for bad in ["", "$x", "a{", "a{}", "a}", "{a{b}}", "{a"] {
            let told = streams(&format!("rules = [{{ streams = [\"{bad}\"] }}]")).unwrap_err();
            assert_eq!(told.0, "rules", "{bad}");
        }
        assert!(streams("").is_err() && streams("rules = [{}]").is_err());
    }
}
