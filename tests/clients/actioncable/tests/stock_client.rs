//! The crate `actioncable-client` does with a real server what applications do with it.

use actioncable::{Client, DisconnectReason, Error, Event, Identifier, Subscription};
use actioncable_tests::{Server, soon, within};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a client may take to come back.
const RETURN: Duration = Duration::from_secs(30);

/// A client that the server has welcomed.
async fn connected(server: &Server) -> Client {
    let client = Client::builder(server.cable()).build().expect("the settings are fine");
    soon("the welcome", client.connect()).await.expect("the server accepts");
    client
}

fn api(key: &str, events: &str) -> Identifier {
    Identifier::new("ApiChannel").param("key", key).param("events", events)
}

async fn subscribed(client: &Client, events: &str) -> Subscription {
    let subscription = soon("the confirm", client.subscribe(api("dev", events))).await.expect("the key is right");
    expect_event(&subscription, Event::Connected { reconnected: false }).await;
    subscription
}

async fn expect_event(subscription: &Subscription, event: Event) {
    let next = within(RETURN, &format!("{event:?}"), subscription.next_event()).await;
    assert_eq!(next, Some(event));
}

/// A wrong key is refused, and every command before it has taken effect.
async fn expect_rejection(client: &Client) {
    let rejected = soon("the rejection", client.subscribe(api("wrong", "posts"))).await;
    assert!(matches!(rejected, Err(Error::Rejected { .. })), "{rejected:?}");
}

async fn received(subscription: &Subscription) -> Value {
    let message = soon("a message", subscription.next()).await.expect("the subscription goes on");
    message.to_value().expect("a message is JSON")
}

/// Publishes the creation of a post; returns what its subscribers get.
async fn created(server: &Server, id: u32) -> Value {
    let event = json!({ "event_type": "create", "event_class": "Post", "object": { "id": id } });
    server.post("/api/events", &event.to_string()).await;
    event
}

async fn broadcast(server: &Server, message: &Value) {
    let publication = json!({ "stream": "api:posts_create", "data": message.to_string() });
    server.post("/_broadcast", &publication.to_string()).await;
}

async fn disconnect(server: &Server, reconnect: bool) {
    let command = json!({ "command": "disconnect", "payload": { "identifier": "dev", "reconnect": reconnect } });
    server.post("/_broadcast", &command.to_string()).await;
}

#[tokio::test]
async fn ac_80_it_connects_subscribes_receives_is_rejected_unsubscribes_and_returns_after_a_restart() {
    let server = Server::start().await;
    let client = connected(&server).await;
    let leaving = subscribed(&client, "posts#create").await;
    let staying = subscribed(&client, "posts").await;
    let event = created(&server, 1).await;
    assert_eq!(received(&leaving).await, event);
    assert_eq!(received(&staying).await, event);

    expect_rejection(&client).await;
    let event = created(&server, 2).await;
    assert_eq!(received(&leaving).await, event);
    assert_eq!(received(&staying).await, event);
    assert_eq!(server.metric("subscriptions").await, 2);

    soon("the unsubscribe", leaving.unsubscribe()).await.expect("the connection is up");
    assert_eq!(soon("the end of its messages", leaving.next()).await, None);
    // That much the client does by itself. Commands take effect in their order: once this is answered, the server has ended it.
    expect_rejection(&client).await;
    assert_eq!(server.metric("subscriptions").await, 1);

    let address = server.stop().await;
    expect_event(&staying, Event::Disconnected { will_reconnect: true }).await;
    let server = Server::start_on(&address).await;
    expect_event(&staying, Event::Connected { reconnected: true }).await;
    let event = created(&server, 3).await;
    assert_eq!(received(&staying).await, event);

    soon("the client's end", client.close()).await;
    server.stop().await;
}

#[tokio::test]
async fn values_of_every_kind_arrive_as_they_were_published() {
    let server = Server::start().await;
    let client = connected(&server).await;
    let posts = subscribed(&client, "posts#create").await;
    // To this client a frame whose message is `null` has none: it passes on what follows.
    broadcast(&server, &Value::Null).await;
    for value in [json!({ "a": [1, null] }), json!([1, "two"]), json!("text"), json!(42.5), json!(0), json!(true), json!(false)] {
        broadcast(&server, &value).await;
        assert_eq!(received(&posts).await, value);
    }
    server.stop().await;
}

#[tokio::test]
async fn two_subscriptions_with_one_identifier_both_receive() {
    let server = Server::start().await;
    let client = connected(&server).await;
    let (first, second) = (subscribed(&client, "posts").await, subscribed(&client, "posts").await);
    let event = created(&server, 1).await;
    assert_eq!(received(&first).await, event);
    assert_eq!(received(&second).await, event);
    // The identifier is still the other's.
    soon("the unsubscribe", first.unsubscribe()).await.expect("the connection is up");
    let event = created(&server, 2).await;
    assert_eq!(received(&second).await, event);
    server.stop().await;
}

#[tokio::test]
async fn a_remote_disconnect_tells_it_to_return_or_to_stay_away() {
    let server = Server::start().await;
    let client = connected(&server).await;
    let posts = subscribed(&client, "posts").await;
    disconnect(&server, true).await;
    expect_event(&posts, Event::Disconnected { will_reconnect: true }).await;
    expect_event(&posts, Event::Connected { reconnected: true }).await;
    let event = created(&server, 1).await;
    assert_eq!(received(&posts).await, event);

    disconnect(&server, false).await;
    soon("its end", client.done()).await;
    let reason = client.err();
    assert!(
        matches!(reason, Some(Error::Disconnected { reason: Some(DisconnectReason::Remote), reconnect: false })),
        "{reason:?}"
    );
    expect_event(&posts, Event::Disconnected { will_reconnect: false }).await;
    server.stop().await;
}
