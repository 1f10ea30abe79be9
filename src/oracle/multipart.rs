//! An upload against a slow reader that sees all of its bytes at once.

use super::{Random, cuttings};
use crate::dialects::endpoints::upload::{Upload, UploadError, UploadLimits};
use crate::http::multipart::boundary;

/// The same records or the same error as the naive reader gives, however the bytes are cut.
///
/// The first line is the request's Content-Type, the byte behind it how many files and bytes of each are taken. The rest is
/// the body.
pub fn multipart(bytes: &[u8]) {
    check(bytes);
}

/// Whether an upload was accepted.
fn check(bytes: &[u8]) -> bool {
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
        return false;
    };
    let Ok(content_type) = std::str::from_utf8(&bytes[..end]) else {
        return false;
    };
    let found = boundary(content_type);
    assert_eq!(found, naive_boundary(content_type), "{content_type:?}");
    let (Some(boundary), Some((&limits, body))) = (found, bytes[end + 1..].split_first()) else {
        return false;
    };
    let limits = UploadLimits {
        files_max: 1 + usize::from(limits % 4),
        file_bytes_max: u64::from(limits),
        texts_max: 2,
        text_bytes_max: 40,
    };
    let expected = naive(&boundary, limits, body);
    for ends in cuttings(body.len(), &mut Random::of(body)) {
        let taken = take(&boundary, limits, body, &ends);
        assert_eq!(taken, expected, "{boundary:?}, {limits:?}, cut at {ends:?}: {}", body.escape_ascii());
    }
    expected.is_ok()
}

type Outcome = Result<Vec<serde_json::Value>, UploadError>;

fn take(boundary: &str, limits: UploadLimits, body: &[u8], ends: &[usize]) -> Outcome {
    let mut upload = Upload::new(boundary, limits);
    let mut start = 0;
    for &end in ends {
        upload.take(&body[start..end])?;
        start = end;
    }
    Ok(upload.finish()?.iter().map(|data| serde_json::from_slice(data).expect("a record's data is JSON")).collect())
}

fn naive(boundary: &str, limits: UploadLimits, body: &[u8]) -> Outcome {
    // As if a line had just ended: so the first delimiter may stand at the front.
    let body = [b"\r\n", body].concat();
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    let (mut files, mut texts) = (Vec::new(), serde_json::Map::new());
    let (mut text_count, mut text_bytes) = (0, 0);
    let ignored = naive_find(&body, &delimiter).unwrap_or(body.len());
    if ignored > 4096 + 2 {
        return Err(UploadError::NotValid);
    }
    let mut rest = body.get(ignored + delimiter.len()..).ok_or(UploadError::NotValid)?;
    loop {
        let (line, behind) = naive_line(rest, 4096);
        if line.strip_prefix(b"--").is_some_and(|line| naive_blank(line) || naive_blank_line(line)) {
            let is_short = ignored.saturating_sub(2) + behind.len() <= 4096;
            if !is_short || files.is_empty() {
                return Err(UploadError::NotValid);
            }
            let metadata = serde_json::Value::Object(texts);
            let data = |file| serde_json::json!({"file": file, "metadata": metadata.clone()});
            return Ok(files.into_iter().map(data).collect());
        }
        if !naive_blank_line(line) {
            return Err(UploadError::NotValid);
        }
        let (head, behind) = naive_head(behind).ok_or(UploadError::NotValid)?;
        let is_file = head.name == "file";
        if is_file {
            if files.len() == limits.files_max {
                return Err(UploadError::TooManyFiles);
            }
        } else {
            text_count += 1;
            text_bytes += head.name.len();
            if head.file_name.is_some() || text_count > limits.texts_max {
                return Err(UploadError::NotValid);
            }
        }
        let name = head.file_name.unwrap_or_default();
        let name = name.chars().rev().take_while(|letter| !"/\\".contains(*letter)).collect::<String>();
        if is_file && name.is_empty() {
            return Err(UploadError::NotValid);
        }
        // The line end before a delimiter may be that of the head.
        let ends = naive_find(&rest[rest.len() - behind.len() - 2..], &delimiter);
        let content = match ends {
            Some(end) => &behind[..end.saturating_sub(2)],
            None => &behind[..behind.len() - naive_begun(behind, &delimiter)],
        };
        if is_file {
            if content.len() as u64 > limits.file_bytes_max {
                return Err(UploadError::TooLarge);
            }
            let media_type = Some(head.media_type).filter(|media_type| !media_type.is_empty());
            let media_type = media_type.unwrap_or_else(|| "application/octet-stream".to_owned());
            let name = name.chars().rev().collect::<String>();
            files.push(serde_json::json!({"name": name, "size": content.len(), "type": media_type}));
        } else {
            text_bytes += content.len();
            if text_bytes > limits.text_bytes_max {
                return Err(UploadError::TooLarge);
            }
            let text = String::from_utf8(content.to_vec()).map_err(|_| UploadError::NotValid)?;
            texts.insert(head.name, text.into());
        }
        let end = ends.ok_or(UploadError::NotValid)?;
        rest = &behind[end + delimiter.len() - 2..];
    }
}

