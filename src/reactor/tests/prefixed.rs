//! Frames with a prefix of the client's own, and what else a session may wish beside the shared ones.

use super::*;
use crate::exchange::{ConversationId, Legacy, Notice, Refusal};
use crate::websocket::encoder;

/// Does what its client says, and says what it hears.
struct Commanded {
    encoding: EncodingId,
    conversation: Option<ConversationId>,
    panics: bool,
}

pub(super) fn opening(encoding: EncodingId) -> Opening {
    let session = Commanded { encoding, conversation: None, panics: false };
    Opening::WebSocket { session: Box::new(session), upgrade: Response::new(101) }
}

impl Session for Commanded {
    fn limits(&self) -> &ConnectionLimits {
        &CONNECTION_LIMITS
    }

    fn received(&mut self, inbound: Inbound<'_>, actions: &mut Actions) {
        let text = match inbound {
            Inbound::Text(text) => text,
            Inbound::Close(code) => return actions.close(code, ""),
            Inbound::Binary(_) | Inbound::Ping | Inbound::Pong | Inbound::Body(_) => return,
        };
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["join", id, topic, way] => {
                let id = SubscriptionId(id.parse().unwrap());
                let topic = JoinTopic { id, name: topic.into(), start: StartAt::Now, must_have_messages: false };
                let delivery = match way {
                    "shared" => Delivery::Shared(self.encoding),
                    "single" => Delivery::PerSubscriber,
                    prefix => Delivery::Prefixed { encoding: self.encoding, prefix: prefix.as_bytes().into() },
                };
                actions.join(Join { topics: vec![topic], ..Join::default() }, delivery);
            }
            ["leave", id] => actions.leave(vec![SubscriptionId(id.parse().unwrap())]),
            ["ping", text] => actions.ping(encoder::text(text.as_bytes()).into()),
            ["introduce", id] => {
                let id = ConversationId(id.parse().unwrap());
                self.conversation = Some(id);
                actions.introduce(id);
            }
            ["replay", prefix, ..] => {
                let messages = words[2..]
                    .iter()
                    .map(|payload| Arc::new(Message::new(Stamp::default(), "a".into(), 1, payload.as_bytes().into())));
                actions.replay(self.encoding, prefix.as_bytes().into(), messages.collect());
            }
            ["say", text] => actions.send(encoder::text(text.as_bytes())),
            ["panic", "later"] => self.panics = true,
            _ => panic!("no such command: {text}"),
        }
    }

    fn refused(&mut self, refusal: Refusal, _actions: &mut Actions) {
        panic!("{refusal:?}");
    }

    fn delivered(&mut self, id: SubscriptionId, message: &Arc<Message>, actions: &mut Actions) {
        let text = format!("{}:{}", id.0, String::from_utf8_lossy(&message.payload));
        actions.send(encoder::text(text.as_bytes()));
    }

    fn page(&mut self, messages: &[Arc<Message>], _complete: bool, actions: &mut Actions) {
        for message in messages {
            let text = format!("page:{}", String::from_utf8_lossy(&message.payload));
            actions.send(encoder::text(text.as_bytes()));
        }
    }

    fn noticed(&mut self, notice: &Notice, actions: &mut Actions) {
        let text = match notice {
            Notice::TakenOver => "taken over".to_owned(),
            Notice::Disconnect { name, .. } => format!("disconnect {name}"),
        };
        actions.send(encoder::text(text.as_bytes()));
    }

    fn legacy(&self) -> Option<Legacy> {
        assert!(!self.panics, "on purpose");
        Some(Legacy { conversation: self.conversation?, state: None })
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        actions.close(Some(1008), "too slow");
    }

    fn draining(&mut self, actions: &mut Actions) {
        actions.close(Some(1001), "");
    }
}

/// A masked text frame; the mask is nought.
fn command(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).ok().filter(|len| *len < 126).expect("a short command")];
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

impl Client {
    /// The payloads of the text frames that came since the last look.
    fn texts(&self) -> Vec<String> {
        let texts = self.texts_begun();
        assert_eq!(self.got(), "", "frames are whole");
        texts
    }

