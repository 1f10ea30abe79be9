//! WebSocket frames as a client of a trusted server needs them: read without allocating, written with an all-zero mask.

pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A whole frame at the front of a buffer.
#[derive(Debug, PartialEq)]
pub struct Frame<'a> {
    pub opcode: u8,
    pub payload: &'a [u8],
    /// Header and payload.
    pub bytes: usize,
}

/// The server broke RFC 6455, or a frame is longer than this client ever reads.
#[derive(Debug, PartialEq)]
pub struct FrameError;

/// Longest frame payload that is read: 1 MiB.
pub const PAYLOAD_BYTES_MAX: u64 = 1 << 20;

/// Reads one frame from the front of `bytes`; `Ok(None)` when more bytes are needed.
///
/// # Errors
/// Reserved bits, fragments, masked frames, control frames over 125 bytes and payloads over [`PAYLOAD_BYTES_MAX`]: no server under test sends them.
pub fn read(bytes: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    if first & 0xf0 != 0x80 || second & 0x80 != 0 {
        return Err(FrameError);
    }
    let (header, payload) = match second {
        126 => match bytes.get(2..4) {
            Some(length) => (4, u64::from(u16::from_be_bytes([length[0], length[1]]))),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10).and_then(|length| length.try_into().ok()) {
            Some(length) => (10, u64::from_be_bytes(length)),
            None => return Ok(None),
        },
        short => (2, u64::from(short)),
    };
    let opcode = first & 0x0f;
    if payload > PAYLOAD_BYTES_MAX || (opcode >= CLOSE && payload > 125) {
        return Err(FrameError);
    }
    let end = header + payload as usize;
    Ok(bytes.get(header..end).map(|payload| Frame { opcode, payload, bytes: end }))
}

/// Appends an unmasked frame, as servers send it.
pub fn write_unmasked(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    header(out, opcode, payload.len(), 0);
    out.extend_from_slice(payload);
}

/// Appends a frame as clients send it. The mask is zero: valid, and it costs this process nothing.
pub fn write_masked(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    header(out, opcode, payload.len(), 0x80);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

fn header(out: &mut Vec<u8>, opcode: u8, length: usize, mask_bit: u8) {
    out.push(0x80 | opcode);
    match length {
        0..=125 => out.push(mask_bit | length as u8),
        126..=0xffff => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_any_length_form_is_read_back_and_every_prefix_asks_for_more() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
            let payload = vec![b'p'; length];
            let mut bytes = Vec::new();
            write_unmasked(&mut bytes, TEXT, &payload);
            let whole = bytes.len();
            for cut in (0..whole.min(20)).chain([whole - 1]) {
                assert_eq!(read(&bytes[..cut]), Ok(None), "length {length}, cut {cut}");
            }
            bytes.extend_from_slice(b"next");
            assert_eq!(read(&bytes), Ok(Some(Frame { opcode: TEXT, payload: &payload, bytes: whole })), "length {length}");
        }
    }

    #[test]
    fn what_no_server_may_send_is_refused() {
        let masked = [0x81, 0x80, 0, 0, 0, 0];
        let fragment = [0x01, 0x00];
        let reserved = [0xc1, 0x00];
        let long_ping = [0x89, 126, 0, 126];
        let huge = [0x81, 127, 0, 0, 0, 0, 0, 0x10, 0, 1];
        for bytes in [&masked[..], &fragment, &reserved, &long_ping, &huge] {
            assert_eq!(read(bytes), Err(FrameError), "{bytes:x?}");
        }
    }

    #[test]
    fn a_masked_frame_is_what_a_strict_server_reads() {
        let mut bytes = Vec::new();
        write_masked(&mut bytes, TEXT, b"hello");
        let mut server =
            tungstenite::WebSocket::from_raw_socket(std::io::Cursor::new(bytes), tungstenite::protocol::Role::Server, None);
        assert_eq!(server.read().expect("one message"), tungstenite::Message::text("hello"));
    }
}
