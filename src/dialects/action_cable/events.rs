//! Kind `events`: models and types, and the grammar of the parameter `events`.

use super::channel::Reject;
use super::identifier::Value;
use super::options::{ChannelOptions, Models as Configured};
use crate::message::TopicName;
use std::collections::{HashMap, HashSet};

const TYPES: [&str; 3] = ["create", "update", "destroy"];
const DEFAULT_TYPES: [&str; 2] = ["create", "update"];
const WORD_BYTES_MAX: usize = 64;

/// What a channel of this kind knows.
#[derive(Debug)]
pub struct Events {
    prefix: Box<str>,
    types: Vec<Box<str>>,
    /// Those of an item that names none.
    default_types: Vec<Box<str>>,
    models: Models,
    /// Unknown models and types reject.
    strict: bool,
    /// The streams of a subscription that lists nothing.
    legacy: Vec<TopicName>,
    /// Stream to members of `object` that never leave.
    sensitive: HashMap<Box<str>, Vec<Box<str>>>,
}

#[derive(Debug)]
enum Models {
    Table { tokens: HashMap<Box<str>, Box<str>>, known: HashSet<Box<str>> },
    Any,
}

impl Events {
    /// # Errors
    /// The key of the channel whose value cannot be, and what is wrong with it.
    pub fn new(of: &ChannelOptions) -> Result<Events, (&'static str, String)> {
        let prefix = of.prefix.as_deref().unwrap_or("api");
        demand(is_word(prefix), "prefix", "must be 1 to 64 letters, digits or \"_\"")?;
        let types = words(of.types.as_deref(), &TYPES, "types")?;
        let default_types = words(of.default_types.as_deref(), &DEFAULT_TYPES, "default_types")?;
        demand(default_types.iter().all(|kind| types.contains(kind)), "default_types", "must be among types")?;
        let models = match &of.models {
            Configured::Any => Models::Any,
            Configured::Table(table) => {
                demand(!table.is_empty(), "models", "must name classes and tokens, or be \"any\"")?;
                demand(table.keys().all(|class| !class.is_empty()), "models", "must not have an empty class name")?;
                demand(
                    table.values().all(|token| is_word(token)),
                    "models",
                    "must have tokens of 1 to 64 letters, digits or \"_\"",
                )?;
                let tokens = table.iter().map(|(class, token)| (class.as_str().into(), token.as_str().into())).collect();
                Models::Table { tokens, known: table.values().map(|token| token.as_str().into()).collect() }
            }
        };
        let legacy: Vec<TopicName> = of.legacy_streams.iter().map(|name| TopicName::from(name.as_str())).collect();
        let nameable = legacy.iter().all(|stream| !stream.as_str().is_empty() && !stream.is_reserved());
        demand(nameable, "legacy_streams", "must not be empty or begin with \"$\"")?;
        let mut events = Events {
            prefix: prefix.into(),
            types,
            default_types,
            models,
            strict: of.strict == Some(true),
            legacy,
            sensitive: HashMap::new(),
        };
        for field in &of.sensitive_fields {
            let (token, member) = field
                .split_once('.')
                .filter(|(token, member)| is_word(token) && !member.is_empty())
                .ok_or_else(|| ("sensitive_fields", format!("\"{field}\" is not of the form \"<token>.<member>\"")))?;
            for kind in &events.types {
                let stream = stream(&events.prefix, token, kind);
                events.sensitive.entry(stream.as_str().into()).or_default().push(member.into());
            }
        }
        Ok(events)
    }

    /// The streams that the parameter `events` asks for, without duplicates.
    ///
    /// # Errors
    /// [`Reject::Events`] if it is no list, [`Reject::TooManyStreams`] beyond `streams_max`.
    pub fn streams(&self, events: Option<&Value>, streams_max: usize) -> Result<Vec<TopicName>, Reject> {
        let text = match events {
            None | Some(Value::Null) => "",
            Some(Value::String(text)) => text,
            Some(Value::Integer(_) | Value::Other) => return Err(Reject::Events),
        };
        let mut found = Found { list: Vec::new(), names: HashSet::new(), streams_max };
        if text.trim().is_empty() {
            self.legacy.iter().cloned().try_for_each(|stream| found.add(stream))?;
            return Ok(found.list);
        }
        for item in text.split(';').map(str::trim).filter(|item| !item.is_empty()) {
            match item.find('#') {
                None => self.add(item, self.default_types.iter().map(AsRef::as_ref), &mut found)?,
                Some(_) => {
                    // Empty parts at the end do not count; whatever stands behind the second part does not either.
                    let behind = item.trim_end_matches(|letter: char| letter == '#' || letter.is_whitespace());
                    let (model, rest) = behind.split_once('#').ok_or(Reject::Events)?;
                    let types = rest.split('#').next().unwrap_or_default();
                    let types = types.split(',').map(str::trim).filter(|kind| !kind.is_empty());
                    self.add(model.trim(), types, &mut found)?;
                }
            }
        }
        Ok(found.list)
    }