    /// The same; the last frame may still be arriving.
    fn texts_begun(&self) -> Vec<String> {
        let to_client = &mut self.wire.0.borrow_mut().to_client;
        let mut texts = Vec::new();
        while let [first, second, after @ ..] = &to_client[..] {
            assert_eq!(*first, 0x81, "a text frame begins here: {:?}", String::from_utf8_lossy(to_client));
            let (header, len) = match (second, after.first_chunk(), after.first_chunk()) {
                (126, Some(len), _) => (4, usize::from(u16::from_be_bytes(*len))),
                (127, _, Some(len)) => (10, u64::from_be_bytes(*len) as usize),
                (short @ 0..126, ..) => (2, usize::from(*short)),
                _ => break,
            };
            if to_client.len() < header + len {
                break;
            }
            let frame: Vec<u8> = to_client.drain(..header + len).skip(header).collect();
            texts.push(String::from_utf8(frame).unwrap());
        }
        texts
    }
}

impl House {
    fn commanded(&mut self) -> Client {
        let client = self.connect();
        self.send(&client, UPGRADE.replace("/socket", "/commands"));
        let greeting = client.got();
        assert!(greeting.starts_with("HTTP/1.1 101 ") && greeting.ends_with("\r\n\r\n"), "{greeting:?}");
        client
    }

    fn command(&mut self, client: &Client, text: &str) {
        self.send(client, command(text));
    }

    /// A client with subscriptions to the topic `a`, told by their ways.
    fn listener(&mut self, ways: &[&str]) -> Client {
        let client = self.commanded();
        for (id, way) in ways.iter().enumerate() {
            self.command(&client, &format!("join {id} a {way}"));
        }
        client
    }

    fn publish_and_settle(&mut self, payloads: &[&str]) {
        payloads.iter().for_each(|payload| self.publish(payload));
        self.settle();
    }
}

#[test]
fn a_stalled_clients_goodbye_does_not_stand_behind_its_window_and_an_answer_is_never_skipped() {
    let mut house = House::new(limits());
    // A window full of frames is given up.
    let listening = house.listener(&["p"]);
    listening.takes(0);
    house.publish_and_settle(&["one", "two"]);
    // Two answers and the head of a WebSocket, none of which has begun, are not.
    let asking = house.connect();
    asking.takes(0);
    house.send(&asking, get("/now") + &get("/now") + &UPGRADE.replace("/socket", "/commands"));
    house.pass(Duration::from_secs(30));
    for client in [&listening, &asking] {
        client.takes_everything();
        house.writable(client);
    }
    assert_eq!(listening.wire.0.borrow().to_client[..4], [0x88, 2 + 8, 0x03, 0xf0], "nothing but the goodbye");
    let got = asking.got();
    assert_eq!(got.matches("HTTP/1.1 200 OK").count(), 2, "{got:?}");
    assert_eq!(got.matches("HTTP/1.1 101 ").count(), 1, "{got:?}");
    assert!(got.ends_with("too slow"));
}

#[test]
fn a_session_that_panics_when_it_is_asked_for_its_legacy_ends_alone() {
    let mut house = House::new(limits());
    let (other, client) = (house.listener(&["p"]), house.commanded());
    house.command(&client, "panic later");
    house.end(&client);
    assert!(client.is_closed());
    assert_eq!(house.counted(Counter::Panics), 1);
    house.publish_and_settle(&["m"]);
    assert_eq!(other.texts(), ["pm"]);
}

#[test]
fn an_announcement_reaches_everybody_of_that_moment_once() {
    let mut house = House::new(Limits { unopened_max: 5_000, ..limits() });
    let clients: Vec<Client> = (0..super::super::REVIEW_SLICE + 100).map(|_| house.commanded()).collect();
    let notice = Arc::new(Notice::Disconnect { name: "user".into(), reconnect: true });
    house.inbox.extend([ToReactor::Announce(notice), ToReactor::Announce(Arc::new(Notice::TakenOver))]);
    house.turn(&[]);
    let told = clients.iter().filter(|client| !client.wire.0.borrow().to_client.is_empty()).count();
    assert_eq!(told, super::super::REVIEW_SLICE as usize, "a slice each turn");
    let late = house.commanded();
    assert!(late.token.index() > super::super::REVIEW_SLICE as usize);
    assert!(late.texts().is_empty(), "it came after the announcement");
    for client in &clients {
        assert_eq!(client.texts(), ["disconnect user", "taken over"]);
    }
}
