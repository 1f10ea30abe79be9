//! A real `fanwire dev`, and publishing to it as any backend would.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

/// How long anything may take that happens at once; on a busy machine, too.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Panics with `what` when the future takes longer than [`PATIENCE`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(PATIENCE, what, future).await
}

/// Panics with `what` when the future takes longer than `patience`.
pub async fn within<T>(patience: Duration, what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(patience, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// A process of its own, which is killed when a test fails before it has stopped.
pub struct Server {
    child: Child,
    address: SocketAddr,
    // Whatever it prints later must not meet a closed pipe.
    _printed: Lines<BufReader<ChildStdout>>,
}

impl Server {
    /// On a port that is free.
    pub async fn start() -> Server {
        Server::start_on("127.0.0.1:0").await
    }

    /// On this address, like that of one that has stopped. The environment's `FANWIRE` names the binary.
    pub async fn start_on(address: &str) -> Server {
        let binary = std::env::var_os("FANWIRE").expect("FANWIRE names the server's binary");
        let mut child = Command::new(binary)
            .args(["dev", "--listen", address, "--log-level", "warn"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the server starts");
        let mut printed = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines();
        let address = loop {
            let line = soon("the URLs that dev prints", printed.next_line()).await.expect("stdout can be read");
            let line = line.expect("dev prints the URL of its metrics before it ends");
            if let Some(address) = line.split("http://").nth(1).and_then(|url| url.strip_suffix("/metrics")) {
                break address.parse().expect("a URL begins with an address");
            }
        };
        Server { child, address, _printed: printed }
    }

    /// Where cable clients connect.
    pub fn cable(&self) -> String {
        format!("ws://{}/cable", self.address)
    }

    /// Has it drain, holds it to exit code 0, and returns the address that is free now.
    pub async fn stop(mut self) -> String {
        let id = self.child.id().expect("it runs");
        kill(Pid::from_raw(i32::try_from(id).expect("an id fits")), Signal::SIGTERM).expect("it can be signalled");
        let status = soon("the end of the server", self.child.wait()).await.expect("it can be waited for");
        assert_eq!(status.code(), Some(0), "{status}");
        self.address.to_string()
    }

    /// Posts JSON with the publisher's key, and holds the server to `201 Created`.
    pub async fn post(&self, path: &str, json: &str) {
        let answer = self.ask("POST", path, json).await;
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    }

    /// The number of one line of `/metrics`, named without `fanwire_action_cable_`.
    pub async fn metric(&self, name: &str) -> u64 {
        let answer = self.ask("GET", "/metrics", "").await;
        let number = answer
            .lines()
            .find_map(|line| line.strip_prefix("fanwire_action_cable_")?.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        number.unwrap_or_else(|| panic!("{name} in {answer}"))
    }

    /// What is answered to a request with the publisher's key.
    async fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer dev\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let answer = soon("the answer", async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<String, std::io::Error>(answer)
        });
        answer.await.expect("the request is served")
    }
}
