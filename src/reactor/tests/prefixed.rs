//! Frames with a prefix of the client's own, and what else a session may wish beside the shared ones.

use super::*;
use crate::exchange::{ConversationId, Legacy, Notice, Refusal};
use crate::message::Frame;
use crate::reactor::outbox::{Outbox, Run};
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
            Inbound::Binary(_) | Inbound::Ping | Inbound::Pong | Inbound::Body(_) | Inbound::Part(_) | Inbound::End => return,
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
                let message = |word: &&str| {
                    // Behind an @ stands the token of who does not get it.
                    let (payload, except) = word.split_once('@').unwrap_or((word, ""));
                    let mut message = Message::new(Stamp::default(), "a".into(), 1, payload.as_bytes().into());
                    message.except = except.parse().ok().map(|token| Box::new((0, token)));
                    Arc::new(message)
                };
                actions.replay(self.encoding, prefix.as_bytes().into(), words[2..].iter().map(message).collect());
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
            Notice::Revoked(_) => "revoked".to_owned(),
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
pub(super) fn command(text: &str) -> Vec<u8> {
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

/// What [`House::fall_behind`] publishes.
fn everything() -> String {
    (0..70).map(|number| format!("{number},")).collect()
}

fn tails(run: &Run) -> Arc<[Frame]> {
    match run {
        Run::Prefixed { tails, .. } => tails.clone(),
        Run::Shared(_) | Run::Ping(_) => panic!("{run:?}"),
    }
}

impl House {
    /// Publishes more than stalled clients get into their windows.
    fn fall_behind(&mut self) {
        for number in 0..70 {
            self.publish_and_settle(&[&format!("{number},")]);
        }
    }

    /// These read on; their reads are answered, and the pages lie in the inbox.
    fn wake(&mut self, clients: &[&Client]) {
        clients.iter().for_each(|client| client.takes_everything());
        let writable = |client: &&Client| Event { token: client.token, readable: false, writable: true, hangup: false };
        let events: Vec<Event> = clients.iter().map(writable).collect();
        self.turn(&events);
    }

    /// What alone waits for this client's socket.
    fn run(&self, client: &Client) -> Arc<Run> {
        self.outbox(client).runs().next().expect("something waits").clone()
    }

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

    fn outbox(&self, client: &Client) -> &Outbox {
        &self.reactor.connections[self.reactor.connections.find(client.token).unwrap()].outbox
    }

    /// In the place of the hub, which knows conversations: nobody behind `client` gets these messages.
    fn leave_out(&mut self, client: &Client, payloads: &[&str]) {
        let leave_out = |message: &mut Arc<Message>| {
            if payloads.iter().any(|payload| *message.payload == *payload.as_bytes()) {
                let mut same = Message::new(message.stamp, message.topic.clone(), message.id, message.payload.clone());
                same.except = Some(Box::new((0, client.token.0)));
                *message = Arc::new(same);
            }
        };
        for reply in &mut self.inbox {
            match reply {
                ToReactor::Deliver { message, .. } => leave_out(message),
                ToReactor::Backlog { backlog, .. } => backlog.messages.iter_mut().for_each(|(_, message)| leave_out(message)),
                ToReactor::Removed { .. }
                | ToReactor::Joined { .. }
                | ToReactor::Refused { .. }
                | ToReactor::Answer { .. }
                | ToReactor::Worked { .. }
                | ToReactor::Notice { .. }
                | ToReactor::Announce(_) => {}
            }
        }
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
fn a_message_that_leaves_one_out_reaches_everybody_else_of_a_shared_page() {
    let mut house = House::new(limits());
    for left_out in 0..2 {
        let clients = [house.listener(&["shared"]), house.listener(&["shared"])];
        clients.iter().for_each(|client| client.takes(0));
        house.fall_behind();
        house.wake(&[&clients[0], &clients[1]]);
        assert_eq!(house.inbox.len(), 1, "they share one read");
        house.leave_out(&clients[left_out], &["66,"]);
        house.settle();
        for (at, client) in clients.iter().enumerate() {
            let expected = everything().replace("66,", if at == left_out { "" } else { "66," });
            assert_eq!(client.got(), expected, "client {at}, {left_out} is left out");
            house.end(client);
        }
    }
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
fn a_page_for_many_subscriptions_of_one_topic_stays_near_the_window() {
    const SUBSCRIPTIONS: usize = 100;
    const BYTES: usize = 2_000;
    let mut house = House::new(limits());
    let prefixes: Vec<String> = (0..SUBSCRIPTIONS).map(|number| format!("{number}:")).collect();
    let client = house.listener(&prefixes.iter().map(String::as_str).collect::<Vec<_>>());
    client.takes(0);
    let payloads: Vec<String> = (0..30).map(|number| format!("{number:02}{}", "x".repeat(BYTES))).collect();
    for payload in &payloads {
        house.publish_and_settle(&[payload]);
    }
    assert_eq!(house.counted(Counter::Lagging), 1);
    let mut texts = Vec::new();
    for _ in 0..100_000 {
        // Everything that waits and one byte of what follows.
        client.takes(house.outbox(&client).bytes() + 1);
        house.writable(&client);
        texts.append(&mut client.texts_begun());
        let waiting = house.outbox(&client).bytes();
        assert!(waiting <= CONNECTION_LIMITS.outbox_bytes_max + SUBSCRIPTIONS * (BYTES + 20), "{waiting} bytes wait");
        if texts.len() == SUBSCRIPTIONS * payloads.len() {
            break;
        }
    }
    for prefix in &prefixes {
        let mine: Vec<&str> = texts.iter().filter_map(|text| text.strip_prefix(&**prefix)).collect();
        assert_eq!(mine, payloads, "{prefix}");
    }
    assert_eq!(house.counted(Counter::LagEnded), 1);
}

#[test]
fn clients_that_catch_up_together_share_the_tails_of_their_page() {
    let mut house = House::new(limits());
    let clients = [house.listener(&["p"]), house.listener(&["qq"]), house.listener(&["p"])];
    clients.iter().for_each(|client| client.takes(0));
    house.fall_behind();
    let encodings = house.counted(Counter::Encodings);
    house.wake(&[&clients[0], &clients[1], &clients[2]]);
    clients.iter().for_each(|client| client.takes(0));
    house.settle();
    assert_eq!(house.counted(Counter::Encodings), encodings, "what is encoded stays so");
    let (first, second, third) = (house.run(&clients[0]), house.run(&clients[1]), house.run(&clients[2]));
    assert!(Arc::ptr_eq(&first, &third), "an equal prefix, an equal run");
    assert!(Arc::ptr_eq(&tails(&first), &tails(&second)));
    for (client, prefix) in clients.iter().zip(["p", "qq", "p"]) {
        client.takes_everything();
        house.writable(client);
        let expected: Vec<String> = (0..70).map(|number| format!("{prefix}{number},")).collect();
        assert_eq!(client.texts_begun(), expected);
    }
}

#[test]
fn an_announcement_reaches_everybody_of_that_moment_once() {
    let mut house = House::new(Limits { unopened_max: 5_000, ..limits() });
    let clients: Vec<Client> = (0..super::super::ANNOUNCE_SLICE + 100).map(|_| house.commanded()).collect();
    let notice = Arc::new(Notice::Disconnect { name: "user".into(), reconnect: true });
    house.inbox.extend([ToReactor::Announce(notice), ToReactor::Announce(Arc::new(Notice::TakenOver))]);
    house.turn(&[]);
    let told = clients.iter().filter(|client| !client.wire.0.borrow().to_client.is_empty()).count();
    assert_eq!(told, super::super::ANNOUNCE_SLICE as usize, "a slice each turn");
    let late = house.commanded();
    assert!(late.token.index() > super::super::ANNOUNCE_SLICE as usize);
    assert!(late.texts().is_empty(), "it came after the announcement");
    for client in &clients {
        assert_eq!(client.texts(), ["disconnect user", "taken over"]);
    }
}

#[test]
fn announcements_beyond_the_bound_are_told_before_another_one_waits() {
    let mut house = House::new(limits());
    let client = house.commanded();
    let most = super::super::ANNOUNCED_MAX;
    let many = (0..most + 10).map(|number| Notice::Disconnect { name: number.to_string().into(), reconnect: true });
    house.inbox.extend(many.map(|notice| ToReactor::Announce(Arc::new(notice))));
    house.turn(&[]);
    // Ten to make room, and the slice of this turn.
    let begun: Vec<String> = (0..11).map(|number| format!("disconnect {number}")).collect();
    assert_eq!(client.texts(), begun);
    house.settle();
    assert_eq!(client.texts().len(), most - 1);
}

#[test]
fn frames_of_every_header_size_are_prefix_and_payload() {
    let mut house = House::new(limits());
    let clients = [house.listener(&["p"]), house.listener(&["prefix:"])];
    for length in [8, 125, 126, 65_535, 65_536] {
        for (client, prefix) in clients.iter().zip(["p", "prefix:"]) {
            let payload = "x".repeat(length - prefix.len());
            house.publish_and_settle(&[&payload]);
            let got = std::mem::take(&mut client.wire.0.borrow_mut().to_client);
            let header = match length {
                0..126 => vec![0x81, length as u8],
                126..65_536 => [&[0x81, 126][..], &(length as u16).to_be_bytes()].concat(),
                _ => [&[0x81, 127][..], &(length as u64).to_be_bytes()].concat(),
            };
            assert_eq!(got.len(), header.len() + length);
            assert!(got == [&header[..], prefix.as_bytes(), payload.as_bytes()].concat(), "{length} bytes behind {prefix}");
            // The other one got it, too.
            clients.iter().for_each(|client| client.wire.0.borrow_mut().to_client.clear());
        }
    }
}

#[test]
fn distinct_prefixes_share_the_payload_and_equal_ones_the_run() {
    let mut house = House::new(limits());
    let clients = [house.listener(&["p"]), house.listener(&["p"]), house.listener(&["q"])];
    clients.iter().for_each(|client| client.takes(0));
    let encodings = house.counted(Counter::Encodings);
    ["one", "two"].iter().for_each(|payload| house.publish(payload));
    house.settle();
    assert_eq!(house.counted(Counter::Encodings) - encodings, 2);
    let runs = [house.run(&clients[0]), house.run(&clients[1]), house.run(&clients[2])];
    assert!(Arc::ptr_eq(&runs[0], &runs[1]));
    assert!(Arc::ptr_eq(&tails(&runs[1]), &tails(&runs[2])));
    // The message's own and that of the run: nobody has a copy of the payload.
    assert_eq!(tails(&runs[2]).iter().map(Arc::strong_count).collect::<Vec<_>>(), [2, 2]);
}

#[test]
fn subscriptions_of_one_topic_get_a_message_in_the_order_of_their_making_whoever_leaves() {
    let mut house = House::new(limits());
    let before = [house.listener(&["w"]), house.listener(&["x"])];
    let client = house.listener(&["1", "2", "3", "4"]);
    let after = house.listener(&["y"]);
    let mut expected = vec!["1", "2", "3", "4"];
    let leaves: [(&Client, &str, Option<&str>); 5] = [
        // The last of the list, another connection's, fills the hole.
        (&before[0], "leave 0", None),
        // The client's newest fills the hole before its others.
        (&after, "leave 0", None),
        (&before[1], "leave 0", None),
        (&client, "leave 0", Some("1")),
        (&client, "leave 2", Some("3")),
    ];
    for (who, what, gone) in leaves {
        house.command(who, what);
        expected.retain(|prefix| Some(*prefix) != gone);
        house.reactor.check();
        house.publish_and_settle(&["m"]);
        let frames: Vec<String> = expected.iter().map(|prefix| format!("{prefix}m")).collect();
        assert_eq!(client.texts(), frames, "live");
        // Two window's worth of messages: the last ones come from a page.
        client.takes(0);
        for number in 0..70 {
            house.publish_and_settle(&[&number.to_string()]);
        }
        client.takes_everything();
        house.writable(&client);
        let frames = (0..70).flat_map(|number| expected.iter().map(move |prefix| format!("{prefix}{number}")));
        assert_eq!(client.texts(), frames.collect::<Vec<_>>(), "from a page");
    }
    assert_eq!(house.counted(Counter::Lagging), 5);
}

#[test]
fn a_client_with_subscriptions_of_both_kinds_misses_and_doubles_nothing_when_it_catches_up() {
    let mut house = House::new(limits());
    let client = house.listener(&["p:", "single"]);
    client.takes(0);
    for number in 0..60 {
        house.publish_and_settle(&[&number.to_string()]);
    }
    assert_eq!(house.counted(Counter::Lagging), 1);
    client.takes_everything();
    house.writable(&client);
    let texts = client.texts();
    for (what, of) in [("p:", "p:"), ("1:", "page:")] {
        // A message for the session says whether it came from a page.
        let mine = texts.iter().filter_map(|text| text.strip_prefix(what).or_else(|| text.strip_prefix(of)));
        let numbers: Vec<&str> = mine.collect();
        assert_eq!(numbers, (0..60).map(|number| number.to_string()).collect::<Vec<_>>(), "{what}");
    }
    house.publish_and_settle(&["live"]);
    assert_eq!(client.texts(), ["p:live", "1:live"]);
}

#[test]
fn shared_and_prefixed_frames_of_one_client_keep_the_order_of_a_page() {
    let mut house = House::new(limits());
    let client = house.listener(&["p", "shared", "q"]);
    client.takes(0);
    for number in 0..30 {
        house.publish_and_settle(&[&number.to_string()]);
    }
    assert_eq!(house.counted(Counter::Lagging), 1);
    client.takes_everything();
    house.writable(&client);
    let expected: Vec<u8> = (0..30)
        .flat_map(|number| {
            // What is shared goes out as its encoder made it.
            let payload = number.to_string();
            let prefixed = |prefix: &str| encoder::text((prefix.to_owned() + &payload).as_bytes());
            [prefixed("p"), payload.clone().into_bytes(), prefixed("q")].concat()
        })
        .collect();
    assert_eq!(client.wire.0.borrow().to_client, expected);
}

#[test]
fn a_left_out_connection_misses_that_message_live_and_in_a_page_and_no_other() {
    let mut house = House::new(limits());
    let (client, other) = (house.listener(&["p", "single"]), house.listener(&["p"]));
    ["1", "2", "3"].iter().for_each(|payload| house.publish(payload));
    house.leave_out(&client, &["2"]);
    house.settle();
    assert_eq!(client.texts(), ["p1", "0:1", "p3", "0:3"].map(|text| text.replace("0:", "1:")));
    assert_eq!(other.texts(), ["p1", "p2", "p3"]);
    for client in [&client, &other] {
        client.takes(0);
    }
    house.fall_behind();
    house.wake(&[&client, &other]);
    house.leave_out(&client, &["66,"]);
    house.settle();
    let texts = client.texts();
    assert!(texts.contains(&"p65,".to_owned()) && texts.contains(&"p67,".to_owned()));
    assert!(!texts.iter().any(|text| text.ends_with("66,")));
    let expected: Vec<String> = (0..70).map(|number| format!("p{number},")).collect();
    assert_eq!(other.texts(), expected);
    // Another connection has its place, and is not meant.
    house.publish("4");
    house.leave_out(&client, &["4"]);
    house.end(&client);
    house.settle();
    assert_eq!(other.texts(), ["p4"]);
}

#[test]
fn a_ping_takes_the_place_of_one_that_waits_and_a_replay_is_sent_in_its_turn() {
    let mut house = House::new(limits());
    let client = house.listener(&["p"]);
    client.takes(0);
    for text in ["say 1", "ping 2", "say 3", "ping 4", "replay r a b", "say 5", "replay r"] {
        house.command(&client, text);
    }
    house.publish_and_settle(&["m"]);
    client.takes_everything();
    house.writable(&client);
    assert_eq!(client.texts(), ["1", "4", "3", "ra", "rb", "5", "pm"]);
    house.command(&client, "ping 6");
    assert_eq!(client.texts(), ["6"]);
}

#[test]
fn a_replay_leaves_out_what_is_not_for_the_connection() {
    let mut house = House::new(limits());
    let (client, other) = (house.commanded(), house.commanded());
    let text = format!("replay r a b@{} c@{} d", client.token.0, other.token.0);
    house.command(&client, &text);
    assert_eq!(client.texts(), ["ra", "rc", "rd"]);
    assert_eq!(house.counted(Counter::Deliveries), 3);
    house.command(&client, &format!("replay r b@{}", client.token.0));
    assert_eq!(client.texts(), [""; 0]);
}

#[test]
fn the_hub_hears_of_a_conversation_before_its_end_and_of_its_end_once() {
    let mut house = House::new(limits());
    let client = house.listener(&["p"]);
    let frames = [command("introduce 7"), vec![0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]].concat();
    client.wire.0.borrow_mut().to_server.extend(frames);
    let event = Event { token: client.token, readable: true, writable: false, hangup: false };
    house.reactor.turn(&[event], &mut std::iter::empty(), house.now);
    house.reactor.write();
    client.wire.0.borrow_mut().ended = true;
    house.reactor.turn(&[Event { hangup: true, ..event }], &mut std::iter::empty(), house.now);
    house.reactor.write();
    let asked: Vec<ToHub> = house.reactor.outgoing().collect();
    let [ToHub::Introduce { conversation, .. }, ToHub::Part { legacy, connection, .. }, ToHub::Leave { last: true, .. }] =
        &asked[..]
    else {
        panic!("{asked:?}");
    };
    assert_eq!((*conversation, *connection), (ConversationId(7), client.token));
    assert_eq!(*legacy, Legacy { conversation: ConversationId(7), state: None });
    assert!(client.is_closed());
}

#[test]
fn prefixes_are_kept_once_and_given_up_with_their_last_listener() {
    let mut house = House::new(limits());
    let clients = [house.listener(&["p", "q"]), house.listener(&["p"]), house.listener(&["r", "r"])];
    house.command(&clients[1], "join 5 b p");
    assert_eq!(house.reactor.subscribers.prefixed_counts(), (6, 3));
    house.command(&clients[0], "leave 1");
    assert_eq!(house.reactor.subscribers.prefixed_counts(), (5, 2));
    house.end(&clients[2]);
    assert_eq!(house.reactor.subscribers.prefixed_counts(), (3, 1));
    let origin = Origin { reactor: 0, connection: Token(0), ticket: 0 };
    house.hub.handle(ToHub::Delete { origin, topics: vec!["a".into()], payload: b"gone"[..].into() }, house.now);
    house.ask_hub();
    house.settle();
    assert_eq!(house.reactor.subscribers.prefixed_counts(), (1, 1), "that of the other topic is left");
    house.reactor.check();
    clients[..2].iter().for_each(|client| house.end(client));
    assert_eq!(house.reactor.subscribers.prefixed_counts(), (0, 0));
}
