//! Uploads: a multipart form of files and texts becomes the data of one record per file; contents are counted and dropped.

use crate::http::multipart::{Event, Malformed, Multipart, PartHead};

/// Texts beside the files, and bytes of their names and values together, in a form that is taken.
pub const TEXTS_MAX: usize = 32;
pub const TEXT_BYTES_MAX: usize = 64 * 1024;

/// The field whose parts are files.
const FILE_FIELD: &str = "file";
const DEFAULT_TYPE: &str = "application/octet-stream";

/// What a form may hold. Together with the bounds of the scanner that bounds its bytes, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadLimits {
    pub files_max: usize,
    pub file_bytes_max: u64,
    pub texts_max: usize,
    pub text_bytes_max: usize,
}

impl UploadLimits {
    pub fn new(files_max: usize, file_bytes_max: u64) -> UploadLimits {
        UploadLimits { files_max, file_bytes_max, texts_max: TEXTS_MAX, text_bytes_max: TEXT_BYTES_MAX }
    }
}

/// Why an upload is refused, nothing of it stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadError {
    /// 400 `Body not valid.`: no form, no file, a file without a name, too many texts, text that is no UTF-8.
    NotValid,
    /// 400 `Too many files.`
    TooManyFiles,
    /// 413: of one file, or of all texts.
    TooLarge,
}

impl From<Malformed> for UploadError {
    fn from(Malformed: Malformed) -> UploadError {
        UploadError::NotValid
    }
}

/// One form that is arriving: it holds texts and what the files are called, never a file's content.
pub struct Upload {
    multipart: Multipart,
    limits: UploadLimits,
    files: Vec<File>,
    /// In the order of their names' first appearance.
    texts: Vec<(String, String)>,
    /// Parts that were texts, and their bytes, those of replaced ones included.
    text_count: usize,
    text_bytes: usize,
    current: Current,
}

struct File {
    name: String,
    media_type: String,
    bytes: u64,
}

/// The part that is arriving.
enum Current {
    None,
    /// The last of the files.
    File,
    Text {
        name: String,
        value: Vec<u8>,
    },
}

impl Upload {
    /// `boundary` is one that [`crate::http::multipart::boundary`] gave.
    pub fn new(boundary: &str, limits: UploadLimits) -> Upload {
        Upload {
            multipart: Multipart::new(boundary),
            limits,
            files: Vec::new(),
            texts: Vec::new(),
            text_count: 0,
            text_bytes: 0,
            current: Current::None,
        }
    }

    /// Takes the next bytes of the body.
    ///
    /// # Errors
    /// The first thing that is wrong or too much. What follows it need not be given any more.
    pub fn take(&mut self, mut input: &[u8]) -> Result<(), UploadError> {
        while !input.is_empty() {
            let (taken, event) = self.multipart.next(input)?;
            match event {
                Some(Event::Content(bytes)) => match &mut self.current {
                    Current::None => {}
                    Current::File => {
                        let file = self.files.last_mut().expect("a file that is arriving is listed");
                        file.bytes += bytes.len() as u64;
                        if file.bytes > self.limits.file_bytes_max {
                            return Err(UploadError::TooLarge);
                        }
                    }
                    Current::Text { value, .. } => {
                        self.text_bytes += bytes.len();
                        if self.text_bytes > self.limits.text_bytes_max {
                            return Err(UploadError::TooLarge);
                        }
                        value.extend_from_slice(bytes);
                    }
                },
                Some(Event::Part(head)) => {
                    self.part_ended()?;
                    self.part_began(head)?;
                }
                None => {}
            }
            input = &input[taken..];
        }
        Ok(())
    }

    /// What it holds of the body (see [`crate::session::Session::collected_bytes`]).
    pub fn held_bytes(&self) -> usize {
        self.text_bytes + self.files.iter().map(|file| file.name.len() + file.media_type.len()).sum::<usize>()
    }

    /// The body has ended: the data of one record per file, as JSON texts in the order of the files.
    ///
    /// # Errors
    /// [`UploadError::NotValid`] if the form is not complete or holds no file.
    pub fn finish(mut self) -> Result<Vec<Vec<u8>>, UploadError> {
        self.part_ended()?;
        if !self.multipart.is_complete() || self.files.is_empty() {
            return Err(UploadError::NotValid);
        }
        let mut metadata = Vec::new();
        self.write_metadata(&mut metadata);
        Ok(self.files.iter().map(|file| file.data(&metadata)).collect())
    }

