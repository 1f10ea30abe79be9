//! The server under test as a process of this one's: it is started, killed, and started again.
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Between two attempts to reach it.
const LOOK: Duration = Duration::from_millis(5);

/// The process, for whoever ends this one by force.
static RUNNING: Mutex<Option<Child>> = Mutex::new(None);

pub struct Server {
    words: Vec<String>,
    address: SocketAddr,
    pid: u32,
}

impl Server {
    /// Starts it, and waits until it takes connections on the address.
    ///
    /// # Errors
    /// It can't be started, it ends, or it does not listen in time.
    pub fn start(command: &str, address: SocketAddr, deadline: Instant) -> Result<Server, String> {
        if TcpStream::connect(address).is_ok() {
            return Err(format!("there is a server on {address} already"));
        }
        let words = command.split_whitespace().map(str::to_owned).collect();
        let mut server = Server { words, address, pid: 0 };
        server.start_again(deadline)?;
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends it with SIGKILL; it is gone when this returns.
    pub fn kill(&self) {
        end();
    }

    /// As [`Server::start`].
    ///
    /// # Errors
    /// The same.
    pub fn start_again(&mut self, deadline: Instant) -> Result<(), String> {
        let mut words = self.words.iter();
        let program = words.next().ok_or("no command starts the server")?;
        let mut child = Command::new(program)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        self.pid = child.id();
        let outcome = loop {
            match child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => break Err(format!("the server ended: {status}")),
                Err(error) => break Err(format!("the server: {error}")),
            }
            if TcpStream::connect(self.address).is_ok() {
                break Ok(());
            }
            if Instant::now() >= deadline {
                break Err("the server does not listen".to_owned());
            }
            std::thread::sleep(LOOK);
        };
        *running() = Some(child);
        outcome
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end();
    }
}

/// Kills the server, if this process has one.
pub fn end() {
    if let Some(mut child) = running().take() {
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn running() -> std::sync::MutexGuard<'static, Option<Child>> {
    RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
