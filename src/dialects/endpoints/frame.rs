//! Records as they are told over HTTP (specification, section 7): the order of keys is not that of messages.

use super::failure::Failure;
use crate::message::Seq;
use crate::record::{Record, RecordList, write_id, write_time};

/// How much of a record is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Whole,
    /// `dataOnly`
    Data,
}

/// One record alone.
pub fn one(record: &Record, shape: Shape) -> Vec<u8> {
    let mut out = Vec::with_capacity(ENVELOPE_BYTES + record.data.len());
    write(record, shape, &mut out);
    out
}

/// An array of records.
///
/// # Errors
/// [`Failure::ListTooLong`] as soon as it is longer than `bytes_max`.
pub fn list<'a>(records: impl IntoIterator<Item = &'a Record>, shape: Shape, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let mut out = vec![b'['];
    for (index, record) in records.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(record, shape, &mut out);
        // With the bracket.
        if out.len() as u64 >= bytes_max {
            return Err(Failure::ListTooLong);
        }
    }
    out.push(b']');
    Ok(out)
}

/// The records behind a place, or all; says whether there are more than `limit`.
///
/// # Errors
/// [`Failure::ListTooLong`]
pub fn page(
    records: &RecordList,
    after: Option<Seq>,
    limit: Option<usize>,
    shape: Shape,
    bytes_max: u64,
) -> Result<(Vec<u8>, bool), Failure> {
    let limit = limit.unwrap_or(usize::MAX);
    let mut rest = records.after(after.unwrap_or(Seq(0)));
    let text = list(rest.by_ref().take(limit).map(|record| &**record), shape, bytes_max)?;
    Ok((text, rest.next().is_some()))
}

/// Keys, id and times.
const ENVELOPE_BYTES: usize = 144;

fn write(record: &Record, shape: Shape, out: &mut Vec<u8>) {
    if shape == Shape::Data {
        out.extend_from_slice(&record.data);
        return;
    }
    out.extend_from_slice(b"{\"uniqueId\":\"");
    write_id(record.id, out);
    out.extend_from_slice(b"\",\"data\":");
    out.extend_from_slice(&record.data);
    out.extend_from_slice(b",\"createdAt\":\"");
    write_time(record.created, out);
    out.extend_from_slice(b"\",\"updatedAt\":\"");
    write_time(record.updated, out);
    out.extend_from_slice(b"\"}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordId;
    use std::sync::Arc;

    fn record(place: u64, data: &str) -> Arc<Record> {
        Arc::new(Record {
            id: RecordId(0x3cc2_36ed_09ef_4768_ba1f_e6dc_af43_0000 + u128::from(place)),
            place: Seq(place),
            owner: None,
            created: 1_624_900_724_000,
            updated: 1_624_900_724_000 + place,
            data: data.as_bytes().into(),
            account: None,
        })
    }

    fn text(bytes: Result<Vec<u8>, Failure>) -> Result<String, Failure> {
        bytes.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    const FIRST: &str = r#"{"uniqueId":"3cc236ed09ef4768ba1fe6dcaf430001","data":{"a":1.0},"createdAt":"2021-06-28T17:18:44.000Z","updatedAt":"2021-06-28T17:18:44.001Z"}"#;

    #[test]
    fn ep_57_records_have_the_key_order_of_http() {
        let (first, second) = (record(1, r#"{"a":1.0}"#), record(2, "null"));
        assert_eq!(text(Ok(one(&first, Shape::Whole))).as_deref(), Ok(FIRST));
        assert_eq!(text(list([], Shape::Whole, 100)).as_deref(), Ok("[]"));
        let other = FIRST.replace("0001\"", "0002\"").replace(r#"{"a":1.0}"#, "null").replace(".001Z", ".002Z");
        assert_eq!(text(list([&*first, &*second], Shape::Whole, 1000)), Ok(format!("[{FIRST},{other}]")));
    }

    #[test]
    fn ep_59_the_data_alone() {
        let records = [record(1, r#"{"a":1.0}"#), record(2, "null"), record(3, "\"x\"")];
        assert_eq!(one(&records[0], Shape::Data), br#"{"a":1.0}"#);
        assert_eq!(text(list(records.iter().map(|it| &**it), Shape::Data, 100)).as_deref(), Ok(r#"[{"a":1.0},null,"x"]"#));
    }

    #[test]
    fn a_list_is_as_long_as_it_may_be_and_no_longer() {
        let records = [record(1, "1"), record(2, "22")];
        let within = |bytes_max| list(records.iter().map(|it| &**it), Shape::Data, bytes_max);
        assert_eq!((text(within(6)).as_deref(), within(5)), (Ok("[1,22]"), Err(Failure::ListTooLong)));
    }

    #[test]
    fn ep_84_pages_together_are_the_whole_list() {
        let mut records = RecordList::default();
        for place in 1..=1_300 {
            records.push(record(place * 7, &place.to_string()));
        }
        let whole = text(page(&records, None, None, Shape::Data, u64::MAX).map(|(text, more)| {
            assert!(!more);
            text
        }));
        for limit in [1, 2, 511, 512, 513, 1_299, 1_300, 1_301] {
            let (mut pages, mut after, mut more) = (Vec::new(), None, true);
            while more {
                let (bytes, is_more) = page(&records, after, Some(limit), Shape::Data, u64::MAX).unwrap();
                let bytes = text(Ok(bytes)).unwrap();
                let numbers: Vec<u64> = serde_json::from_str(&bytes).unwrap();
                assert!(!numbers.is_empty() && numbers.len() <= limit);
                after = numbers.last().map(|number| Seq(number * 7));
                pages.push(bytes[1..bytes.len() - 1].to_owned());
                more = is_more;
            }
            assert_eq!(Ok(format!("[{}]", pages.join(","))), whole, "{limit}");
        }
        assert_eq!(page(&records, Some(Seq(9_100)), Some(5), Shape::Data, 9), Ok((b"[]".to_vec(), false)));
    }
}
