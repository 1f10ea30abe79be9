//! What the options mean once they are checked: who may listen to which channel. A reload swaps the whole of it.

use super::channel::{Channel, Kind};
use super::events::Events;
use super::options::{self, ChannelOptions, DuplicateSubscribe, OnKeyRemoved, Options, Preset};
use super::origin::OriginRule;
use super::preset;
use super::signed::{PublicStreams, Signed, SigningKey};
use super::streams::Streams;
use crate::access::{self, Digest, digest};
use std::collections::HashMap;
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// The channel of signed and public streams that is always there.
const PUBSUB: &str = "$pubsub";
const NAME_BYTES_MAX: usize = 64;
const CHANNEL_NAME_BYTES_MAX: usize = 128;
const KEY_BYTES_MAX: usize = 256;

/// Key of the options and what is wrong with its value.
pub type Problem = (String, String);

/// One who may listen, and perhaps only to some channels.
#[derive(Debug)]
pub struct Key {
    /// Under which its connections are known.
    pub name: Box<str>,
    digest: Digest,
    /// Empty: every channel.
    channels: Vec<Box<str>>,
}

impl Key {
    pub fn opens(&self, channel: &str) -> bool {
        self.channels.is_empty() || self.channels.iter().any(|name| **name == *channel)
    }
}

/// The rules of one configuration.
#[derive(Debug)]
pub struct Rules {
    channels: HashMap<Box<str>, Arc<Channel>>,
    /// Channels of kind `events`, in the order of the configuration.
    models: Vec<Arc<Channel>>,
    keys: Vec<Arc<Key>>,
    publish_key: Option<Digest>,
    pub origin: OriginRule,
    /// Decoded bytes of an identifier.
    pub identifier_bytes_max: usize,
    pub subscriptions_max: usize,
    pub streams_max: usize,
    /// Bytes of one message after white space is removed.
    pub payload_bytes_max: usize,
    /// Per second and connection; 0 = no limit.
    pub bad_input_rate: u32,
    pub duplicate_subscribe: DuplicateSubscribe,
    pub on_key_removed: OnKeyRemoved,
}

impl Rules {
    /// # Errors
    /// The key whose value cannot be, like `channel[0].name`, and what is wrong with it.
    pub fn new(options: &Options) -> Result<Rules, Problem> {
        let (channels, models) = channels(options)?;
        let keys = keys(options, &channels)?;
        let check_origin = options.check_origin.unwrap_or(match options.preset {
            None => true,
            Some(Preset::Metasmoke) => false,
        });
        Ok(Rules {
            channels,
            models,
            keys,
            publish_key: publish_key(options)?,
            origin: OriginRule::new(check_origin, options.allow_same_origin, &options.allowed_origins)
                .map_err(|problem| ("allowed_origins".to_owned(), problem))?,
            identifier_bytes_max: options.max_identifier as usize,
            subscriptions_max: options.max_subscriptions,
            streams_max: options.max_streams_per_subscription,
            payload_bytes_max: options.max_payload as usize,
            bad_input_rate: options.bad_input_rate,
            duplicate_subscribe: options.duplicate_subscribe,
            on_key_removed: options.on_key_removed,
        })
    }

    pub fn channel(&self, name: &str) -> Option<&Arc<Channel>> {
        self.channels.get(name)
    }

