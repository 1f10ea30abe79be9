//! How rows look on disk. Every value ends with the CRC-32 of key and value: what does not fit is never served.

use crate::exchange::{Grant, TokenDigest};
use crate::message::{Also, EventFields, Message, Seq, Stamp, TopicName};
use crate::record::{Account, Record, RecordId};
use crate::storage::{KnownKey, RecordRow, Remains, RemovedEndpoint, Stored, TokenChange};
use hashbrown::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Bytes of a message's value beside name, payload and event fields.
const MESSAGE_BYTES: usize = 104;
const KEY_BYTES: usize = 48;
const TOKEN_BYTES: usize = 64;
const RECORD_BYTES: usize = 104;

pub fn message_bytes(stored: &Stored) -> usize {
    let message = &stored.message;
    let event = message.event_id().map_or(0, <[u8]>::len) + message.event_type().map_or(0, <[u8]>::len);
    let also = message.also.as_ref().map_or(0, |also| also.topic.as_str().len() + 24);
    MESSAGE_BYTES + message.topic.as_str().len() + message.payload.len() + event + also
}

pub fn key_bytes(known: &KnownKey) -> usize {
    KEY_BYTES + known.key.0.as_str().len() + known.key.1.len()
}

pub fn token_bytes(change: &TokenChange) -> usize {
    match change {
        TokenChange::Issue(_, grant) => TOKEN_BYTES + grant.group.len() + grant.user.len(),
        TokenChange::Revoke(_) => 0,
    }
}

pub fn record_bytes(row: &RecordRow) -> usize {
    match row {
        RecordRow::Put(endpoint, record) => {
            let names = |account: &Account| account.names.iter().map(|name| 8 + name.len()).sum::<usize>();
            let account = record.account.as_ref().map_or(0, |account| 16 + account.password.len() + names(account));
            RECORD_BYTES + endpoint.as_str().len() + record.data.len() + account
        }
        RecordRow::Delete(_) => 0,
    }
}

/// Builds one value.
pub struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Writer<'a> {
        out.clear();
        Writer(out)
    }

    pub fn number(self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    pub fn id(self, id: RecordId) -> Self {
        self.0.extend_from_slice(&id.0.to_le_bytes());
        self
    }

    pub fn stamp(self, stamp: Stamp) -> Self {
        self.number(stamp.seq.0).number(stamp.seconds).number(stamp.tag.into())
    }

    /// With its length before it.
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let this = self.number(bytes.len() as u64);
        this.0.extend_from_slice(bytes);
        this
    }

    pub fn optional(self, bytes: Option<&[u8]>) -> Self {
        match bytes {
            Some(bytes) => self.number(1).bytes(bytes),
            None => self.number(0),
        }
    }

    /// Ends it for this key.
    pub fn seal(self, key: &[u8]) -> &'a [u8] {
        let sum = checksum(key, self.0);
        self.0.extend_from_slice(&sum.to_le_bytes());
        self.0
    }
}

/// Takes a value apart; nothing that is left over or missing goes unnoticed.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// `None`: it is not what was written under this key.
    pub fn open(key: &[u8], value: &'a [u8]) -> Option<Reader<'a>> {
        let (value, sum) = value.split_last_chunk::<4>()?;
        (checksum(key, value) == u32::from_le_bytes(*sum)).then_some(Reader(value))
    }

    pub fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    pub fn id(&mut self) -> Option<RecordId> {
        let (id, rest) = self.0.split_first_chunk::<16>()?;
        self.0 = rest;
        Some(RecordId(u128::from_le_bytes(*id)))
    }

    pub fn stamp(&mut self) -> Option<Stamp> {
        Some(Stamp { seq: Seq(self.number()?), seconds: self.number()?, tag: self.number()?.try_into().ok()? })
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub fn optional(&mut self) -> Option<Option<&'a [u8]>> {
        match self.number()? {
            0 => Some(None),
            1 => self.bytes().map(Some),
            _ => None,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
}

/// The key of what belongs to a stamp.
pub fn seq_key(seq: Seq) -> [u8; 8] {
    seq.0.to_le_bytes()
}

pub fn write_message<'a>(stored: &Stored, out: &'a mut Vec<u8>) -> &'a [u8] {
    let Stored { message, unix_micros, previous, group } = stored;
    let Stamp { seconds, tag, .. } = message.stamp;
    let writer = Writer::new(out)
        .number(seconds)
        .number(tag.into())
        .number(*unix_micros)
        .number(message.id as u64)
        .number(message.epoch)
        .number(message.offset)
        .stamp(*previous)
        .number(group.map_or(0, |group| group.get().into()))
        .bytes(message.topic.as_str().as_bytes())
        .bytes(&message.payload)
        .optional(message.event_id())
        .optional(message.event_type());
    let writer = match &message.also {
        // Nothing at all, as in files of format 1.
        None => writer,
        Some(also) => writer.bytes(also.topic.as_str().as_bytes()).number(also.epoch).number(also.offset),
    };
    writer.seal(&seq_key(message.stamp.seq))
}

