//! PS-8 to PS-20, PS-32, PS-39, PS-40 and PS-63: what a cursor means, and what is replayed.

use crate::support::subscriber::cursor;
use crate::support::{Caller, Client, Door, Envelope, Mode, REACTORS, Server, Subscriber, Xorshift, date, epoch, escaped};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Publishes in three seconds to g1, g2 and g3, crosswise and on all reactors, and gives what is stored.
fn three_seconds(server: &Server) -> Vec<Envelope> {
    for (index, channel) in ["g2", "g1", "g3", "|", "g1", "g3/g1", "g2", "|", "g3", "g2"].into_iter().enumerate() {
        match channel {
            "|" => server.advance(1.0),
            channel => drop(server.publish_on(index % REACTORS, channel, &index.to_string())),
        }
    }
    let stored = server.stored("g1/g2/g3");
    assert_eq!(stored.len(), 9);
    stored
}

fn after(all: &[Envelope], position: (u64, u64)) -> Vec<Envelope> {
    all.iter().filter(|envelope| envelope.position() > position).cloned().collect()
}

fn of(all: &[Envelope], channel: &str) -> Vec<Envelope> {
    all.iter().filter(|envelope| envelope.channel == channel).cloned().collect()
}

/// PS-8 [D] Reconnecting with `tag` and `time` of the last message sends at once exactly the stored messages after it, then
/// live ones.
#[test]
fn ps_08_reconnecting_with_the_last_message_sends_what_was_missed_and_then_live_messages() {
    let server = Server::start();
    let mut client = server.subscribe(1, Mode::WebSocket, "a/b", "").client;
    for n in 0..6 {
        server.publish_on(n % REACTORS, ["a", "b"][n % 2], &n.to_string());
        if n == 3 {
            server.advance(1.0);
        }
    }
    let mut all: Vec<Envelope> = (0..6).map(|_| client.envelope()).collect();
    drop(client);
    for mode in Mode::HELD {
        for last in 0..6 {
            let mut again = server.expect_replay(mode, "a/b", &all[last].cursor(), "", &all[last + 1..]);
            server.publish_on(last % REACTORS, "b", "\"live\"");
            let live = again.envelope();
            assert_eq!((live.channel.as_str(), live.message.as_str()), ("b", "\"live\""));
            all.push(live);
            assert!(server.is_silent(&mut again.client));
        }
    }
    // Polls: at once what was missed, and the next one waits or has nothing.
    for mode in [Mode::LongPoll, Mode::ShortPoll] {
        for last in 0..6 {
            server.expect_replay(mode, "a/b", &all[last].cursor(), "", &all[last + 1..]);
        }
        server.expect_replay(mode, "a/b", &all[all.len() - 1].cursor(), "", &[]);
    }
}

/// PS-9 [F] Replay over several channels is in (time, tag) order in all five modes.
#[test]
fn ps_09_replay_over_several_channels_is_merged_in_every_mode() {
    let server = Server::start();
    let all = three_seconds(&server);
    assert!(all.windows(2).all(|pair| pair[0].position() < pair[1].position()));
    for mode in Mode::ALL {
        for path in ["g1/g2/g3", "g3/g2/g1", "g2/g3/g1"] {
            server.expect_replay(mode, path, &epoch(), "", &all);
            for last in [0, 3, 5] {
                server.expect_replay(mode, path, &all[last].cursor(), "", &all[last + 1..]);
            }
        }
    }
}

/// One client of PS-10: cuts itself off at random places and resumes from the last message it received, until it has as many
/// messages as there are. Gives the texts in the order in which they came.
fn cut_and_resume(door: Door, mode: Mode, channels: &str, seed: u64, total: usize) -> Vec<String> {
    let mut random = Xorshift(seed);
    let mut log: Vec<Envelope> = Vec::new();
    let mut cursor = epoch();
    let begun = Instant::now();
    while log.len() < total {
        assert!(begun.elapsed().as_secs() < 120, "seed {seed}: {} of {total} messages", log.len());
        let reactor = random.below(REACTORS as u64) as usize;
        let mut subscriber = Subscriber::begin(&door, reactor, mode, channels, &cursor, "");
        // A cut may come before the first message.
        for _ in 0..random.below(60) {
            if log.len() == total {
                break;
            }
            match mode {
                Mode::LongPoll => {
                    let answer = subscriber.response();
                    assert!(!answer.has_gap(), "seed {seed}: {}", answer.raw);
                    cursor = answer.cursor();
                    if answer.status == 200 {
                        log.extend(answer.envelopes());
                        assert_eq!(cursor, log[log.len() - 1].cursor(), "seed {seed}");
                    } else {
                        assert_eq!(answer.status, 304, "seed {seed}: {}", answer.raw);
                    }
                    let target = format!("/longpoll/{channels}?auth_token={}&{cursor}", door.token);
                    subscriber.client.send_get(&target, "");
                }
                Mode::WebSocket | Mode::ShortPoll | Mode::Stream | Mode::EventSource => {
                    log.push(subscriber.envelope());
                    cursor = log[log.len() - 1].cursor();
                }
            }
        }
    }
    log.into_iter().map(|envelope| envelope.text).collect()
}