    /// The key that was presented, if it is known: exact bytes, 1 to 256 of them.
    pub fn key(&self, presented: &str) -> Option<&Arc<Key>> {
        let presented = Some(presented).filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len()))?;
        access::find(&self.keys, &digest(presented.as_bytes()), |key| &key.digest)
    }

    /// Whether a key that was accepted earlier still opens this channel, under the same name.
    pub fn still_opens(&self, key: &Key, channel: &str) -> bool {
        access::find(&self.keys, &key.digest, |known| &known.digest)
            .is_some_and(|known| known.name == key.name && known.opens(channel))
    }

    /// Whether a key that was accepted for the connection is still known, under the same name.
    pub fn still_knows(&self, key: &Key) -> bool {
        access::find(&self.keys, &key.digest, |known| &known.digest).is_some_and(|known| known.name == key.name)
    }

    /// Whether there is a publish key at all.
    pub fn has_publish_key(&self) -> bool {
        self.publish_key.is_some()
    }

    pub fn may_publish(&self, presented: &str) -> bool {
        self.publish_key.is_some_and(|known| bool::from(known.ct_eq(&digest(presented.as_bytes()))))
    }

    /// The first channel of kind `events` that knows this class, and the class's token.
    pub fn model(&self, class: &str) -> Option<(&Events, &str)> {
        self.events().find_map(|events| Some((events, events.token(class)?)))
    }

    /// Members that never leave: the fields of `object` in messages of this stream.
    pub fn sensitive(&self, stream: &str) -> Vec<&str> {
        self.events().flat_map(|events| events.sensitive(stream)).map(AsRef::as_ref).collect()
    }

    fn events(&self) -> impl Iterator<Item = &Events> {
        self.models.iter().filter_map(|channel| match &channel.kind {
            Kind::Events(events) => Some(events),
            Kind::Streams(_) | Kind::Signed(_) => None,
        })
    }
}

type Channels = (HashMap<Box<str>, Arc<Channel>>, Vec<Arc<Channel>>);

fn channels(options: &Options) -> Result<Channels, Problem> {
    let mut channels: HashMap<Box<str>, Arc<Channel>> = HashMap::new();
    let mut models = Vec::new();
    let signing = signing_keys(options)?;
    for (index, of) in options.channel.iter().enumerate() {
        let problem = |(key, problem): (&str, String)| (format!("channel[{index}].{key}"), problem);
        let channel = Arc::new(channel(of, options, &signing).map_err(problem)?);
        if channels.insert(channel.name.clone(), channel.clone()).is_some() {
            return Err(problem(("name", "is the name of another channel, too".to_owned())));
        }
        models.push(channel);
    }
    let preset = options.preset.map(|Preset::Metasmoke| preset::metasmoke());
    let pubsub = ChannelOptions { name: PUBSUB.to_owned(), kind: Some(options::Kind::Signed), ..ChannelOptions::default() };
    // A channel that was configured under the same name replaces these.
    for of in preset.into_iter().chain([pubsub]) {
        if channels.contains_key(of.name.as_str()) {
            continue;
        }
        let channel = Arc::new(channel(&of, options, &signing).map_err(|(key, problem)| (key.to_owned(), problem))?);
        channels.insert(channel.name.clone(), channel.clone());
        models.push(channel);
    }
    models.retain(|channel| matches!(channel.kind, Kind::Events(_)));
    Ok((channels, models))
}

fn channel(of: &ChannelOptions, options: &Options, signing: &[SigningKey]) -> Result<Channel, (&'static str, String)> {
    let fits = (1..=CHANNEL_NAME_BYTES_MAX).contains(&of.name.len()) && !of.name.chars().any(char::is_control);
    demand(fits, "name", "must have 1 to 128 bytes without control characters")?;
    // Of the server's own names, this one is a channel.
    demand(!of.name.starts_with('$') || of.name == PUBSUB, "name", "must not begin with \"$\"")?;
    let kind = of.kind.ok_or_else(|| ("kind", "must be events, streams or signed".to_owned()))?;
    of_its_kind(of, kind)?;
    // Other libraries' channels know signed names only.
    let public = PublicStreams {
        on: options.public_streams && of.name == PUBSUB,
        prefixes: options.public_prefixes.iter().map(|prefix| prefix.as_str().into()).collect(),
    };
    Ok(Channel {
        name: of.name.as_str().into(),
        needs_key: of.key.unwrap_or(kind == options::Kind::Events),
        history: of.history && options.history_limit > 0,
        whisper: options.whisper && kind == options::Kind::Signed,
        kind: match kind {
            options::Kind::Events => Kind::Events(Events::new(of)?),
            options::Kind::Streams => Kind::Streams(Streams::new(of)?),
            options::Kind::Signed => Kind::Signed(Signed::new(of, signing.to_vec(), public)?),
        },
    })
}