    /// Adds one stream for each pair that is known.
    fn add<'a>(&self, model: &str, types: impl Iterator<Item = &'a str>, found: &mut Found) -> Result<(), Reject> {
        let known_model = self.knows(model);
        if self.strict && !known_model {
            return Err(Reject::Events);
        }
        for kind in types {
            match (known_model, self.has_type(kind)) {
                (true, true) => found.add(self.stream(model, kind))?,
                (_, false) if self.strict => return Err(Reject::Events),
                (_, _) => {}
            }
        }
        Ok(())
    }

    fn knows(&self, token: &str) -> bool {
        match &self.models {
            Models::Table { known, .. } => known.contains(token),
            Models::Any => is_word(token),
        }
    }

    pub fn has_type(&self, kind: &str) -> bool {
        self.types.iter().any(|known| **known == *kind)
    }

    /// The token of a class. A channel that takes any token knows no classes.
    pub fn token(&self, class: &str) -> Option<&str> {
        match &self.models {
            Models::Table { tokens, .. } => tokens.get(class).map(AsRef::as_ref),
            Models::Any => None,
        }
    }

    pub fn stream(&self, token: &str, kind: &str) -> TopicName {
        stream(&self.prefix, token, kind)
    }

    /// Members of `object` that never leave in messages of this stream.
    pub fn sensitive(&self, stream: &str) -> &[Box<str>] {
        self.sensitive.get(stream).map_or(&[], Vec::as_slice)
    }
}

/// Streams in the order they were first named.
struct Found {
    list: Vec<TopicName>,
    names: HashSet<TopicName>,
    streams_max: usize,
}

impl Found {
    fn add(&mut self, stream: TopicName) -> Result<(), Reject> {
        if self.names.insert(stream.clone()) {
            if self.list.len() == self.streams_max {
                return Err(Reject::TooManyStreams);
            }
            self.list.push(stream);
        }
        Ok(())
    }
}

fn stream(prefix: &str, token: &str, kind: &str) -> TopicName {
    TopicName::from(format!("{prefix}:{token}_{kind}").as_str())
}

fn words(said: Option<&[String]>, otherwise: &[&str], key: &'static str) -> Result<Vec<Box<str>>, (&'static str, String)> {
    let words: Vec<Box<str>> = match said {
        Some(list) => list.iter().map(|word| word.as_str().into()).collect(),
        None => otherwise.iter().map(|&word| word.into()).collect(),
    };
    demand(words.iter().all(|word| is_word(word)), key, "must be words of 1 to 64 letters, digits or \"_\"")?;
    Ok(words)
}