    fn part_began(&mut self, head: PartHead) -> Result<(), UploadError> {
        let PartHead { name, file_name, content_type } = head;
        if name == FILE_FIELD {
            if self.files.len() == self.limits.files_max {
                return Err(UploadError::TooManyFiles);
            }
            let name = file_name.as_deref().and_then(|path| path.rsplit(['/', '\\']).next()).filter(|name| !name.is_empty());
            let name = name.ok_or(UploadError::NotValid)?.to_owned();
            let media_type = content_type.filter(|value| !value.is_empty()).unwrap_or_else(|| DEFAULT_TYPE.to_owned());
            self.files.push(File { name, media_type, bytes: 0 });
            self.current = Current::File;
            return Ok(());
        }
        self.text_count += 1;
        self.text_bytes += name.len();
        // A file of another field is no text, and dropping it in silence would look like success.
        if file_name.is_some() || self.text_count > self.limits.texts_max {
            return Err(UploadError::NotValid);
        }
        if self.text_bytes > self.limits.text_bytes_max {
            return Err(UploadError::TooLarge);
        }
        self.current = Current::Text { name, value: Vec::new() };
        Ok(())
    }

    fn part_ended(&mut self) -> Result<(), UploadError> {
        let Current::Text { name, value } = std::mem::replace(&mut self.current, Current::None) else { return Ok(()) };
        let value = String::from_utf8(value).map_err(|_| UploadError::NotValid)?;
        match self.texts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.texts.push((name, value)),
        }
        Ok(())
    }

    fn write_metadata(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (at, (name, value)) in self.texts.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_string(name, out);
            out.push(b':');
            write_string(value, out);
        }
        out.push(b'}');
    }
}