/// Keys that another kind has mean nothing, which nobody who writes them wants.
fn of_its_kind(of: &ChannelOptions, kind: options::Kind) -> Result<(), (&'static str, String)> {
    use options::Kind as K;
    let said = [
        ("prefix", of.prefix.is_some(), K::Events),
        ("types", of.types.is_some(), K::Events),
        ("default_types", of.default_types.is_some(), K::Events),
        ("models", of.models != options::Models::default(), K::Events),
        ("strict", of.strict.is_some(), K::Events),
        ("legacy_streams", !of.legacy_streams.is_empty(), K::Events),
        ("sensitive_fields", !of.sensitive_fields.is_empty(), K::Events),
        ("params", !of.params.is_empty(), K::Streams),
        ("rules", !of.rules.is_empty(), K::Streams),
        ("param", of.param.is_some(), K::Signed),
    ];
    for (key, said, belongs) in said {
        demand(!said || belongs == kind, key, "means nothing for a channel of this kind")?;
    }
    demand(kind != K::Events || of.key != Some(false), "key", "cannot be false: channels of kind events need a key")
}

fn signing_keys(options: &Options) -> Result<Vec<SigningKey>, Problem> {
    let filled = options.streams_secret.iter().all(|secret| !secret.as_str().is_empty());
    demand(filled, "streams_secret", "must not be empty").map_err(owned)?;
    let client_names = options.public_prefixes.iter().all(|prefix| !prefix.starts_with('$'));
    demand(client_names, "public_prefixes", "must not begin with \"$\"").map_err(owned)?;
    Ok(options.streams_secret.iter().map(|secret| SigningKey::new(secret.as_str().as_bytes())).collect())
}

/// The digest of what publishers present.
fn publish_key(options: &Options) -> Result<Option<Digest>, Problem> {
    if options.secret.as_ref().is_some_and(|secret| secret.as_str().is_empty()) {
        return Err(("secret".to_owned(), "must not be empty".to_owned()));
    }
    let derived = options.secret.as_ref().map(|secret| SigningKey::new(secret.as_str().as_bytes()).broadcast_key());
    let key = options.publish_key.as_ref().map(|key| key.as_str().to_owned()).or(derived);
    Ok(key.map(|key| digest(key.as_bytes())))
}

fn keys(options: &Options, channels: &HashMap<Box<str>, Arc<Channel>>) -> Result<Vec<Arc<Key>>, Problem> {
    let mut keys: Vec<Arc<Key>> = Vec::new();
    for (index, of) in options.keys.iter().enumerate() {
        let problem = |(key, problem): (&str, String)| (format!("keys[{index}].{key}"), problem);
        let fits = (1..=NAME_BYTES_MAX).contains(&of.name.len()) && !of.name.chars().any(char::is_control);
        demand(fits, "name", "must have 1 to 64 bytes without control characters: it stands for the key in logs")
            .map_err(problem)?;
        let Some(sha256) = of.sha256 else {
            return Err(problem(("sha256", "is missing: the SHA-256 digest of the key".to_owned())));
        };
        if keys.iter().any(|key| key.digest == sha256.0) {
            return Err(problem(("sha256", "is the digest of another key, too".to_owned())));
        }
        if let Some(unknown) = of.channels.iter().find(|name| !channels.contains_key(name.as_str())) {
            return Err(problem(("channels", format!("there is no channel \"{unknown}\""))));
        }
        let channels = of.channels.iter().map(|name| name.as_str().into()).collect();
        keys.push(Arc::new(Key { name: of.name.as_str().into(), digest: sha256.0, channels }));
    }
    Ok(keys)
}

fn demand(holds: bool, key: &'static str, problem: &str) -> Result<(), (&'static str, String)> {
    if holds { Ok(()) } else { Err((key, problem.to_owned())) }
}

