//! Both dialects share the topics: what one publishes, the other's listeners get, byte for byte.

use crate::client::{Client, Message, masked};
use crate::{dev, start, wait_for_subscribers};

/// What a publisher of the native ingest writes, and what listeners get: white space that means nothing is gone, and
/// number texts, escapes and the order of keys stay.
const PAYLOADS: [(&str, &str); 6] = [
    (r#"{ "z" : 1.50e+2 , "a" : [ 1, -0, 2.0 ] }"#, r#"{"z":1.50e+2,"a":[1,-0,2.0]}"#),
    (r#""é € 😀 \u00e9 \/ \ud83d\ude00 ~id~ \n""#, r#""é € 😀 \u00e9 \/ \ud83d\ude00 ~id~ \n""#),
    ("12345678901234567890123456789", "12345678901234567890123456789"),
    (" null ", "null"),
    (r#"{"data: ":"}{","k":1,"k":2}"#, r#"{"data: ":"}{","k":1,"k":2}"#),
    ("[]", "[]"),
];

#[test]
fn publishers_and_subscribers_of_both_dialects_share_topics() {
    let server = start(dev());
    let address = server.address();
    let mut websocket = Client::connect(address);
    websocket.upgrade("/websocket/news/other?auth_token=dev", "");
    let mut stream = Client::connect(address);
    stream.ask("GET", "/stream/news/other?auth_token=dev", "", "");
    assert_eq!(stream.answer().status, 200);
    let mut events = Client::connect(address);
    events.ask("GET", "/ev/news/other?auth_token=dev", "", "");
    assert_eq!(events.answer().status, 200);
    assert_eq!(events.chunk(), ": \n");
    let mut poll = Client::connect(address);
    let mut post = Client::connect(address);
    let mut socket = Client::connect(address);
    socket.upgrade("/publish", "Authorization: Bearer dev\r\n");

    let mut poll_target = "/longpoll/news/other?auth_token=dev".to_owned();
    for (number, (written, read)) in PAYLOADS.iter().enumerate() {
        poll.ask("GET", &poll_target, "", "");
        wait_for_subscribers(&mut post, "dev", "news", 4);
        let object = format!(r#"{{"topic":"news","data":{written}}}"#);
        match number % 3 {
            0 => {
                let fields = "Authorization: Bearer dev\r\nContent-Type: application/json\r\n";
                post.ask("POST", "/publish", fields, &object);
                let answer = post.answer();
                assert_eq!(answer.status, 200, "{answer:?}");
            }
            1 => {
                socket.send(masked(0x81, object.as_bytes()));
                assert!(socket.text().starts_with(r#"{"topic":"news","seq":"#));
            }
            _ => post.publish("dev", "news", written),
        }
        let text = websocket.text();
        let message = Message::parse(&text);
        assert_eq!((&*message.channel, &*message.data), ("news", *read));
        assert!(text.starts_with(&format!(r#"{{"id":{},"channel":"news","message":{read},"tag":""#, number + 1)), "{text}");
        assert_eq!(stream.chunk(), format!("{text}\n"));
        let event = events.chunk();
        assert!(event.starts_with("id: ") && event.ends_with(&format!("\ndata: {text}\n\n")), "{event}");
        let answer = poll.answer();
        assert_eq!((answer.status, &answer.body), (200, &text));
        poll_target = format!("/longpoll/news/other?auth_token=dev&{}", answer.cursor());
    }

    // And one order for both: an array of the one dialect between two publications of the other.
    post.publish("dev", "news/other", "1");
    socket.send(masked(0x81, br#"[{"topic":"other","data":2},{"topic":"news","data":3}]"#));
    assert!(socket.text().starts_with("[{"));
    post.publish("dev", "other", "4");
    let expected = [("news", "1"), ("other", "1"), ("other", "2"), ("news", "3"), ("other", "4")];
    for (channel, data) in expected {
        let message = Message::parse(&websocket.text());
        assert_eq!((&*message.channel, &*message.data), (channel, data));
        assert_eq!(Message::parse(stream.chunk().trim_end()), message);
        assert!(events.chunk().contains(&format!(r#""channel":"{channel}","message":{data},"#)));
    }
    let answer = poll.get(&poll_target);
    let polled: Vec<(String, String)> =
        Message::all(&answer.body).into_iter().map(|message| (message.channel, message.data)).collect();
    assert_eq!(polled, expected.map(|(channel, data)| (channel.to_owned(), data.to_owned())));
}
