//! Many connections of the dialect `endpoints` that other options close at once.

use super::*;
use crate::config::Config;
use crate::dialects::endpoints::Live;
use crate::exchange::{Alter, Alteration, NewRecord};
use crate::reactor::SESSION_SLICE;
use crate::record::RecordId;
use std::path::Path;

const KEY: &str = "d59eb2859c284168ac48aef65046d5dd";
const STAYING: &str = "examples/staying";
const LEAVING: &str = "examples/leaving";
const CONNECTIONS: usize = 100_000;
/// Listeners of the other endpoint.
const STAYERS: usize = 10;
/// As `close_slice_connections` is by default; a slice is due each hundredth of a second.
const SLICE: usize = 2_000;
const STOP: Duration = Duration::from_secs(35);

/// The real dialect, and the options that it is told.
struct Endpoints {
    house: House,
    live: Live,
    encoders: Encoders,
    /// Of the record that was created last.
    record: u128,
}

impl Endpoints {
    fn new() -> Endpoints {
        let (live, mut encoders) = (Live::new([1; 32]), Encoders::default());
        let prepared = live.prepare(&Endpoints::options(""), &mut encoders, STOP);
        prepared.enforce();
        let registry = Endpoints::registry(&live, &encoders);
        let limits = Limits { unopened_max: 10_000, ..limits() };
        Endpoints { house: House::of(registry, prepared.settings, limits), live, encoders, record: 0 }
    }

    fn options(leaving: &str) -> crate::dialects::endpoints::options::Options {
        let text = format!(
            "[endpoints.rested]\nping_interval = \"6000s\"\nsilence_timeout = \"6001s\"\n\
             [[endpoints.rested.projects]]\nname = \"p\"\nkey = \"{KEY}\"\nmaster_key = \"0123456789abcdef\"\n\
             cookie_from_any_origin = true\n\
             [[endpoints.rested.projects.endpoints]]\nname = \"{STAYING}\"\n\
             [[endpoints.rested.projects.endpoints]]\nname = \"{LEAVING}\"\nsecure = true\n{leaving}\n"
        );
        Config::from_toml(&text, "test.toml", Path::new(".")).unwrap_or_else(|error| panic!("{error}")).endpoints
    }

    fn registry(live: &Live, encoders: &Encoders) -> Registry {
        Registry::new(vec![Arc::new(live.dialect())], encoders.clone(), SharedAccess::default())
    }

    /// In the order in which the server does it.
    fn reload(&mut self, leaving: &str) {
        let prepared = self.live.prepare(&Endpoints::options(leaving), &mut self.encoders, STOP);
        let House { reactor, hub, now, .. } = &mut self.house;
        let settings = Settings { endpoints: prepared.settings.clone(), ..Settings::default() };
        hub.handle(ToHub::Settings(Box::new(settings)), *now);
        prepared.enforce();
        let registry = Arc::new(Endpoints::registry(&self.live, &self.encoders));
        let limits = Box::new(Limits { unopened_max: 10_000, ..limits() });
        reactor.control(Control::Reload { registry, limits }, *now);
    }

    /// WebSockets that were accepted.
    fn open(&mut self, endpoint: &str, count: usize) -> Vec<Client> {
        let target = format!("/api/1/ce/{endpoint}?key={KEY}&masterKey=0123456789abcdef");
        let request = UPGRADE.replace("/socket", &target);
        let clients: Vec<Client> = (0..count).map(|_| self.house.connect()).collect();
        for some in clients.chunks(1_000) {
            let events: Vec<Event> = some
                .iter()
                .map(|client| {
                    client.wire.0.borrow_mut().to_server.extend(request.as_bytes());
                    Event { token: client.token, readable: true, writable: false, hangup: false }
                })
                .collect();
            self.house.turn(&events);
            self.house.settle();
        }
        assert!(clients.iter().all(|client| client.got().starts_with("HTTP/1.1 101 ")));
        clients
    }

    /// Somebody else creates a record of an endpoint.
    fn post(&mut self, endpoint: &str) {
        self.record += 1;
        let record = NewRecord { id: RecordId(self.record), owner: None, data: b"1"[..].into(), account: None };
        let endpoint = format!("$endpoint\u{1f}rested\u{1f}p\u{1f}{endpoint}").as_str().into();
        let alter = Alter { endpoint, what: Alteration::Create(vec![record]), records_max: u64::MAX, revoke: None };
        let origin = Origin { reactor: 0, connection: Token(0), ticket: 0 };
        self.house.hub.handle(ToHub::Alter { origin, alter: Box::new(alter) }, self.house.now);
        self.house.hub.take_acknowledgements().for_each(drop);
        self.house.ask_hub();
    }
}

#[test]
fn ep_50_a_hundred_thousand_are_closed_in_slices_and_others_hear_everything_at_once() {
    let mut endpoints = Endpoints::new();
    let stayers = endpoints.open(STAYING, STAYERS);
    let mut leavers = Vec::new();
    for _ in 0..CONNECTIONS / 5_000 {
        leavers.extend(endpoints.open(LEAVING, 5_000));
    }
    assert_eq!(endpoints.house.reactor.connection_count(), STAYERS + CONNECTIONS);
    endpoints.reload("read_by_others = true");
    let close = crate::websocket::encoder::close(Some(1000), "Options of the endpoint are changed.");
    // Whose turn it is at that moment is pinged all the same.
    let is_told = |client: &&Client| client.wire.0.borrow().to_client.ends_with(&close);
    let begun = endpoints.house.now.micros;
    let (mut told, mut turns) = (0, 0);
    while told < CONNECTIONS {
        // Nobody who leaves hears of what is committed from now on, and whoever stays hears of it in this turn.
        endpoints.post(LEAVING);
        endpoints.post(STAYING);
        endpoints.house.turn(&[]);
        for client in &stayers {
            let got = client.got();
            assert!(got.contains("\"type\":\"POST\"") && got.matches("uniqueId").count() == 1, "turn {turns}: {got:?}");
        }
        // Those that are reviewed, and those whose time has come.
        let before = std::mem::replace(&mut told, leavers.iter().filter(is_told).count());
        assert!(told - before <= 2 * SESSION_SLICE as usize, "turn {turns}: {} were told at once", told - before);
        let slices = (endpoints.house.now.micros - begun) as usize / 10_000 + 1;
        assert!(told <= slices * SLICE, "turn {turns}: {told} were told by then");
        turns += 1;
        if !endpoints.house.reactor.is_busy() {
            endpoints.house.now.micros += 10_000;
            endpoints.house.now.unix_micros += 10_000;
        }
    }
    // The wheel counts in tenths of a second.
    let took = (endpoints.house.now.micros - begun) as usize;
    let last = (CONNECTIONS / SLICE - 1) * 10_000;
    assert!((last..=last + 110_000).contains(&took), "{took} microseconds");
    let heard = |client: &Client| client.got().replace("\u{fffd}\0", "");
    let close = String::from_utf8_lossy(&close).into_owned();
    assert!(leavers.iter().all(|client| heard(client) == close), "no change from then on");
    // They do not answer.
    endpoints.house.pass(Duration::from_secs(3));
    assert_eq!(endpoints.house.reactor.connection_count(), STAYERS);
    endpoints.post(STAYING);
    endpoints.house.settle();
    assert!(stayers.iter().all(|client| client.got().contains("POST")));
}