fn owned((key, problem): (&'static str, String)) -> Problem {
    (key.to_owned(), problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Result<Rules, Problem> {
        Rules::new(&toml::from_str(text).unwrap())
    }

    const KEY: &str = "[[keys]]\nname = \"abc\"\nsha256 = \"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"\n";

    #[test]
    fn without_channels_there_is_pubsub_alone() {
        let rules = rules("").unwrap();
        assert!(rules.channel("ApiChannel").is_none());
        assert!(matches!(rules.channel("$pubsub").unwrap().kind, Kind::Signed(_)));
        assert!(!rules.has_publish_key() && !rules.may_publish(""));
    }

    #[test]
    fn the_preset_adds_its_channel_unless_one_has_its_name() {
        let preset = rules("preset = \"metasmoke\"").unwrap();
        assert_eq!(preset.model("APIKey").unwrap().1, "api_keys");
        assert!(preset.channel("ApiChannel").unwrap().needs_key);
        assert_eq!(preset.sensitive("api:users_update").len(), 8);
        assert_eq!(preset.sensitive("api:emails_addressees_create"), ["name", "email_address", "manage_key"]);
        assert!(preset.sensitive("api:posts_create").is_empty());
        let own = "preset = \"metasmoke\"\n[[channel]]\nname = \"ApiChannel\"\nkind = \"events\"\nmodels = { A = \"as\" }\n";
        let own = rules(own).unwrap();
        assert!(own.model("Post").is_none() && own.model("A").is_some());
    }

    #[test]
    fn a_key_counts_with_its_exact_bytes_and_for_its_channels() {
        let all = rules(&format!("preset = \"metasmoke\"\n{KEY}")).unwrap();
        let key = all.key("abc").unwrap().clone();
        assert!(key.opens("ApiChannel") && all.still_opens(&key, "ApiChannel") && all.still_knows(&key));
        for wrong in ["", "ABC", "abc ", &"a".repeat(257)] {
            assert!(all.key(wrong).is_none(), "{wrong}");
        }
        let one = rules(&format!("preset = \"metasmoke\"\n{KEY}channels = [\"$pubsub\"]")).unwrap();
        assert!(!one.key("abc").unwrap().opens("ApiChannel"));
        assert!(!one.still_opens(&key, "ApiChannel") && one.still_opens(&key, "$pubsub") && one.still_knows(&key));
        let renamed = rules(&KEY.replace("\"abc\"", "\"b\"")).unwrap();
        assert!(!renamed.still_opens(&key, "$pubsub") && !renamed.still_knows(&key));
    }

    #[test]
    fn the_publish_key_is_the_configured_one_or_derived() {
        let derived = "a239a7ca182c90fc32bdedf73703d271388cf433843affffd3a5e757041fc716";
        assert!(rules("secret = \"s3Krit\"").unwrap().may_publish(derived));
        let own = rules("secret = \"s3Krit\"\npublish_key = \"0123456789abcdef\"").unwrap();
        assert!(own.may_publish("0123456789abcdef") && !own.may_publish(derived) && !own.may_publish("s3Krit"));
    }

    #[test]
    fn what_cannot_be_is_told_with_its_place() {
        let channel = "[[channel]]\nname = \"A\"\n";
        for (text, key) in [
            (format!("{channel}kind = \"signed\"\n{channel}kind = \"signed\""), "channel[1].name"),
            ("[[channel]]\nname = \"$x\"\nkind = \"signed\"".into(), "channel[0].name"),
            (format!("{channel}kind = \"signed\"\nstrict = true"), "channel[0].strict"),
            (format!("{channel}kind = \"signed\"\nmodels = \"any\""), "channel[0].models"),
            (format!("{channel}kind = \"events\"\nparam = \"x\""), "channel[0].param"),
            (format!("{channel}kind = \"events\"\nrules = [{{}}]"), "channel[0].rules"),
            (format!("{channel}kind = \"events\"\nkey = false\nmodels = \"any\""), "channel[0].key"),
            (KEY.replace("\"abc\"", "\"\""), "keys[0].name"),
            (format!("{KEY}{KEY}"), "keys[1].sha256"),
            (format!("{KEY}channels = [\"A\"]"), "keys[0].channels"),
        ] {
            assert_eq!(rules(&text).map(drop).map_err(|(key, _)| key), Err(key.to_owned()), "{text}");
        }
    }

    #[test]
    fn the_preset_lets_every_origin_in_unless_told_otherwise() {
        let checks = |text: &str| rules(text).unwrap().origin.checks();
        assert!(checks("") && !checks("preset = \"metasmoke\"") && !checks("check_origin = false"));
        assert!(checks("preset = \"metasmoke\"\ncheck_origin = true"));
    }
}
