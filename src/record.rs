//! A record: a JSON value with an identity, an owner and times, that is changed as a whole; and lists of records that are
//! handed out without being copied.

use crate::message::Seq;
use std::fmt;
use std::sync::Arc;

/// 128 bits, shown as 32 lower-case hex digits: a UUID without hyphens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u128);

impl RecordId {
    /// The version 4 UUID of these random bits.
    pub fn from_random(random: [u8; 16]) -> RecordId {
        let bits = u128::from_be_bytes(random);
        RecordId(bits & !(0xF << 76 | 3 << 62) | 4 << 76 | 2 << 62)
    }

    /// Exactly 32 lower-case hex digits.
    pub fn parse(text: &str) -> Option<RecordId> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(RecordId)
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    pub id: RecordId,
    /// Its place in the order of creation, which nothing else shares.
    pub place: Seq,
    /// Of a user record: itself.
    pub owner: Option<RecordId>,
    /// Unix milliseconds; the second one grows with each change, whatever the clock does.
    pub created: u64,
    pub updated: u64,
    /// JSON without white space between its tokens.
    pub data: Arc<[u8]>,
    /// Of a user record.
    pub account: Option<Box<Account>>,
}

impl fmt::Debug for Record {
    /// Data is private: it never reaches a log.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Record({} at {}, updated {})", self.id, self.place.0, self.updated)
    }
}

/// How a user logs in.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Each is that of one record of the endpoint only.
    pub names: Box<[Box<str>]>,
    /// As a PHC string.
    pub password: Box<str>,
}

impl fmt::Debug for Account {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Account(…)")
    }
}

/// What happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Post,
    Put,
    Patch,
    Delete,
}

impl ChangeKind {
    pub fn name(self) -> &'static str {
        match self {
            ChangeKind::Post => "POST",
            ChangeKind::Put => "PUT",
            ChangeKind::Patch => "PATCH",
            ChangeKind::Delete => "DELETE",
        }
    }
}

/// No event about records with data of these lengths is longer.
pub fn event_bytes_max(data: impl IntoIterator<Item = usize>) -> usize {
    32 + data.into_iter().map(|length| 136 + length).sum::<usize>()
}

/// What listeners are told of a change (endpoints, section 5.1): an array if there are several records.
pub fn write_event(kind: ChangeKind, records: &[Arc<Record>], out: &mut Vec<u8>) {
    out.reserve(event_bytes_max(records.iter().map(|record| record.data.len())));
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.name().as_bytes());
    out.extend_from_slice(b"\",\"record\":");
    match records {
        [record] => write_record(record, out),
        several => {
            for (index, record) in several.iter().enumerate() {
                out.push(if index == 0 { b'[' } else { b',' });
                write_record(record, out);
            }
            out.push(b']');
        }
    }
    out.push(b'}');
}

/// A record with the key order of messages.
pub fn write_record(record: &Record, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"data\":");
    out.extend_from_slice(&record.data);
    out.extend_from_slice(b",\"uniqueId\":\"");
    write_id(record.id, out);
    out.extend_from_slice(b"\",\"updatedAt\":\"");
    write_time(record.updated, out);
    out.extend_from_slice(b"\",\"createdAt\":\"");
    write_time(record.created, out);
    out.extend_from_slice(b"\"}");
}

/// The 32 digits.
pub fn write_id(id: RecordId, out: &mut Vec<u8>) {
    let bytes = id.0.to_be_bytes();
    out.extend(bytes.into_iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| b"0123456789abcdef"[usize::from(digit)]));
}

