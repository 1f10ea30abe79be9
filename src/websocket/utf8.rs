//! Text that arrives in parts, refused at the first byte that can no longer be UTF-8.

use std::str::from_utf8;

/// The text so far is not UTF-8, whatever may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUtf8;

/// Checked text plus the beginning of a character that a cut went through.
#[derive(Debug, Default)]
pub struct Text {
    checked: String,
    /// The first `begun` bytes are a character that is not complete.
    character: [u8; 4],
    begun: usize,
}

impl Text {
    /// Appends the next bytes; each is looked at once.
    ///
    /// # Errors
    /// [`NotUtf8`] if any of them makes the text impossible. The text is of no use afterwards.
    pub fn push(&mut self, part: &[u8]) -> Result<(), NotUtf8> {
        let part = self.complete_character(part)?;
        match from_utf8(part) {
            Ok(text) => self.checked.push_str(text),
            Err(error) if error.error_len().is_some() => return Err(NotUtf8),
            Err(error) => {
                let (whole, cut) = part.split_at(error.valid_up_to());
                self.checked.push_str(from_utf8(whole).map_err(|_| NotUtf8)?);
                self.character[..cut.len()].copy_from_slice(cut);
                self.begun = cut.len();
            }
        }
        Ok(())
    }

    /// Adds bytes to the begun character until it is complete; returns the rest.
    fn complete_character<'a>(&mut self, part: &'a [u8]) -> Result<&'a [u8], NotUtf8> {
        let mut rest = part;
        while self.begun > 0
            && let Some((&byte, behind)) = rest.split_first()
        {
            rest = behind;
            self.character[self.begun] = byte;
            self.begun += 1;
            match from_utf8(&self.character[..self.begun]) {
                Ok(character) => {
                    self.checked.push_str(character);
                    self.begun = 0;
                }
                Err(error) if error.error_len().is_some() => return Err(NotUtf8),
                // Only fewer than four bytes can be unfinished, so the next one has a place.
                Err(_) => {}
            }
        }
        Ok(rest)
    }

    /// The whole text.
    ///
    /// # Errors
    /// [`NotUtf8`] if it ends inside a character.
    pub fn finish(self) -> Result<String, NotUtf8> {
        if self.begun == 0 { Ok(self.checked) } else { Err(NotUtf8) }
    }

    /// Bytes received.
    pub fn len(&self) -> usize {
        self.checked.len() + self.begun
    }

    /// Bytes of heap.
    pub fn capacity(&self) -> usize {
        self.checked.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes are taken, one at a time, before the text is refused.
    fn refused_after(bytes: &[u8]) -> Option<usize> {
        let mut text = Text::default();
        (1..=bytes.len()).find(|&taken| text.push(&bytes[taken - 1..taken]).is_err())
    }

    #[test]
    fn a_character_may_be_cut_anywhere() {
        for whole in ["é", "€", "😀", "aé€😀z", "\u{0}\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}"]
        {
            for cut in 0..=whole.len() {
                let mut text = Text::default();
                text.push(&whole.as_bytes()[..cut]).unwrap();
                assert_eq!(text.len(), cut);
                text.push(&whole.as_bytes()[cut..]).unwrap();
                assert_eq!(text.finish().as_deref(), Ok(whole), "cut {cut}");
            }
        }
    }

    #[test]
    fn the_first_impossible_byte_is_refused_at_once() {
        for (bytes, after) in [
            (&b"ab\xff"[..], 3),
            (b"\x80", 1),
            (b"\xc0\x80", 1),
            (b"\xc1\xbf", 1),
            (b"\xf5\x80\x80\x80", 1),
            (b"\xc3a", 2),
            // Longer than needed.
            (b"\xe0\x9f\xbf", 2),
            (b"\xf0\x8f\xbf\xbf", 2),
            // A surrogate.
            (b"\xed\xa0\x80", 2),
            // Beyond U+10FFFF.
            (b"\xf4\x90\x80\x80", 2),
            (b"\xe2\x82a", 3),
            (b"\xf0\x9f\x98a", 4),
        ] {
            assert_eq!(refused_after(bytes), Some(after), "{bytes:02x?}");
            assert_eq!(Text::default().push(bytes), Err(NotUtf8), "{bytes:02x?}");
        }
    }

    #[test]
    fn an_unfinished_character_is_refused_at_the_end_only() {
        for cut in [&b"\xc3"[..], b"\xe2\x82", b"\xf0\x9f\x98"] {
            let mut text = Text::default();
            assert_eq!(text.push(cut), Ok(()));
            assert_eq!(text.finish(), Err(NotUtf8), "{cut:02x?}");
        }
    }
}