fn naive_find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    (0..bytes.len()).find(|&at| bytes[at..].starts_with(wanted))
}

/// How many bytes at the end may begin a delimiter, the content's own front included: there a line has just ended.
fn naive_begun(content: &[u8], delimiter: &[u8]) -> usize {
    let whole = (1..delimiter.len()).rev().find(|&count| content.ends_with(&delimiter[..count])).unwrap_or(0);
    let is_front = delimiter[2..].starts_with(content);
    if is_front { content.len() } else { whole }
}

/// The line at the front with its LF, or all there is, and what follows it. A line that is too long is as good as none.
fn naive_line(bytes: &[u8], bytes_max: usize) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |end| end + 1);
    if end > bytes_max { (b"too long", b"") } else { bytes.split_at(end) }
}

fn naive_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == b' ' || byte == b'\t')
}

fn naive_blank_line(line: &[u8]) -> bool {
    line.strip_suffix(b"\r\n").is_some_and(naive_blank)
}

#[derive(Default)]
struct Head {
    name: String,
    file_name: Option<String>,
    media_type: String,
}

fn naive_head(bytes: &[u8]) -> Option<(Head, &[u8])> {
    let mut head = Head::default();
    let mut seen: Vec<String> = Vec::new();
    let mut rest = bytes;
    loop {
        let (line, behind) = naive_line(rest, 4096 - (bytes.len() - rest.len()));
        rest = behind;
        let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
        if line.is_empty() {
            return seen.contains(&"content-disposition".to_owned()).then_some((head, rest));
        }
        let colon = line.find(':')?;
        let name = line[..colon].to_ascii_lowercase();
        let value = line[colon + 1..].trim_matches([' ', '\t']);
        if name.is_empty()
            || !name.bytes().all(is_token)
            || value.bytes().any(|byte| byte == 0x7f || byte < 0x20 && byte != b'\t')
        {
            return None;
        }
        match name.as_str() {
            "content-disposition" => {
                let (kind, parameters) = naive_parameters(value)?;
                let of = |wanted: &str| {
                    parameters.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.clone()).collect::<Vec<_>>()
                };
                let (names, file_names) = (of("name"), of("filename"));
                if kind != "form-data" || names.len() != 1 || file_names.len() > 1 {
                    return None;
                }
                head.name = names[0].clone();
                head.file_name = file_names.first().cloned();
            }
            "content-type" => head.media_type = value.to_owned(),
            "content-transfer-encoding" if !["7bit", "8bit", "binary"].contains(&value.to_ascii_lowercase().as_str()) => {
                return None;
            }
            "content-transfer-encoding" => {}
            _ => continue,
        }
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
}