/// PS-10 [F] Under full-rate publishing with random disconnects, resuming from the last received message yields the log
/// exactly: nothing lost, nothing doubled.
#[test]
fn ps_10_random_cuts_under_full_rate_publishing_yield_the_log_exactly() {
    const PUBLISHERS: usize = 2;
    const EACH: usize = 900;
    const CHANNELS: [&str; 5] = ["a", "b", "c", "d", "e"];
    let server = Server::start();
    let door: Door = *server;
    // Two channels at once now and then: `total` is known in advance because the choice is seeded.
    let choices: Vec<Vec<&str>> = (0..PUBLISHERS)
        .map(|publisher| {
            let mut random = Xorshift(100 + publisher as u64);
            (0..EACH).map(|_| if random.below(10) == 0 { "b/d" } else { CHANNELS[random.below(5) as usize] }).collect()
        })
        .collect();
    let total: usize = choices.iter().flatten().map(|channels| channels.split('/').count()).sum();
    let published = AtomicUsize::new(0);
    let mut reference = server.subscribe(3, Mode::WebSocket, "a/b/c/d/e", "").client;
    std::thread::scope(|threads| {
        let mut clients = Vec::new();
        for (number, mode) in [Mode::WebSocket, Mode::LongPoll, Mode::WebSocket, Mode::LongPoll, Mode::Stream, Mode::EventSource]
            .into_iter()
            .enumerate()
        {
            let seed = 1_000 + number as u64;
            let path = if number % 2 == 0 { "a/b/c/d/e" } else { "e/c/a/d/b" };
            clients.push((mode, seed, threads.spawn(move || cut_and_resume(door, mode, path, seed, total))));
        }
        for (publisher, choices) in choices.iter().enumerate() {
            let published = &published;
            threads.spawn(move || {
                let mut caller = Caller::new(&door, publisher);
                for (number, channels) in choices.iter().enumerate() {
                    caller.publish(channels, &format!("[{publisher},{number}]"));
                    published.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Seconds pass meanwhile: tags begin again, cursors cross second borders.
        let mut seconds = 0;
        let begun = Instant::now();
        while published.load(Ordering::Relaxed) < PUBLISHERS * EACH {
            assert!(begun.elapsed().as_secs() < 120, "publishing takes too long");
            if published.load(Ordering::Relaxed) / 150 > seconds {
                seconds += 1;
                server.advance(1.0);
            }
            std::thread::yield_now();
        }
        let log: Vec<String> = (0..total).map(|_| reference.text()).collect();
        server.expect_silence(&mut reference);
        for (mode, seed, client) in clients {
            let seen = client.join().unwrap_or_else(|_| panic!("{mode:?} with seed {seed} failed"));
            assert_eq!(seen.len(), log.len(), "{mode:?} with seed {seed}");
            for (index, (seen, wanted)) in seen.iter().zip(&log).enumerate() {
                assert_eq!(seen, wanted, "{mode:?} with seed {seed}, message {index}");
            }
        }
    });
}

/// PS-11 [R] Time without tag replays only later seconds.
#[test]
fn ps_11_time_without_tag_replays_only_later_seconds() {
    let server = Server::start();
    let all = three_seconds(&server);
    for mode in Mode::ALL {
        for second in [all[0].seconds - 1, all[0].seconds, all[0].seconds + 1, all[0].seconds + 2] {
            let expected = after(&all, (second, u64::MAX));
            server.expect_replay(mode, "g1/g2/g3", &format!("time={}", escaped(&date(second))), "", &expected);
            server.expect_replay(mode, "g1/g2/g3", "", &format!("If-Modified-Since: {}\r\n", date(second)), &expected);
        }
    }
}

/// PS-12 [R] Tag without time replays nothing.
#[test]
fn ps_12_tag_without_time_replays_nothing() {
    let server = Server::start();
    three_seconds(&server);
    for mode in Mode::ALL {
        for tag in ["tag=0", "tag=1", "tag=1&time="] {
            server.expect_replay(mode, "g1/g2/g3", tag, "", &[]);
        }
        server.expect_replay(mode, "g1/g2/g3", "", "If-None-Match: W/1\r\n", &[]);
    }
}

/// PS-13 [R] `tag=0` with time T replays every stored message of second T and later, and the epoch replays everything stored.
#[test]
fn ps_13_tag_0_means_the_whole_second_and_the_epoch_means_everything() {
    let server = Server::start();
    let all = three_seconds(&server);
    for mode in Mode::ALL {
        for second in [all[0].seconds, all[0].seconds + 1, all[0].seconds + 2] {
            server.expect_replay(mode, "g1/g2/g3", &cursor(second, 0), "", &after(&all, (second, 0)));
        }
        let epoch = escaped(&date(0));
        for query in [format!("time={epoch}"), format!("tag=0&time={epoch}"), format!("tag=5&time={epoch}")] {
            server.expect_replay(mode, "g1/g2/g3", &query, "", &all);
        }
    }
}

/// PS-14 [R] Without a cursor no stored message is sent.
#[test]
fn ps_14_without_a_cursor_no_stored_message_is_sent() {
    let server = Server::start();
    three_seconds(&server);
    for mode in Mode::ALL {
        let mut subscriber = server.expect_replay(mode, "g1/g2/g3", "", "", &[]);
        if mode == Mode::ShortPoll {
            continue;
        }
        server.publish_on(3, "g3", "\"live\"");
        let live = match mode {
            Mode::LongPoll => subscriber.response().envelopes().remove(0),
            Mode::WebSocket | Mode::ShortPoll | Mode::Stream | Mode::EventSource => subscriber.envelope(),
        };
        assert_eq!(live.message, "\"live\"", "{mode:?}");
    }
}

/// PS-15 [R] Empty, `null`, `-1`, `abc`, `2.5`, 20-digit and unparsable cursor values count as absent and never as an error.
#[test]
fn ps_15_unusable_cursor_values_count_as_absent() {
    let server = Server::start();
    let all = three_seconds(&server);
    let first = all[0].seconds;
    let time = escaped(&date(first));
    let later = after(&all, (first, u64::MAX));
    for mode in Mode::ALL {
        // Without a usable tag the time counts alone.
        for tag in ["", "null", "-1", "abc", "2.5", "*", "99999999999999999999", "1%2C2"] {
            server.expect_replay(mode, "g1/g2/g3", &format!("tag={tag}&time={time}"), "", &later);
        }
        // Without a usable time there is no cursor.
        for time in
            ["", "null", "yesterday", "-1", "1795191467", "Thu%2C%2001%20Jan%201969%2000%3A00%3A00%20GMT", "Fri%2C%2020%20Nov"]
        {
            server.expect_replay(mode, "g1/g2/g3", &format!("tag=0&time={time}"), "", &[]);
        }
        // First requests of known clients.
        server.expect_replay(mode, "g1/g2/g3", "tag=&time=&eventid=", "", &[]);
        server.expect_replay(mode, "g1/g2/g3", "", "If-Modified-Since: null\r\nIf-None-Match: 0\r\n", &[]);
    }
}

/// PS-16 [R] `tag` accepts `3`, `W/3` and `W%2F3`, and `time` accepts IMF-fixdate, RFC 850 and asctime.
#[test]
fn ps_16_tags_with_w_and_the_three_date_forms_are_read() {
    let server = Server::start();
    assert_eq!(server.seconds(), 1_795_191_467);
    let all = three_seconds(&server);
    let expected = after(&all, (1_795_191_467, 2));
    for time in [
        "Fri, 20 Nov 2026 16:17:47 GMT",
        "Friday, 20-Nov-26 16:17:47 GMT",
        "Fri Nov 20 16:17:47 2026",
        // The weekday is not compared with the date.
        "Mon, 20 Nov 2026 16:17:47 GMT",
    ] {
        for tag in ["2", "W/2", "W%2F2"] {
            for mode in Mode::ALL {
                let query = format!("tag={tag}&time={}", escaped(time));
                server.expect_replay(mode, "g1/g2/g3", &query, "", &expected);
            }
        }
        for tag in ["2", "W/2"] {
            let fields = format!("If-Modified-Since: {time}\r\nIf-None-Match: {tag}\r\n");
            server.expect_replay(Mode::ShortPoll, "g1/g2/g3", "", &fields, &expected);
        }
    }
    // Years 70-99 are 19xx; the day of asctime is padded with a blank.
    for time in ["Thursday, 01-Jan-70 00:00:00 GMT", "Thu Jan  1 00:00:00 1970", "Friday, 31-Dec-99 23:59:59 GMT"] {
        server.expect_replay(Mode::ShortPoll, "g1/g2/g3", &format!("tag=0&time={}", escaped(time)), "", &all);
    }
}

/// PS-17 [F] `tag` also accepts `"3"` and `W/"3"`, and `time` also accepts `+` for a space.
#[test]
fn ps_17_quoted_tags_and_times_with_plus_are_read() {
    let server = Server::start();
    let all = three_seconds(&server);
    let expected = after(&all, (1_795_191_467, 2));
    for mode in Mode::ALL {
        for tag in ["%222%22", "W/%222%22", "W%2F%222%22", "%202%20"] {
            for time in [
                "Fri,+20+Nov+2026+16:17:47+GMT",
                "%20Fri%2C%2020%20Nov%202026%2016%3A17%3A47%20GMT%20",
                "fri,+20+NOV+2026+16:17:47+gmt",
            ] {
                server.expect_replay(mode, "g1/g2/g3", &format!("tag={tag}&time={time}"), "", &expected);
            }
        }
        for tag in ["\"2\"", "W/\"2\""] {
            let fields = format!("If-None-Match: {tag}\r\nIf-Modified-Since: Fri, 20 Nov 2026 16:17:47 GMT\r\n");
            server.expect_replay(mode, "g1/g2/g3", "", &fields, &expected);
        }
    }
}

/// PS-18 [F] `If-Modified-Since` and `If-None-Match` work where the arguments are absent, and arguments win where both are
/// given.
#[test]
fn ps_18_headers_count_where_arguments_are_absent() {
    let server = Server::start();
    let all = three_seconds(&server);
    let fields = |last: &Envelope| format!("If-Modified-Since: {}\r\nIf-None-Match: W/{}\r\n", last.time, last.tag);
    let time = escaped(&all[0].time);
    for mode in Mode::ALL {
        server.expect_replay(mode, "g1/g2/g3", "", &fields(&all[1]), &all[2..]);
        server.expect_replay(mode, "g1/g2/g3", "tag=&time=", &fields(&all[1]), &all[2..]);
        server.expect_replay(mode, "g1/g2/g3", &all[6].cursor(), &fields(&all[1]), &all[7..]);
        // One argument of the pair is enough to ignore both headers.
        server.expect_replay(mode, "g1/g2/g3", "tag=1", &fields(&all[1]), &[]);
        let expected = after(&all, (all[0].seconds, u64::MAX));
        server.expect_replay(mode, "g1/g2/g3", &format!("time={time}"), &fields(&all[0]), &expected);
    }
    // A repeated argument: the first counts.
    let twice = format!("{}&{}", all[4].cursor(), all[1].cursor());
    server.expect_replay(Mode::ShortPoll, "g1/g2/g3", &twice, "", &all[5..]);

    // Names of arguments are configurable.
    let server = Server::with("tag_argument = \"t\"\ntime_argument = \"since\"\n");
    server.publish("a", "1");
    server.publish("a", "2");
    let mut client = Client::on(&server, 1);
    let time = escaped(&date(server.seconds()));
    let answer = client.get(&format!("/shortpoll/a?auth_token=dev&t=1&since={time}"));
    assert_eq!(answer.envelopes().len(), 1);
    assert_eq!(client.get(&format!("/shortpoll/a?auth_token=dev&tag=1&time={time}")).status, 304);
}

/// PS-19 [R] `a.b3` replays the last 3 messages of `a`, whatever the cursor says, for that channel only.
#[test]
fn ps_19_backtrack_replays_the_last_messages_of_its_channel_whatever_the_cursor_says() {
    let server = Server::start();
    let all = three_seconds(&server);
    let (g1, g2) = (of(&all, "g1"), of(&all, "g2"));
    assert_eq!((g1.len(), g2.len()), (3, 3));
    let merge = |parts: &[&[Envelope]]| {
        let mut list = parts.concat();
        list.sort_by_key(Envelope::position);
        list
    };
    for mode in Mode::ALL {
        server.expect_replay(mode, "g1.b2", "", "", &g1[1..]);
        for query in [epoch(), all[0].cursor(), all[8].cursor(), "tag=0&time=yesterday".to_owned()] {
            server.expect_replay(mode, "g1.b2", &query, "", &g1[1..]);
        }
        // The other channel follows the cursor.
        server.expect_replay(mode, "g1.b2/g2", &all[8].cursor(), "", &g1[1..]);
        server.expect_replay(mode, "g2/g1.b2", &g2[1].cursor(), "", &merge(&[&g1[1..], &g2[2..]]));
        server.expect_replay(mode, "g1.b1/g2.b2", "", "", &merge(&[&g1[2..], &g2[1..]]));
        // More than there are: everything; of one channel named twice the greatest counts.
        for path in ["g1.b3", "g1.b500", "g1.b99999999999999999999", "g1/g1.b3/g1.b1"] {
            server.expect_replay(mode, path, "", "", &g1);
        }
    }
}

/// PS-20 [R] `a.b`, `a.b2c`, `a.B2` and `a.100.5` are plain names, `a.b2.b3` is channel `a.b2` with backtrack 3, and `a.b0` is
/// `a` without backtrack.
#[test]
fn ps_20_only_a_dot_b_and_digits_at_the_end_is_a_backtrack() {
    let server = Server::start();
    for name in ["a.b", "a.b2c", "a.B2", "a.100.5"] {
        server.publish(name, "1");
        assert_eq!(server.row(name), Some((1, 1, 0)), "{name} is the channel's whole name");
        for mode in Mode::ALL {
            // A plain name has no backtrack, and is the channel of that name.
            server.expect_replay(mode, name, "", "", &[]);
            let mut held = server.expect_replay(mode, name, &epoch(), "", &server.stored(name));
            if Mode::HELD.contains(&mode) {
                server.publish_on(2, name, "2");
                assert_eq!(held.envelope().channel, name);
            }
        }
    }
    assert_eq!(server.row("a"), None, "none of them is the channel a");

    for text in ["1", "2", "3", "4", "5"] {
        server.publish("a.b2.b9", text);
    }
    assert_eq!(server.statistics("a.b2").status, 404, "in `id` too only the last suffix counts");
    let all = server.stored("a.b2.b0");
    assert!(all.iter().all(|envelope| envelope.channel == "a.b2"));
    assert_eq!(all.len(), 5);
    server.publish("a", "1");
    for mode in Mode::ALL {
        server.expect_replay(mode, "a.b2.b3", "", "", &all[2..]);
        server.expect_replay(mode, "a.b0", "", "", &[]);
        server.expect_replay(mode, "a.b0", &epoch(), "", &server.stored("a"));
    }
    assert_eq!(server.row("a.b2.b3").expect("the same syntax in the statistics").0, 5);
}

/// PS-32 [F] A request with the cursor of any answer loses nothing published after that answer and repeats nothing before it,
/// whichever core answers.
#[test]
fn ps_32_the_cursor_of_any_answer_loses_and_repeats_nothing_on_any_core() {
    let server = Server::with("longpoll_ttl = \"5s\"\n");
    let mut random = Xorshift(32);
    let mut callers: Vec<Client> = (0..REACTORS).map(|reactor| Client::on(&server, reactor)).collect();
    let mut query = String::new();
    let mut pending: Vec<String> = Vec::new();
    let mut number = 0;
    for step in 0..400 {
        match random.below(8) {
            0..=3 => {
                number += 1;
                let channel = ["a", "b", "other"][random.below(3) as usize];
                server.publish_on(random.below(4) as usize, channel, &number.to_string());
                if channel != "other" {
                    pending.push(number.to_string());
                }
            }
            4 => server.advance(0.3),
            choice => {
                let reactor = random.below(4) as usize;
                if callers[reactor].has_ended() {
                    callers[reactor] = Client::on(&server, reactor);
                }
                let client = &mut callers[reactor];
                let mode = if choice == 7 { "longpoll" } else { "shortpoll" };
                client.send_get(&format!("/{mode}/a/b?auth_token=dev&{query}"), "");
                if choice == 7 && (pending.is_empty() || query.is_empty()) {
                    // It waits, and ends with the cursor of its time-out.
                    server.expect_silence(client);
                    server.advance(5.5);
                }
                let answer = client.response();
                assert!(!answer.has_gap(), "step {step}: {}", answer.raw);
                let came: Vec<String> = match answer.status {
                    200 => answer.envelopes().into_iter().map(|envelope| envelope.message).collect(),
                    304 => Vec::new(),
                    _ => panic!("step {step}: {answer:?}"),
                };
                // The very first request has no cursor and gets nothing.
                let expected = if query.is_empty() { Vec::new() } else { std::mem::take(&mut pending) };
                assert_eq!(came, expected, "step {step}, reactor {reactor}, {query}: {}", answer.raw);
                pending.clear();
                query = answer.cursor();
            }
        }
    }
    assert!(number > 100);
}

/// PS-39 [F] A short poll without a cursor is a 304 with a usable `Last-Modified` and `Etag`.
#[test]
fn ps_39_a_short_poll_without_a_cursor_names_one() {
    let server = Server::start();
    server.publish("a", "\"before\"");
    for round in 0..8 {
        let mut client = Client::on(&server, round % REACTORS);
        let answer = client.get("/shortpoll/a?auth_token=dev");
        assert_eq!((answer.status, answer.has_gap()), (304, false), "{}", answer.raw);
        assert_eq!(answer.field("Content-Length"), Some("0"));
        let mut other = Client::on(&server, (round + 1) % REACTORS);
        let target = format!("/shortpoll/a?auth_token=dev&{}", answer.cursor());
        assert_eq!(other.get(&target).status, 304, "nothing from before");
        server.publish_on((round + 2) % REACTORS, "a", &round.to_string());
        let news = other.get(&target).envelopes();
        assert_eq!(news.iter().map(|envelope| envelope.message.clone()).collect::<Vec<_>>(), [round.to_string()]);
        if round == 3 {
            // In a second without a message the tag is 0.
            server.advance(1.0);
            let answer = client.get("/shortpoll/a?auth_token=dev");
            assert_eq!(answer.position(), (server.seconds(), 0), "{}", answer.raw);
        }
    }
}

/// PS-40 [F] A cursor greater than the server's newest stamp replays nothing, signals a gap and gets the server's own cursor.
#[test]
fn ps_40_a_foreign_cursor_replays_nothing_signals_a_gap_and_gets_the_servers_own() {
    let server = Server::with("gap_notice = true\n");
    for text in ["1", "2", "3"] {
        server.publish("a", text);
    }
    let own = (server.seconds(), 3);
    for foreign in [(own.0, 4), (own.0 + 1, 0), (own.0 + 5, 1), (4_097_764_314, 1)] {
        let query = cursor(foreign.0, foreign.1);
        for mode in [Mode::LongPoll, Mode::ShortPoll] {
            let mut client = Client::on(&server, 2);
            let answer = client.get(&format!("{}a?auth_token=dev&{query}", mode.path()));
            assert_eq!(
                (answer.status, answer.has_gap(), answer.position()),
                (304, true, own),
                "{mode:?} {foreign:?} {}",
                answer.raw
            );
            // The cursor it got is usable: nothing is lost from here on.
            assert_eq!(client.get(&format!("/shortpoll/a?auth_token=dev&{}", answer.cursor())).status, 304);
        }
        for mode in [Mode::Stream, Mode::EventSource] {
            let subscriber = server.expect_replay(mode, "a", &query, "", &[]);
            assert!(subscriber.head.is_some_and(|head| head.has_gap()), "{mode:?}");
        }
        let mut client = server.subscribe(1, Mode::WebSocket, "a", &query).client;
        let notice = client.envelope();
        assert_eq!((notice.id, notice.channel.as_str(), notice.message.as_str()), (-4, "", "\"Messages were lost\""));
        assert_eq!(notice.position(), own);
        server.expect_silence(&mut client);
    }
    // The newest stamp itself is not foreign, nor is a time without tag of its second.
    for query in [cursor(own.0, 3), format!("time={}", escaped(&date(own.0)))] {
        let answer = Client::on(&server, 3).get(&format!("/shortpoll/a?auth_token=dev&{query}"));
        assert_eq!((answer.status, answer.has_gap()), (304, false), "{}", answer.raw);
    }
    // In a second without a message every tag but 0 is foreign.
    server.advance(1.0);
    for (tag, foreign) in [(0, false), (1, true)] {
        let answer = Client::on(&server, 3).get(&format!("/shortpoll/a?auth_token=dev&{}", cursor(own.0 + 1, tag)));
        assert_eq!((answer.status, answer.has_gap(), answer.position()), (304, foreign, (own.0 + 1, 0)), "{}", answer.raw);
    }
}

/// PS-63 [F] A cursor older than what is kept gets `X-Fanwire-Gap: 1` in the HTTP modes and, with `gap_notice`, id -4 on
/// websocket, and nothing otherwise.
#[test]
fn ps_63_a_cursor_older_than_what_is_kept_is_a_gap() {
    for notice in [false, true] {
        let server = Server::with(&format!("max_stored_messages = 5\ngap_notice = {notice}\n"));
        // Makes the channels known before the cursors below.
        server.publish("lim/other", "0");
        server.advance(1.0);
        for text in ["1", "2", "3", "4", "5", "6", "7"] {
            server.publish("lim", text);
        }
        let kept = server.stored("lim");
        assert_eq!(kept.iter().map(|envelope| envelope.id).collect::<Vec<_>>(), [4, 5, 6, 7, 8]);
        // ids 1 (tag 1 of the first second), 2 and 3 (tags 1 and 2 of the second one) are gone.
        let second = server.seconds();
        let cases = [
            (cursor(second - 1, 1), true),
            (format!("time={}", escaped(&date(second - 1))), true),
            (cursor(second, 1), true),
            (cursor(second, 2), false),
            (cursor(second, 5), false),
            (cursor(second, 7), false),
            (epoch(), false),
            (String::new(), false),
        ];
        for (query, gap) in &cases {
            let expected: &[Envelope] = match query.as_str() {
                "" => &[],
                _ if *query == cursor(second, 5) => &kept[3..],
                _ if *query == cursor(second, 7) => &[],
                _ => &kept,
            };
            for mode in Mode::HTTP {
                let mut subscriber = Subscriber::begin(&server, 1, mode, "lim", query, "");
                if mode == Mode::LongPoll && expected.is_empty() {
                    server.expect_silence(&mut subscriber.client);
                    continue;
                }
                let head = match subscriber.head.take() {
                    Some(head) => head,
                    None => subscriber.response(),
                };
                assert_eq!(head.has_gap(), *gap, "{mode:?} {query}: {}", head.raw);
            }
            let mut client = server.subscribe(3, Mode::WebSocket, "lim", query).client;
            if *gap && notice {
                let control = client.envelope();
                assert_eq!((control.id, control.channel.as_str(), control.message.as_str()), (-4, "", "\"Messages were lost\""));
                assert!(control.position() < expected[0].position(), "it carries the stamp that the replay starts after");
            }
            for wanted in expected {
                assert_eq!(client.envelope(), *wanted, "{query}");
            }
            server.expect_silence(&mut client);
            // A backtracked channel is not examined.
            let answer = Client::on(&server, 1).get(&format!("/shortpoll/lim.b1?auth_token=dev&{query}"));
            assert!(!answer.has_gap(), "{query}: {}", answer.raw);
        }
        // A long poll with a gap and nothing to replay is answered at once; an unknown event id is a gap.
        server.delete("lim");
        let answer = Client::on(&server, 2).get(&format!("/longpoll/lim?auth_token=dev&{}", cursor(second, 5)));
        assert_eq!((answer.status, answer.has_gap()), (304, true), "{}", answer.raw);
        let (seconds, _) = answer.position();
        assert_eq!(seconds, server.seconds(), "with the now cursor");
        let answer = Client::on(&server, 2).get("/longpoll/other?auth_token=dev&eventid=never-seen");
        assert_eq!((answer.status, answer.has_gap()), (304, true), "{}", answer.raw);
    }
    // History begins with the process: an older cursor is a gap.
    let server = Server::start();
    server.publish("a", "1");
    let answer = Client::on(&server, 2).get(&format!("/shortpoll/a?auth_token=dev&{}", cursor(server.seconds() - 100, 1)));
    assert_eq!((answer.status, answer.has_gap()), (200, true), "{}", answer.raw);
}