impl File {
    fn data(&self, metadata: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.name.len() + self.media_type.len() + metadata.len());
        out.extend_from_slice(br#"{"file":{"name":"#);
        write_string(&self.name, &mut out);
        out.extend_from_slice(br#","size":"#);
        out.extend_from_slice(itoa::Buffer::new().format(self.bytes).as_bytes());
        out.extend_from_slice(br#","type":"#);
        write_string(&self.media_type, &mut out);
        out.extend_from_slice(br#"},"metadata":"#);
        out.extend_from_slice(metadata);
        out.push(b'}');
        out
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("memory takes every string");
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: UploadLimits = UploadLimits { files_max: 3, file_bytes_max: 10, texts_max: 4, text_bytes_max: 64 };

    type Outcome = Result<Vec<String>, UploadError>;

    fn take(limits: UploadLimits, pieces: &[&[u8]]) -> Outcome {
        let mut upload = Upload::new("b", limits);
        for piece in pieces {
            upload.take(piece)?;
        }
        Ok(upload.finish()?.into_iter().map(|data| String::from_utf8(data).expect("JSON is text")).collect())
    }

    /// Whole, byte by byte and cut in two everywhere: always the same.
    fn data(body: &[u8]) -> Outcome {
        let whole = take(LIMITS, &[body]);
        assert_eq!(take(LIMITS, &body.chunks(1).collect::<Vec<_>>()), whole, "byte by byte: {}", body.escape_ascii());
        for cut in 0..=body.len() {
            assert_eq!(take(LIMITS, &[&body[..cut], &body[cut..]]), whole, "cut at {cut}: {}", body.escape_ascii());
        }
        whole
    }

    /// A form of these parts: parameters behind `form-data`, further lines of the head, content.
    fn form(parts: &[(&str, &str, &str)]) -> Vec<u8> {
        let part = |(parameters, lines, content): &(&str, &str, &str)| {
            format!("--b\r\nContent-Disposition: form-data; {parameters}\r\n{lines}\r\n{content}\r\n")
        };
        (parts.iter().map(part).collect::<String>() + "--b--\r\n").into_bytes()
    }

    const FILE: (&str, &str, &str) = ("name=\"file\"; filename=\"a\"", "", "12345");

    fn file(name: &str) -> String {
        format!(r#"{{"file":{{"name":"{name}","size":5,"type":"application/octet-stream"}},"metadata":{{}}}}"#)
    }

    #[test]
    fn ep_67_a_record_holds_name_size_type_and_metadata() {
        let body = form(&[
            ("name=\"file\"; filename=\"a.png\"", "Content-Type: image/png\r\n", "0123456789"),
            ("name=\"album\"", "", "holiday"),
        ]);
        let expected = r#"{"file":{"name":"a.png","size":10,"type":"image/png"},"metadata":{"album":"holiday"}}"#;
        assert_eq!(data(&body), Ok(vec![expected.to_owned()]));
    }

    #[test]
    fn each_file_has_the_same_metadata_and_the_last_of_equal_names_wins() {
        let body = form(&[
            ("name=a", "", "1"),
            FILE,
            ("name=\"b\u{e4}\\\"\"", "Content-Type: text/plain; charset=utf-8\r\n", "\u{1}\"\u{20ac}/\r\n"),
            ("name=\"file\"; filename=\"x\"", "Content-Type: text/html; charset=\"x\"\r\n", ""),
            ("name=a", "", "2"),
            ("name=\"\"", "", ""),
        ]);
        let metadata = "{\"a\":\"2\",\"b\u{e4}\\\"\":\"\\u0001\\\"\u{20ac}/\\r\\n\",\"\":\"\"}";
        let first = format!(r#"{{"file":{{"name":"a","size":5,"type":"application/octet-stream"}},"metadata":{metadata}}}"#);
        let second = format!(r#"{{"file":{{"name":"x","size":0,"type":"text/html; charset=\"x\""}},"metadata":{metadata}}}"#);
        assert_eq!(data(&body), Ok(vec![first, second]));
    }

    #[test]
    fn a_name_is_what_follows_the_last_slash_of_either_kind() {
        for (sent, name) in [
            ("C:\\fakepath\\a.png", "a.png"),
            ("/etc/passwd", "passwd"),
            ("a/b\\c", "c"),
            ("a\\b/c", "c"),
            ("..", ".."),
            ("gr\u{fc}n.txt", "gr\u{fc}n.txt"),
            ("a%2Fb", "a%2Fb"),
            (" a ", " a "),
        ] {
            let parameters = format!("name=\"file\"; filename=\"{sent}\"");
            assert_eq!(data(&form(&[(&parameters, "", "12345")])), Ok(vec![file(name)]), "{sent}");
        }
    }

    #[test]
    fn ep_66_as_many_files_as_the_limit_are_taken_and_one_more_is_refused() {
        let form_of = |files| form(&vec![FILE; files]);
        assert_eq!(data(&form_of(3)), Ok(vec![file("a"); 3]));
        assert_eq!(data(&form_of(4)), Err(UploadError::TooManyFiles));
        let ten = UploadLimits::new(10, 100 << 20);
        assert_eq!(take(ten, &[&form_of(10)]).map(|files| files.len()), Ok(10));
        assert_eq!(take(ten, &[&form_of(11)]), Err(UploadError::TooManyFiles));
    }

    #[test]
    fn what_is_wrong_or_too_much_is_told() {
        let text = |bytes: usize| "x".repeat(bytes);
        let (exact, over) = (text(63), text(64));
        for (parts, expected) in [
            (vec![], UploadError::NotValid),
            (vec![("name=a", "", "no file")], UploadError::NotValid),
            (vec![("name=file", "", "no name")], UploadError::NotValid),
            (vec![("name=file; filename=\"\"", "", "")], UploadError::NotValid),
            (vec![("name=file; filename=\"a/\"", "", "")], UploadError::NotValid),
            (vec![FILE, ("name=other; filename=a", "", "x")], UploadError::NotValid),
            (vec![("name=file; filename=a", "", "01234567890")], UploadError::TooLarge),
            (vec![("name=a", "", &over), FILE], UploadError::TooLarge),
            (vec![("name=a", "", &exact), FILE, ("name=a", "", "")], UploadError::TooLarge),
            (
                vec![FILE, ("name=a", "", ""), ("name=a", "", ""), ("name=a", "", ""), ("name=a", "", ""), ("name=a", "", "")],
                UploadError::NotValid,
            ),
        ] {
            assert_eq!(data(&form(&parts)), Err(expected), "{parts:?}");
        }
        assert!(data(&form(&[("name=a", "", &exact), FILE])).is_ok());
        let bytes = |text: &str, file: &str| form(&[("name=a", "", text), ("name=file; filename=f", "", file)]);
        let latin = |body: Vec<u8>| body.into_iter().map(|byte| if byte == b'?' { 0xe4 } else { byte }).collect::<Vec<u8>>();
        assert_eq!(data(&latin(bytes("?", "x"))), Err(UploadError::NotValid), "a text is text");
        assert!(data(&latin(bytes("x", "?"))).is_ok(), "a file is bytes");
    }

    #[test]
    fn a_file_that_is_too_large_is_known_before_its_end() {
        let mut upload = Upload::new("b", LIMITS);
        upload.take(b"--b\r\nContent-Disposition: form-data; name=file; filename=f\r\n\r\n0123456789").unwrap();
        assert_eq!(upload.held_bytes(), "f".len() + DEFAULT_TYPE.len(), "and nothing of it is held");
        assert_eq!(upload.take(b"0"), Err(UploadError::TooLarge));
    }
}
