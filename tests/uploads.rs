//! EP-67: what an upload of 100 MiB costs while it passes, counted at the allocator.
//!
//! Its own binary with a single test: whatever else ran would be counted, too.

#[path = "support/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};
use support::endpoints::{Listener, OPEN, Record, target};
use support::{Client, Server};

struct Counting;

static LIVE_BYTES: AtomicIsize = AtomicIsize::new(0);
static MOST_BYTES: AtomicIsize = AtomicIsize::new(0);

// SAFETY: everything is the system allocator's; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE_BYTES.fetch_add(layout.size() as isize, Relaxed) + layout.size() as isize;
        MOST_BYTES.fetch_max(live, Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as isize, Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const FILE_BYTES: u64 = 100 << 20;
/// Of the server and of the test's own clients.
const GROWTH_BYTES_MAX: isize = 128 << 10;

/// One piece of a file; no heap is behind it.
static PIECE: [u8; 64 << 10] = [b'x'; 64 << 10];

/// Sends a form with one file of this size.
fn send(client: &mut Client, bytes: u64) {
    let before =
        "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"film.mp4\"\r\nContent-Type: video/mp4\r\n\r\n";
    let behind = "\r\n--XyZ\r\nContent-Disposition: form-data; name=\"album\"\r\n\r\nholiday\r\n--XyZ--\r\n";
    let length = bytes + (before.len() + behind.len()) as u64;
    let target = target(OPEN, "");
    client.send(format!(
        "POST {target} HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=XyZ\r\nContent-Length: {length}\r\n\r\n{before}"
    ));
    let mut left = bytes;
    while left > 0 {
        let piece = left.min(PIECE.len() as u64);
        client.send(&PIECE[..piece as usize]);
        left -= piece;
    }
    client.send(behind);
}

#[test]
fn ep_67_memory_stays_bounded_while_100_mib_pass() {
    let server = Server::with_endpoints("");
    let mut listener = Listener::open(&server, 0, OPEN, "");
    let mut client = Client::on(&server, 3);
    server.settle();
    let before = LIVE_BYTES.load(Relaxed);
    MOST_BYTES.store(before, Relaxed);
    send(&mut client, FILE_BYTES);
    let answer = client.response();
    let grown = MOST_BYTES.load(Relaxed) - before;
    assert_eq!(answer.status, 201, "{answer:?}");
    let record = Record::parse(answer.text());
    let data = r#"{"file":{"name":"film.mp4","size":104857600,"type":"video/mp4"},"metadata":{"album":"holiday"}}"#;
    assert_eq!(record.data, data);
    listener.expect(&record.event("POST"));
    assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes more while {FILE_BYTES} passed");
    // The connection goes on; one byte more is one too many.
    assert_eq!(client.get(&target(OPEN, "dataOnly=true")).text(), format!("[{data}]"));
    send(&mut client, FILE_BYTES + 1);
    let refused = client.response();
    assert_eq!((refused.status, refused.text()), (413, r#"{"error":"Body too large."}"#));
    assert_eq!(client.get(&target(OPEN, "dataOnly=true")).text(), format!("[{data}]"), "nothing was stored");
    server.expect_silence(&mut listener);
}
