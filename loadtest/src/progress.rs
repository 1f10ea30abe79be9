//! One changing line on a terminal that says how far a run is.
use std::io::{IsTerminal, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::board::Board;

const INTERVAL: Duration = Duration::from_millis(500);

/// The board that is shown; nothing is written when standard error is no terminal.
#[derive(Clone)]
pub struct Progress(Arc<Mutex<Weak<Board>>>);

impl Progress {
    pub fn start() -> Progress {
        let shown = Arc::new(Mutex::new(Weak::new()));
        if std::io::stderr().is_terminal() {
            let shown = Arc::downgrade(&shown);
            let started = Instant::now();
            std::thread::spawn(move || {
                while let Some(board) = shown.upgrade() {
                    let board = board.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
                    if let Some(board) = board {
                        // A terminal that went away is no trouble of the run's.
                        let _ = write!(std::io::stderr(), "\r\x1b[K{:4} s  {}", started.elapsed().as_secs(), line(&board));
                    }
                    std::thread::sleep(INTERVAL);
                }
            });
        }
        Progress(shown)
    }

    pub fn show(&self, board: &Arc<Board>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(board);
    }

    /// Clears the line, before the report is printed.
    pub fn end(self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Weak::new();
        if std::io::stderr().is_terminal() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(board: &Board) -> String {
    let count = |counter: &std::sync::atomic::AtomicU32| counter.load(Relaxed);
    format!(
        "connected {} of {}, failed {}, closed {}, published {}, delivered {}",
        count(&board.connected),
        board.connections,
        count(&board.failed),
        count(&board.closed),
        board.published.load(Relaxed),
        board.deliveries.load(Relaxed)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Clock;
    use crate::layout::Layout;

    #[test]
    fn the_line_tells_connections_and_deliveries() {
        let board = Board::new(Clock::start(), Layout { topics: 1, per_connection: 1 }, 5, 3);
        board.connected.store(4, Relaxed);
        board.intend(1, 7);
        board.received(1, 4, 8, 8);
        assert_eq!(line(&board), "connected 4 of 5, failed 0, closed 0, published 2, delivered 4");
    }
}