fn is_word(text: &str) -> bool {
    (1..=WORD_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn demand(holds: bool, key: &'static str, problem: &str) -> Result<(), (&'static str, String)> {
    if holds { Ok(()) } else { Err((key, problem.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::action_cable::preset;

    fn events(change: impl FnOnce(&mut ChannelOptions)) -> Events {
        let mut options = preset::metasmoke();
        change(&mut options);
        Events::new(&options).unwrap()
    }

    fn read(events: &Events, text: &str) -> Result<Vec<String>, Reject> {
        let streams = events.streams(Some(&Value::String(text.to_owned())), 128)?;
        Ok(streams.iter().map(|stream| stream.as_str().strip_prefix("api:").unwrap_or(stream.as_str()).to_owned()).collect())
    }

    #[track_caller]
    fn gives(text: &str, streams: &[&str]) {
        assert_eq!(read(&events(|_| {}), text).unwrap(), streams, "{text:?}");
    }

    #[test]
    fn the_documents_lists_are_read_as_it_says() {
        gives(
            "posts;feedbacks;flag_logs",
            &["posts_create", "posts_update", "feedbacks_create", "feedbacks_update", "flag_logs_create", "flag_logs_update"],
        );
        gives("statistics#create,update;posts#create", &["statistics_create", "statistics_update", "posts_create"]);
        gives("posts#destroy", &["posts_destroy"]);
        gives("ref#update", &["ref_update"]);
        let streams = events(|_| {}).streams(Some(&Value::String("posts#create".into())), 1).unwrap();
        assert_eq!(streams, [TopicName::from("api:posts_create")]);
    }

    #[test]
    fn ac_42_nothing_listed_gives_the_legacy_streams() {
        let legacy = ["api_feedback", "api_flag_logs", "api_deletion_logs", "api_statistics"].map(TopicName::from);
        let events = events(|_| {});
        for blank in [None, Some(Value::Null), Some(Value::String("".into())), Some(Value::String(" \u{3000}\t".into()))] {
            assert_eq!(events.streams(blank.as_ref(), 128).unwrap(), legacy);
        }
    }

    #[test]
    fn ac_43_unknown_names_add_nothing_or_reject_if_strict() {
        let strict = events(|options| options.strict = Some(true));
        for text in ["unicorns;posts#frobnicate", "Posts", "posts,feedbacks", "posts#Create", "flag#logs_create", "unicorns#,"] {
            gives(text, &[]);
            assert_eq!(read(&strict, text), Err(Reject::Events), "{text}");
        }
        assert_eq!(read(&strict, ";posts#,").unwrap(), [""; 0]);
        assert_eq!(read(&strict, "posts#create").unwrap(), ["posts_create"]);
    }

    #[test]
    fn ac_44_empty_parts_are_skipped_and_further_ones_ignored() {
        for text in ["posts#create#update", "posts#,create", "posts#create,", "posts#create##x#"] {
            gives(text, &["posts_create"]);
        }
        gives("posts#create,,update", &["posts_create", "posts_update"]);
        for text in [";", "#create", "##create", "posts##create", "posts#,"] {
            gives(text, &[]);
        }
        for text in ["posts;", ";posts", "posts;;"] {
            gives(text, &["posts_create", "posts_update"]);
        }
    }

    #[test]
    fn ac_45_an_item_without_types_rejects_everything() {
        for text in ["posts#", "posts##", "#", "##", "posts;foo#", "posts#create;#", "posts# ", "posts# # ", "# \u{a0}#"] {
            assert_eq!(read(&events(|_| {}), text), Err(Reject::Events), "{text:?}");
        }
    }

    #[test]
    fn ac_46_other_values_than_text_reject() {
        for value in [Value::Integer("5".into()), Value::Other] {
            assert_eq!(events(|_| {}).streams(Some(&value), 128), Err(Reject::Events));
        }
    }

    #[test]
    fn ac_47_a_stream_counts_once() {
        gives("posts;posts#create", &["posts_create", "posts_update"]);
        gives("posts#create,create", &["posts_create"]);
        // Different pairs may glue to one name.
        let glued = events(|options| {
            options.types = Some(["create", "update", "logs_create"].map(str::to_owned).into());
        });
        assert_eq!(read(&glued, "flags#create;flag_logs#create").unwrap().len(), 2);
        let any = events(|options| {
            options.models = Configured::Any;
            options.types = Some(["create", "update", "logs_create"].map(str::to_owned).into());
        });
        assert_eq!(read(&any, "flag#logs_create;flag_logs#create").unwrap(), ["flag_logs_create"]);
    }

    #[test]
    fn ac_48_space_around_parts_is_ignored() {
        gives(
            " posts ;\tfeedbacks#\u{3000}create , update\n",
            &["posts_create", "posts_update", "feedbacks_create", "feedbacks_update"],
        );
        gives("posts # create #x", &["posts_create"]);
    }

    #[test]
    fn ac_49_ref_is_singular() {
        assert_eq!(events(|_| {}).token("Ref"), Some("ref"));
        gives("refs#update", &[]);
    }

    #[test]
    fn ac_37_streams_beyond_the_bound_reject() {
        let any = events(|options| options.models = Configured::Any);
        let list = |count: usize| (0..count).map(|n| format!("m{n}#create")).collect::<Vec<_>>().join(";");
        assert_eq!(read(&any, &list(128)).unwrap().len(), 128);
        assert_eq!(read(&any, &list(129)), Err(Reject::TooManyStreams));
        assert_eq!(read(&any, &format!("{};m0#create", list(128))).unwrap().len(), 128);
        assert_eq!(read(&any, &format!("{}#create;-#create;é", "a".repeat(65))).unwrap(), [""; 0]);
    }

    #[test]
    fn a_channel_of_its_own_has_its_own_words() {
        let own = events(|options| {
            options.prefix = Some("x".into());
            options.types = Some(vec!["open".into(), "close".into()]);
            options.default_types = Some(vec!["close".into()]);
            options.legacy_streams = Vec::new();
        });
        assert_eq!(read(&own, "posts;users#open,create").unwrap(), ["x:posts_close", "x:users_open"]);
        assert_eq!(read(&own, " ").unwrap(), [""; 0]);
        assert_eq!(own.sensitive("x:flags_close").len(), 2);
        assert!(own.sensitive("api:flags_create").is_empty());
    }

    #[test]
    fn what_cannot_be_names_its_key() {
        let of = |change: fn(&mut ChannelOptions)| {
            let mut options = preset::metasmoke();
            change(&mut options);
            Events::new(&options).map(drop).map_err(|(key, _)| key)
        };
        assert_eq!(of(|options| options.prefix = Some("$x".into())), Err("prefix"));
        assert_eq!(of(|options| options.types = Some(vec!["a b".into()])), Err("types"));
        assert_eq!(of(|options| options.types = Some(vec!["create".into()])), Err("default_types"));
        assert_eq!(of(|options| options.models = Configured::default()), Err("models"));
        assert_eq!(of(|options| options.models = Configured::Table([("A".to_owned(), "a-b".to_owned())].into())), Err("models"));
        assert_eq!(of(|options| options.legacy_streams.push("$x".into())), Err("legacy_streams"));
        assert_eq!(of(|options| options.sensitive_fields.push("users".into())), Err("sensitive_fields"));
    }
}
