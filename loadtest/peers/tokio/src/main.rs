//! tokio-tungstenite as the load client's peer: one task per connection, one broadcast channel per topic.
//! `/sub/<topic>` listens, `/publish` takes {"topic":…,"data":…} and answers {"seq":n}. Arguments: PORT THREADS default|tuned.
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

#[derive(serde::Deserialize)]
struct Publication<'a> {
    topic: &'a str,
    #[serde(borrow)]
    data: &'a serde_json::value::RawValue,
}

#[derive(Default)]
struct State {
    topics: Mutex<HashMap<String, broadcast::Sender<Utf8Bytes>>>,
    seq: AtomicU64,
}

impl State {
    fn topic(&self, name: &str) -> broadcast::Sender<Utf8Bytes> {
        let mut topics = self.topics.lock().expect("nobody panics with it");
        topics.entry(name.to_owned()).or_insert_with(|| broadcast::channel(1024).0).clone()
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, threads, form] = arguments.as_slice() else { panic!("arguments: PORT THREADS default|tuned") };
    let (port, threads) = (port.parse().expect("a port"), threads.parse().expect("a number"));
    let mut config = WebSocketConfig::default();
    if form == "tuned" {
        config = config.read_buffer_size(4096);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_io().build().expect("a runtime");
    runtime.block_on(serve(port, config));
}

async fn serve(port: u16, config: WebSocketConfig) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option");
    socket.bind(([127, 0, 0, 1], port).into()).expect("a free port");
    let listener = socket.listen(4096).expect("listens");
    let state = Arc::new(State::default());
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            // Whoever leaves ends its own task only.
            let _ = connection(stream, config, &state).await;
        });
    }
}

async fn connection(
    stream: TcpStream,
    config: WebSocketConfig,
    state: &State,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    stream.set_nodelay(true)?;
    let mut path = String::new();
    #[allow(clippy::result_large_err)]
    let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        path = request.uri().path().to_owned();
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async_with_config(stream, look, Some(config)).await?;
    if path == "/publish" {
        while let Some(message) = socket.next().await {
            let Message::Text(text) = message? else { continue };
            let Ok(publication) = serde_json::from_str::<Publication>(&text) else { break };
            // Nobody may be listening.
            let _ = state.topic(publication.topic).send(publication.data.get().into());
            let seq = state.seq.fetch_add(1, Relaxed) + 1;
            socket.send(Message::text(format!("{{\"seq\":{seq}}}"))).await?;
        }
        return Ok(());
    }
    let mut messages = state.topic(path.trim_start_matches("/sub/")).subscribe();
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Ok(text) => socket.send(Message::Text(text)).await?,
                // It lost messages: the load client shall see it.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
            heard = socket.next() => match heard {
                Some(heard) => drop(heard?),
                None => return Ok(()),
            },
        }
    }
}
