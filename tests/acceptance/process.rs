//! The real binary: started, listened to, signalled, waited for.

use crate::client::PATIENCE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub struct Process {
    child: Child,
    /// Lines of its log, as they come.
    log: Receiver<String>,
    /// Those that have been looked at.
    seen: RefCell<Vec<String>>,
}

/// How a command that ends by itself ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for variable in ["CONFIG", "LISTEN", "LOG_FORMAT", "LOG_LEVEL", "REACTORS"] {
        command.env_remove(format!("FANWIRE_{variable}"));
    }
    command
}

/// Runs a command that has to end by itself.
pub fn run(arguments: &[&str]) -> Ended {
    let mut process = Process::start(arguments);
    let code = process.wait();
    let mut stdout = String::new();
    process.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    Ended { code, stdout, stderr: process.log.iter().collect::<Vec<_>>().join("\n") }
}

/// A directory of this test alone.
pub fn directory(test: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("acceptance-{test}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

impl Process {
    pub fn start(arguments: &[&str]) -> Process {
        let mut child = command(arguments).spawn().unwrap();
        let (sender, log) = channel();
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                if line.is_err() || sender.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        Process { child, log, seen: RefCell::default() }
    }

    /// The next record of the log that contains this; what comes before it is dropped.
    #[track_caller]
    pub fn wait_for_record(&self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.seen.borrow_mut();
        let first = seen.len();
        loop {
            match self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => seen.push(line),
                Err(error) => panic!("{error}: no record with {part:?} in {:#?}", &seen[first..]),
            }
            if let Some(line) = seen.last().filter(|line| line.contains(part)) {
                return line.clone();
            }
        }
    }

    /// All that it wrote, now that it has ended.
    pub fn output(&mut self) -> String {
        let mut output = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut output).unwrap();
        }
        self.seen.get_mut().drain(..).chain(self.log.iter()).for_each(|line| output += &(line + "\n"));
        output
    }

    /// Waits until it runs; its public address and that of the administration.
    #[track_caller]
    pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
        let record: serde_json::Value = serde_json::from_str(&self.wait_for_record("fanwire runs")).unwrap();
        let address = |name: &str| record["fields"][name].as_str().unwrap().parse().unwrap();
        (address("address"), address("admin"))
    }

    /// The address that `fanwire dev` shows on its standard output.
    #[track_caller]
    pub fn shown_address(&mut self) -> SocketAddr {
        let mut lines = BufReader::new(self.child.stdout.take().unwrap()).lines();
        let line = lines.find_map(|line| line.unwrap().split_once("http://").map(|(_, rest)| rest.to_owned())).unwrap();
        line.split('/').next().unwrap().parse().unwrap()
    }

    /// Nobody reads its standard output from now on.
    pub fn close_output(&mut self) {
        self.child.stdout = None;
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it has ended; `None` for an end by a signal.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