fn naive_boundary(content_type: &str) -> Option<String> {
    let (media_type, parameters) = naive_parameters(content_type)?;
    let boundaries: Vec<_> = parameters.iter().filter(|(name, _)| name == "boundary").collect();
    let [(_, boundary)] = boundaries[..] else { return None };
    let letter = |byte: u8| matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'\'' | b'(' | b')' | b'+'..=b'/' | b'_' | b':' | b'=' | b'?');
    let (last, others) = boundary.as_bytes().split_last()?;
    let holds = others.len() < 70 && letter(*last) && others.iter().all(|&byte| byte == b' ' || letter(byte));
    (media_type == "multipart/form-data" && holds).then(|| boundary.clone())
}

/// The value in lower case and its parameters with names in lower case: one character after the other.
fn naive_parameters(text: &str) -> Option<(String, Vec<(String, String)>)> {
    #[derive(Clone, Copy, PartialEq)]
    enum At {
        Between,
        Start,
        Name,
        ValueStart,
        Value,
        Quoted,
        Escaped,
    }
    let value: String = text.chars().take_while(|&letter| letter != ';').collect();
    let (mut at, mut found) = (At::Between, Vec::new());
    for letter in text.chars().skip(value.chars().count()) {
        let blank = letter == ' ' || letter == '\t';
        let last: Option<&mut (String, String)> = found.last_mut();
        at = match (at, letter, last) {
            (At::Between | At::Start | At::Value | At::ValueStart, ';', _) if at != At::ValueStart => At::Start,
            (At::Between, _, _) if blank => At::Between,
            (At::Start, _, _) if blank => At::Start,
            (At::Start, _, _) if letter.is_ascii() && is_token(letter as u8) => {
                found.push((letter.to_ascii_lowercase().to_string(), String::new()));
                At::Name
            }
            (At::Name, '=', _) => At::ValueStart,
            (At::Name, _, Some((name, _))) if letter.is_ascii() && is_token(letter as u8) => {
                name.push(letter.to_ascii_lowercase());
                At::Name
            }
            (At::ValueStart, '"', _) => At::Quoted,
            (At::ValueStart, ';', _) => At::Start,
            (At::ValueStart | At::Value, _, _) if blank => At::Between,
            (At::ValueStart | At::Value, _, Some((_, value))) if letter != '"' => {
                value.push(letter);
                At::Value
            }
            (At::Quoted, '"', _) => At::Between,
            (At::Quoted, '\\', _) => At::Escaped,
            (At::Quoted, _, Some((_, value))) => {
                value.push(letter);
                At::Quoted
            }
            (At::Escaped, _, Some((_, value))) => {
                // Only two are escaped; a backslash before another one is one, and a mark behind it ends nothing.
                if !"\"\\".contains(letter) {
                    value.push('\\');
                }
                value.push(letter);
                At::Quoted
            }
            _ => return None,
        };
    }
    matches!(at, At::Between | At::Start | At::ValueStart | At::Value)
        .then(|| (value.trim_matches([' ', '\t']).to_ascii_lowercase(), found))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::super::{mutate, replay};
    use super::*;

    const WORDS: &[&[u8]] = &[
        b"\r\n",
        b"\n",
        b"\r",
        b"--",
        b"\r\n--b",
        b"\r\n--b--",
        b"--b\r\n",
        b" ",
        b";",
        b"\"",
        b"\\",
        b"=",
        b"; name=\"file\"",
        b"; filename=\"f\"",
        b"; filename*=UTF-8''g",
        b"Content-Disposition: form-data; name=file; filename=f\r\n\r\n",
        b"Content-Type: a/b\r\n",
        b"Content-Transfer-Encoding: binary\r\n",
        b"boundary=b",
        b"\x00",
        b"\xff",
        "\u{e4}".as_bytes(),
    ];

    #[test]
    fn the_corpus_holds() {
        replay("multipart", multipart);
    }

    #[test]
    fn mutated_forms_hold() {
        let runs = 20_000;
        let accepted = mutate("multipart", WORDS, runs, check);
        assert!(accepted > runs / 10 && accepted < runs * 9 / 10, "{accepted} of {runs} accepted: the mutations test little");
    }
}
