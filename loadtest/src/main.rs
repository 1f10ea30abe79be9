//! The load client of fanwire: connects subscribers, publishes, measures, and proves that nothing was lost.
#![forbid(unsafe_code)]

mod board;
mod client;
mod dialect;
mod fleet;
mod frames;
mod layout;
mod limit;
mod marker;
mod options;
mod persistent;
mod probe;
mod proc;
mod progress;
mod publisher;
mod report;
mod round;
mod scenarios;
mod server;

use std::fs::OpenOptions;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::options::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(reason) = options.contradiction() {
        Options::command().error(ErrorKind::ArgumentConflict, reason).exit();
    }
    let json = options.json.clone();
    let deadline = Instant::now() + options.timeout;
    end_by_force(options.timeout + Duration::from_secs(10));
    let histogram = options.histogram.clone();
    let report = scenarios::run(options, deadline);
    print!("{}", report.table());
    if let Some(path) = histogram
        && let Err(error) = std::fs::write(&path, report.histogram())
    {
        eprintln!("{}: {error}", path.display());
        return ExitCode::from(1);
    }
    if let Some(path) = json {
        let written = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|mut file| writeln!(file, "{}", report.json_line()));
        if let Err(error) = written {
            eprintln!("{}: {error}", path.display());
            return ExitCode::from(1);
        }
    }
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Every wait of a run has its bound; this is for the one that was forgotten.
fn end_by_force(after: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(after);
        eprintln!("loadtest: still running {after:?} after its start, giving up");
        server::end();
        std::process::exit(1);
    });
}