/// Names that come often are shared.
pub fn read_message(seq: Seq, value: &[u8], names: &mut HashSet<TopicName>) -> Option<Stored> {
    let mut reader = Reader::open(&seq_key(seq), value)?;
    let stamp = Stamp { seq, seconds: reader.number()?, tag: reader.number()?.try_into().ok()? };
    let unix_micros = reader.number()?;
    let (id, epoch, offset) = (reader.number()? as i64, reader.number()?, reader.number()?);
    let previous = reader.stamp()?;
    let group = NonZeroU32::new(reader.number()?.try_into().ok()?);
    let topic = names.get_or_insert_with(reader.text()?, |name| TopicName::from(name)).clone();
    let mut message = Message::new(stamp, topic, id, Arc::from(reader.bytes()?));
    let (event, kind) = (reader.optional()?, reader.optional()?);
    if !reader.is_empty() {
        let topic = names.get_or_insert_with(reader.text()?, |name| TopicName::from(name)).clone();
        message.also = Some(Box::new(Also { topic, epoch: reader.number()?, offset: reader.number()? }));
    }
    reader.end()?;
    if event.is_some() || kind.is_some() {
        message.event = Some(Box::new(EventFields { id: event.map(Box::from), kind: kind.map(Box::from) }));
    }
    (message.epoch, message.offset) = (epoch, offset);
    // Else it would be no beginning of the name.
    let fits = group.is_none_or(|group| message.topic.as_str().is_char_boundary(group.get() as usize));
    fits.then(|| Stored { message: Arc::new(message), unix_micros, previous, group })
}

pub fn write_key<'a>(known: &KnownKey, out: &'a mut Vec<u8>) -> &'a [u8] {
    let Stamp { seq, seconds, tag } = known.stamp;
    Writer::new(out)
        .number(seconds)
        .number(tag.into())
        .number(known.unix_micros)
        .bytes(known.key.0.as_str().as_bytes())
        .bytes(known.key.1.as_bytes())
        .seal(&seq_key(seq))
}

pub fn read_key(seq: Seq, value: &[u8]) -> Option<KnownKey> {
    let mut reader = Reader::open(&seq_key(seq), value)?;
    let stamp = Stamp { seq, seconds: reader.number()?, tag: reader.number()?.try_into().ok()? };
    let unix_micros = reader.number()?;
    let key = Arc::new((TopicName::from(reader.text()?), Box::from(reader.text()?)));
    reader.end()?;
    Some(KnownKey { key, stamp, unix_micros })
}

pub fn write_token<'a>(token: TokenDigest, grant: &Grant, out: &'a mut Vec<u8>) -> &'a [u8] {
    let Grant { group, user, until } = grant;
    Writer::new(out).number(*until).bytes(group.as_bytes()).bytes(user.as_bytes()).seal(&token.0)
}

pub fn read_token(token: TokenDigest, value: &[u8]) -> Option<Grant> {
    let mut reader = Reader::open(&token.0, value)?;
    let until = reader.number()?;
    let (group, user) = (Box::from(reader.text()?), Box::from(reader.text()?));
    reader.end()?;
    Some(Grant { group, user, until })
}

pub fn write_record<'a>(endpoint: &TopicName, record: &Record, out: &'a mut Vec<u8>) -> &'a [u8] {
    let Record { id, place, owner, created, updated, data, account } = record;
    let mut writer = Writer::new(out).id(*id).number(*created).number(*updated).bytes(endpoint.as_str().as_bytes()).bytes(data);
    writer = match owner {
        None => writer.number(0),
        Some(owner) => writer.number(1).id(*owner),
    };
    if let Some(account) = account {
        writer = writer.bytes(account.password.as_bytes());
        for name in &account.names {
            writer = writer.bytes(name.as_bytes());
        }
    }
    writer.seal(&seq_key(*place))
}

pub fn read_record(place: Seq, value: &[u8], names: &mut HashSet<TopicName>) -> Option<(TopicName, Arc<Record>)> {
    let mut reader = Reader::open(&seq_key(place), value)?;
    let (id, created, updated) = (reader.id()?, reader.number()?, reader.number()?);
    let endpoint = names.get_or_insert_with(reader.text()?, |name| TopicName::from(name)).clone();
    let data = Arc::from(reader.bytes()?);
    let owner = match reader.number()? {
        0 => None,
        1 => Some(reader.id()?),
        _ => return None,
    };
    let mut account = None;
    if !reader.is_empty() {
        let password = Box::from(reader.text()?);
        let mut names: Vec<Box<str>> = Vec::new();
        while !reader.is_empty() {
            names.push(Box::from(reader.text()?));
        }
        account = Some(Box::new(Account { names: names.into(), password }));
    }
    Some((endpoint, Arc::new(Record { id, place, owner, created, updated, data, account })))
}

