//! Everything that the servers of this test binary log, at every level.

use std::io::Write;
use std::sync::{Mutex, Once};

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static ONCE: Once = Once::new();

struct Capture;

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().expect("no test panics while it logs").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Takes in what is logged from now on; only the first call does anything.
pub fn capture() {
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).with_writer(|| Capture);
        tracing::subscriber::set_global_default(subscriber.finish()).expect("nobody else logs here");
    });
}

/// What was logged so far.
pub fn text() -> String {
    String::from_utf8_lossy(&LOG.lock().expect("no test panics while it logs")).into_owned()
}