/// The last millisecond of the year 9999: later times have no such text.
const TIME_MAX: u64 = 253_402_300_799_999;
const DAY: u64 = 86_400_000;

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`; what is later than the year 9999 is shown as its end.
pub fn write_time(unix_millis: u64, out: &mut Vec<u8>) {
    let time = unix_millis.min(TIME_MAX);
    // Years that begin in March have their leap day at their end (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let days = time / DAY + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    let (hours, minutes, seconds) = (time % DAY / 3_600_000, time / 60_000 % 60, time / 1_000 % 60);
    let parts = [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (hours, 2, b':'),
        (minutes, 2, b':'),
        (seconds, 2, b'.'),
        (time % 1_000, 3, b'Z'),
    ];
    for (number, digits, end) in parts {
        out.extend((0..digits).rev().map(|digit| b'0' + (number / 10u64.pow(digit) % 10) as u8));
        out.push(end);
    }
}

/// So many records share what is copied when one of them changes while somebody reads.
const CHUNK: usize = 512;

type Chunk = Arc<Vec<Arc<Record>>>;

/// Records in order of their places. A clone costs nothing; what changes after it costs one pointer per [`CHUNK`] records,
/// once, and a copy of the chunk it is in.
#[derive(Clone, Default)]
pub struct RecordList {
    /// None is empty.
    chunks: Arc<Vec<Chunk>>,
    len: usize,
    bytes: u64,
}

impl fmt::Debug for RecordList {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "RecordList({})", self.len)
    }
}

impl RecordList {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The sum of the lengths of their data.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Those behind this place.
    pub fn after(&self, place: Seq) -> impl Iterator<Item = &Arc<Record>> {
        let first = self.chunk_of(Seq(place.0.saturating_add(1)));
        let skipped = self.chunks.get(first).map_or(0, |chunk| chunk.partition_point(|record| record.place <= place));
        self.chunks[first..].iter().flat_map(|chunk| chunk.iter()).skip(skipped)
    }

    pub fn get(&self, place: Seq) -> Option<&Arc<Record>> {
        let chunk = self.chunks.get(self.chunk_of(place))?;
        let at = chunk.binary_search_by_key(&place, |record| record.place).ok()?;
        chunk.get(at)
    }

    /// Adds one behind all others.
    pub fn push(&mut self, record: Arc<Record>) {
        debug_assert!(self.iter_last().is_none_or(|last| last.place < record.place));
        self.len += 1;
        self.bytes += record.data.len() as u64;
        let chunks = Arc::make_mut(&mut self.chunks);
        match chunks.last_mut().filter(|chunk| chunk.len() < CHUNK) {
            Some(chunk) => Arc::make_mut(chunk).push(record),
            None => chunks.push(Arc::new(vec![record])),
        }
        self.check();
    }

    /// The record with the place of this one becomes this one; false if there is none.
    pub fn replace(&mut self, record: Arc<Record>) -> bool {
        let Some((chunk, at)) = self.find(record.place) else { return false };
        let chunk = Arc::make_mut(&mut Arc::make_mut(&mut self.chunks)[chunk]);
        self.bytes += record.data.len() as u64;
        let replaced = std::mem::replace(&mut chunk[at], record);
        self.bytes -= replaced.data.len() as u64;
        self.check();
        true
    }

    pub fn remove(&mut self, place: Seq) -> Option<Arc<Record>> {
        let (index, at) = self.find(place)?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[index]);
        let removed = chunk.remove(at);
        if chunk.len() < chunk.capacity() / 4 {
            chunk.shrink_to(chunk.len() * 2);
        }
        self.len -= 1;
        self.bytes -= removed.data.len() as u64;
        if chunk.is_empty() {
            chunks.remove(index);
        } else {
            // Lists that shrink keep few chunks, too.
            let joins = |first: usize| {
                let both = chunks.get(first).zip(chunks.get(first + 1));
                both.is_some_and(|(one, other)| one.len() + other.len() <= CHUNK / 2)
            };
            let first = [index.wrapping_sub(1), index].into_iter().find(|&first| first < chunks.len() && joins(first));
            if let Some(first) = first {
                let second = chunks.remove(first + 1);
                Arc::make_mut(&mut chunks[first]).extend(second.iter().cloned());
            }
        }
        self.check();
        Some(removed)
    }

    fn iter_last(&self) -> Option<&Arc<Record>> {
        self.chunks.last()?.last()
    }

    /// The first chunk that reaches to this place.
    fn chunk_of(&self, place: Seq) -> usize {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|last| last.place < place))
    }

    fn find(&self, place: Seq) -> Option<(usize, usize)> {
        let index = self.chunk_of(place);
        let at = self.chunks.get(index)?.binary_search_by_key(&place, |record| record.place).ok()?;
        Some((index, at))
    }

    fn check(&self) {
        debug_assert_eq!(self.is_empty(), self.chunks.is_empty());
        debug_assert!(self.chunks.last().is_none_or(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK));
    }

    /// Walks over everything.
    #[cfg(any(test, fuzzing))]
    pub fn check_all(&self) {
        assert!(self.chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK));
        assert!(self.chunks.windows(2).filter(|pair| pair[0].len() + pair[1].len() <= CHUNK / 2).count() == 0);
        assert!(self.iter().is_sorted_by(|one, other| one.place < other.place));
        assert_eq!(self.iter().count(), self.len);
        assert_eq!(self.iter().map(|record| record.data.len() as u64).sum::<u64>(), self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(place: u64, data: &str) -> Arc<Record> {
        let id = RecordId(u128::from(place) + 1);
        Arc::new(Record {
            id,
            place: Seq(place),
            owner: None,
            created: 0,
            updated: 0,
            data: data.as_bytes().into(),
            account: None,
        })
    }

    fn time(unix_millis: u64) -> String {
        let mut out = Vec::new();
        write_time(unix_millis, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_id_is_32_lower_case_hex_digits() {
        let id = RecordId::parse("3cc236ed09ef4768ba1fe6dcaf43edea").unwrap();
        let mut written = Vec::new();
        write_id(id, &mut written);
        assert_eq!(
            (id.to_string().as_str(), written.as_slice()),
            ("3cc236ed09ef4768ba1fe6dcaf43edea", id.to_string().as_bytes())
        );
        assert_eq!(RecordId(7).to_string(), format!("{}7", "0".repeat(31)));
        assert_eq!(RecordId::parse(&RecordId(7).to_string()), Some(RecordId(7)));
        let (short, long) = ("0".repeat(31), "0".repeat(33));
        for wrong in [
            "",
            &short,
            &long,
            "3CC236ed09ef4768ba1fe6dcaf43edea",
            "+cc236ed09ef4768ba1fe6dcaf43edea",
            "3cc236ed-9ef4768ba1fe6dcaf43edea",
        ] {
            assert_eq!(RecordId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ep_32_random_bits_become_a_version_4_uuid() {
        for random in [[0; 16], [255; 16], [0x5A; 16]] {
            let id = RecordId::from_random(random).to_string();
            assert_eq!(&id[12..13], "4", "{id}");
            assert!("89ab".contains(&id[16..17]), "{id}");
        }
        assert_eq!(RecordId::from_random([0; 16]).to_string(), "00000000000040008000000000000000");
        assert_eq!(RecordId::from_random([255; 16]).to_string(), "ffffffffffff4fffbfffffffffffffff");
    }

    #[test]
    fn times_have_milliseconds_and_are_those_of_the_calendar() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(1_624_900_724_000), "2021-06-28T17:18:44.000Z");
        assert_eq!(time(951_827_696_789), "2000-02-29T12:34:56.789Z");
        assert_eq!([time(TIME_MAX), time(u64::MAX)], ["9999-12-31T23:59:59.999Z"; 2]);
        // Days of all years against another calendar, each at another time of the day.
        for day in (0..=TIME_MAX / DAY).step_by(29) {
            let millis = day * DAY + day * 7_919_113 % DAY;
            let other = jiff::Timestamp::from_millisecond(millis as i64);
            let Ok(other) = other else { break };
            assert_eq!(time(millis), other.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string());
        }
    }

    #[test]
    fn ep_30_an_event_has_the_key_order_of_the_document() {
        let at = 1_624_900_724_000;
        let id = RecordId::parse("3cc236ed09ef4768ba1fe6dcaf43edea").unwrap();
        let data = br#"{"someNewData":"test"}"#[..].into();
        let account = Some(Box::new(Account { names: ["username\0anna".into()].into(), password: "$argon2id$secret".into() }));
        let record = Arc::new(Record { id, place: Seq(1), owner: Some(id), created: at, updated: at + 1, data, account });
        let shown = |kind, records: &[Arc<Record>]| {
            let mut out = Vec::new();
            write_event(kind, records, &mut out);
            String::from_utf8(out).unwrap()
        };
        let one = r#"{"data":{"someNewData":"test"},"uniqueId":"3cc236ed09ef4768ba1fe6dcaf43edea","updatedAt":"2021-06-28T17:18:44.001Z","createdAt":"2021-06-28T17:18:44.000Z"}"#;
        for (kind, name) in
            [(ChangeKind::Post, "POST"), (ChangeKind::Put, "PUT"), (ChangeKind::Patch, "PATCH"), (ChangeKind::Delete, "DELETE")]
        {
            assert_eq!(shown(kind, std::slice::from_ref(&record)), format!(r#"{{"type":"{name}","record":{one}}}"#));
        }
        assert_eq!(shown(ChangeKind::Post, &[record.clone(), record]), format!(r#"{{"type":"POST","record":[{one},{one}]}}"#));
    }

    #[test]
    fn nothing_private_is_shown() {
        let account = Account { names: ["username\0anna".into()].into(), password: "$argon2id$secret".into() };
        let record = Record { account: Some(Box::new(account.clone())), ..Record::clone(&record(5, "\"private\"")) };
        let shown = format!("{record:?} {account:?}");
        assert_eq!(shown, format!("Record({} at 5, updated 0) Account(…)", RecordId(6)));
    }

    /// Whatever is added, replaced and removed: a list is what a plain vector would be, and so are its clones for ever.
    #[test]
    fn a_list_is_the_vector_of_its_records_and_clones_stay_as_they_were() {
        for seed in 1..=30u64 {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let mut below = |bound: usize| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state % bound as u64) as usize
            };
            let (mut list, mut model): (RecordList, Vec<Arc<Record>>) = Default::default();
            let mut clones: Vec<(RecordList, Vec<Arc<Record>>)> = Vec::new();
            let mut place = 0;
            for step in 0..4_000 {
                // It grows to some size, then shrinks to nothing, and grows again.
                let grows = step % 2_000 < 1_200;
                match below(16) {
                    0 if !model.is_empty() => {
                        let at = below(model.len());
                        model[at] = record(model[at].place.0, &"y".repeat(below(9)));
                        assert!(list.replace(model[at].clone()));
                    }
                    1 if clones.len() < 8 => clones.push((list.clone(), model.clone())),
                    2 => assert!(!list.replace(record(place + 1, "0")) && list.remove(Seq(place + 1)).is_none()),
                    what if what < if grows { 15 } else { 5 } => {
                        place += 1 + below(3) as u64;
                        let record = record(place, &"x".repeat(below(9)));
                        list.push(record.clone());
                        model.push(record);
                    }
                    _ if model.is_empty() => assert!(list.is_empty()),
                    _ => {
                        let removed = model.remove(below(model.len()));
                        assert!(Arc::ptr_eq(&list.remove(removed.place).unwrap(), &removed));
                    }
                }
                if step % 50 == 0 {
                    list.check_all();
                    assert!(list.iter().eq(&model), "seed {seed}, step {step}");
                    assert_eq!(
                        (list.len(), list.bytes()),
                        (model.len(), model.iter().map(|record| record.data.len() as u64).sum())
                    );
                    let from = Seq(below(place as usize + 3) as u64);
                    assert!(list.after(from).eq(model.iter().filter(|record| record.place > from)), "seed {seed}, step {step}");
                    assert_eq!(list.get(from), model.iter().find(|record| record.place == from));
                }
            }
            assert!(!clones.is_empty());
            for (list, model) in clones {
                list.check_all();
                assert!(list.iter().eq(&model), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_clone_is_no_copy_and_a_change_copies_its_own_chunk_only() {
        let mut list = RecordList::default();
        (0..3 * CHUNK as u64).for_each(|place| list.push(record(place, "0")));
        let clone = list.clone();
        assert!(Arc::ptr_eq(&clone.chunks, &list.chunks));
        list.replace(record(CHUNK as u64, "1"));
        let shared: Vec<bool> = clone.chunks.iter().zip(&*list.chunks).map(|(one, other)| Arc::ptr_eq(one, other)).collect();
        assert_eq!(shared, [true, false, true]);
    }
}