pub fn write_removed<'a>(endpoint: &TopicName, removed: &RemovedEndpoint, out: &'a mut Vec<u8>) -> &'a [u8] {
    let RemovedEndpoint { since, kept_millis } = *removed;
    Writer::new(out).number(since).number(kept_millis).seal(endpoint.as_str().as_bytes())
}

pub fn read_removed(endpoint: &str, value: &[u8]) -> Option<RemovedEndpoint> {
    let mut reader = Reader::open(endpoint.as_bytes(), value)?;
    let removed = RemovedEndpoint { since: reader.number()?, kept_millis: reader.number()? };
    reader.end()?;
    Some(removed)
}

pub fn write_leaving<'a>(endpoint: &TopicName, through: Seq, out: &'a mut Vec<u8>) -> &'a [u8] {
    Writer::new(out).number(through.0).seal(endpoint.as_str().as_bytes())
}

pub fn read_leaving(endpoint: &str, value: &[u8]) -> Option<Seq> {
    let mut reader = Reader::open(endpoint.as_bytes(), value)?;
    let through = reader.number()?;
    reader.end().map(|()| Seq(through))
}

pub fn write_remains<'a>(name: &TopicName, remains: &Remains, out: &'a mut Vec<u8>) -> &'a [u8] {
    let Remains { floor, epoch, offset, published, forgotten } = *remains;
    let writer = Writer::new(out).stamp(floor).number(epoch).number(offset).number(published);
    writer.number(forgotten.is_some().into()).number(forgotten.unwrap_or(0)).seal(name.as_str().as_bytes())
}

pub fn read_remains(name: &str, value: &[u8]) -> Option<Remains> {
    let mut reader = Reader::open(name.as_bytes(), value)?;
    let (floor, epoch, offset, published) = (reader.stamp()?, reader.number()?, reader.number()?, reader.number()?);
    let (is_forgotten, since) = (reader.number()?, reader.number()?);
    reader.end()?;
    let forgotten = match is_forgotten {
        0 => None,
        1 => Some(since),
        _ => return None,
    };
    Some(Remains { floor, epoch, offset, published, forgotten })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(seq: u64) -> Stamp {
        Stamp { seq: Seq(seq), seconds: seq / 10, tag: seq as u32 }
    }

    fn stored() -> Stored {
        let mut message = Message::new(stamp(77), "näme".into(), -3, b"payload"[..].into());
        (message.epoch, message.offset) = (70, 4);
        message.event = Some(Box::new(EventFields { id: Some(b"e"[..].into()), kind: None }));
        Stored { message: Arc::new(message), unix_micros: 1_234, previous: stamp(75), group: NonZeroU32::new(3) }
    }

    #[test]
    fn a_message_comes_back_as_it_was() {
        let (mut out, mut names) = (Vec::new(), HashSet::new());
        let stored = stored();
        let value = write_message(&stored, &mut out).to_vec();
        assert!(value.len() <= message_bytes(&stored) + 40);
        let read = read_message(Seq(77), &value, &mut names).unwrap();
        let shown = |stored: &Stored| {
            let message = &stored.message;
            let place = (message.stamp, message.id, message.epoch, message.offset, message.stored);
            let content = (message.topic.clone(), message.payload.clone(), message.event.clone());
            (place, content, stored.unix_micros, stored.previous, stored.group)
        };
        assert_eq!(shown(&read), shown(&stored));
    }

    #[test]
    fn a_key_a_token_and_remains_come_back_as_they_were() {
        let mut out = Vec::new();
        let (token, grant) = (TokenDigest([7; 32]), Grant { group: "g".into(), user: "ü".into(), until: 5 });
        let value = write_token(token, &grant, &mut out);
        assert_eq!((read_token(token, value), read_token(TokenDigest([8; 32]), value)), (Some(grant), None));
        let known = KnownKey { key: Arc::new(("a".into(), "k".into())), stamp: stamp(9), unix_micros: 8 };
        assert_eq!(read_key(Seq(9), write_key(&known, &mut out)), Some(known));
        for forgotten in [None, Some(0), Some(5)] {
            let remains = Remains { floor: stamp(3), epoch: 1, offset: 2, published: 4, forgotten };
            assert_eq!(read_remains("a", write_remains(&"a".into(), &remains, &mut out)), Some(remains));
        }
    }

    #[test]
    fn no_flipped_bit_no_other_key_and_no_shortened_value_is_taken() {
        let (mut out, mut names) = (Vec::new(), HashSet::new());
        let mut value = write_message(&stored(), &mut out).to_vec();
        for bit in 0..value.len() * 8 {
            value[bit / 8] ^= 1 << (bit % 8);
            assert!(read_message(Seq(77), &value, &mut names).is_none(), "bit {bit}");
            value[bit / 8] ^= 1 << (bit % 8);
        }
        for length in 0..value.len() {
            assert!(read_message(Seq(77), &value[..length], &mut names).is_none(), "{length} bytes");
        }
        assert!(read_message(Seq(78), &value, &mut names).is_none());
        assert!(read_key(Seq(77), &value).is_none(), "it is another kind of record");
    }
}
