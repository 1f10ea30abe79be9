//! The binary against a server that behaves and one that does not: its figures and its verdicts.
mod fake;

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fake::{Fake, Fault};
use serde_json::Value;

struct Run {
    code: Option<i32>,
    json: Value,
    table: String,
}

/// Runs the load client with the words of `line`; the short times keep a failing run short.
fn loadtest(line: &str) -> Run {
    loadtest_with(line, &[], &[])
}

/// The same with arguments that are no single words, and for the processes that it starts.
fn loadtest_with(line: &str, more: &[&str], environment: &[(&str, &str)]) -> Run {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let json = std::env::temp_dir().join(format!("loadtest-{}-{}.json", std::process::id(), RUNS.fetch_add(1, Relaxed)));
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(line.split_whitespace())
        .args(more)
        .envs(environment.iter().copied())
        .args(["--settle", "50ms", "--stall", "1s", "--timeout", "30s", "--token", "listener", "--key", "backend", "--json"])
        .arg(&json)
        .output()
        .expect("runs");
    let text = std::fs::read_to_string(&json).unwrap_or_default();
    // It may not be there after a usage error.
    let _ = std::fs::remove_file(&json);
    Run {
        code: output.status.code(),
        json: serde_json::from_str(&text).unwrap_or_default(),
        table: String::from_utf8_lossy(&output.stdout).into_owned(),
    }
}

fn against(fault: Fault, line: &str) -> Run {
    let fake = Fake::start(fault);
    loadtest(&format!("{line} --address {}", fake.address))
}

fn failures(run: &Run) -> String {
    run.json["failures"].to_string()
}

#[test]
fn a_closed_loop_counts_every_delivery_of_every_topic() {
    let pid = std::process::id();
    let run = against(
        Fault::None,
        &format!("fanout --connections 100 --topics 3 --messages 30 --window 4 --warmup 6 --server-pid {pid}"),
    );
    assert_eq!(run.code, Some(0), "{}", run.table);
    assert_eq!((&run.json["connected"], &run.json["failed"], &run.json["closed"]), (&100.into(), &0.into(), &0.into()));
    // 10 messages each to topics of 34, 33 and 33 subscribers.
    assert_eq!((&run.json["messages"], &run.json["deliveries"]), (&30.into(), &1000.into()));
    assert_eq!((&run.json["missing"], &run.json["disorder"]), (&0.into(), &0.into()));
    let latency = |name: &str| run.json["latency_ms"][name].as_f64().expect(name);
    assert!(0.0 < latency("first_subscriber") && latency("first_subscriber") <= latency("last_subscriber"));
    assert!(latency("p50") <= latency("p99") && latency("p99") <= latency("p999") && latency("p999") <= latency("max"));
    assert!(run.json["server_cpu"]["microseconds"].as_f64().expect("measured") > 0.0);
    assert!(run.json["client_cpu"]["microseconds"].as_f64().expect("measured") > 0.0);
    assert!(run.json["memory"]["server_connected"].as_u64().expect("measured") > 0);
    assert!(run.table.starts_with("| scenario |") && run.table.contains("| fanout topics 3 window 4 | 100 |"), "{}", run.table);
    assert!(!run.json.to_string().contains("backend"), "the key is in no report");
}

#[test]
fn the_publish_websocket_and_several_threads_carry_an_open_loop() {
    let line = "fanout --connections 50 --messages 40 --rate 2000 --publish-to publish --threads 3 --sources 4 --bytes 2000";
    let run = against(Fault::None, line);
    assert_eq!(run.code, Some(0), "{}", run.table);
    assert_eq!(run.json["deliveries"], 2000);
}

#[test]
fn frames_in_slices_are_put_together_again() {
    let run = against(Fault::Slices, "fanout --connections 20 --messages 20 --window 8 --bytes 300");
    assert_eq!(run.code, Some(0), "{}", run.table);
    assert_eq!(run.json["deliveries"], 400);
}

#[test]
fn one_lost_delivery_fails_the_run_in_both_loops() {
    for pace in ["--window 1", "--window 8", "--rate 1000"] {
        let run = against(Fault::Loses, &format!("fanout --connections 20 --messages 20 --warmup 0 {pace}"));
        assert_eq!(run.code, Some(1), "{pace}: {}", run.table);
        assert_eq!((&run.json["missing"], &run.json["disorder"]), (&1.into(), &0.into()), "{pace}");
    }
}

#[test]
fn a_loss_during_warm_up_counts_too() {
    let run = against(Fault::Loses, "fanout --connections 20 --messages 5 --warmup 5");
    assert_eq!((run.code, &run.json["missing"]), (Some(1), &1.into()));
}

#[test]
fn a_doubled_and_a_swapped_message_are_disorder() {
    let doubled = against(Fault::Doubles, "fanout --connections 10 --messages 10 --warmup 0");
    assert_eq!((doubled.code, &doubled.json["disorder"]), (Some(1), &1.into()), "{}", doubled.table);
    let swapped = against(Fault::Swaps, "fanout --connections 10 --messages 10 --warmup 0 --window 2");
    assert_eq!((swapped.code, &swapped.json["disorder"]), (Some(1), &10.into()), "{}", swapped.table);
}

#[test]
fn latency_counts_from_the_intended_time() {
    // 100 messages a second into a server that takes 30 ms for each: the 20th waits for those before it.
    let delay = Fault::Delays(Duration::from_millis(30));
    let open = against(delay, "fanout --connections 2 --messages 20 --warmup 0 --rate 100");
    assert_eq!(open.code, Some(0), "{}", open.table);
    assert!(open.json["latency_ms"]["max"].as_f64().expect("measured") >= 20.0 * 30.0 - 19.0 * 10.0);
    let closed = against(delay, "fanout --connections 2 --messages 5 --warmup 0");
    assert!(closed.json["latency_ms"]["p50"].as_f64().expect("measured") >= 30.0);
}

#[test]
fn idle_answers_pings_and_fails_on_a_close() {
    let fake = Fake::start(Fault::Pings);
    let pid = std::process::id();
    let run = loadtest(&format!("idle --connections 30 --hold 100ms --server-pid {pid} --address {}", fake.address));
    assert_eq!(run.code, Some(0), "{}", run.table);
    assert_eq!((fake.pongs(), &run.json["pings"]), (30, &30.into()));
    assert!(run.json["idle_cpu"]["server_ns_per_connection_and_second"].is_f64());
    let closed = against(Fault::Closes, "idle --connections 5 --hold 100ms");
    assert_eq!((closed.code, &closed.json["closed"]), (Some(1), &5.into()), "{}", closed.table);
}

#[test]
fn connections_that_are_refused_fail_the_run() {
    let refused = against(Fault::Refuses, "fanout --connections 5");
    assert_eq!((refused.code, &refused.json["failed"]), (Some(1), &5.into()), "{}", refused.table);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("bound");
    let nobody = loadtest(&format!("idle --connections 5 --hold 1s --address {nobody}"));
    assert_eq!((nobody.code, &nobody.json["failed"]), (Some(1), &5.into()), "{}", nobody.table);
}

#[test]
fn a_refused_publisher_fails_the_run() {
    for form in ["pub", "publish"] {
        let run = against(Fault::RefusesPublish, &format!("fanout --connections 2 --publish-to {form}"));
        assert_eq!(run.code, Some(1), "{form}: {}", run.table);
        assert!(failures(&run).contains("refused"), "{form}: {}", run.table);
    }
}

#[test]
fn a_silent_server_does_not_hold_the_client_beyond_its_time() {
    let fake = Fake::start(Fault::Silent);
    let mut child = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["idle", "--connections", "3", "--hold", "100ms", "--settle", "10ms", "--timeout", "300ms", "--token", "listener"])
        .args(["--address", &fake.address.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let started = Instant::now();
    let mut table = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut table).expect("text");
    assert_eq!(child.wait().expect("ends").code(), Some(1), "{table}");
    assert!(started.elapsed() < Duration::from_secs(8), "the force of last resort was not needed");
    assert!(table.contains("3 connections never came to stand"), "{table}");
}

#[test]
fn a_burst_keeps_sixteen_in_flight_over_the_publish_websocket() {
    let run = against(Fault::None, "burst --connections 20 --messages 64");
    assert_eq!((run.code, &run.json["deliveries"]), (Some(0), &1280.into()), "{}", run.table);
    assert!(run.table.contains("| burst window 16 | 20 |"), "{}", run.table);
}

#[test]
fn each_connection_follows_all_its_topics_as_one_sequence() {
    let line = "fanout --connections 20 --topics 5 --topics-per-connection 3 --messages 50 --window 8 --warmup 0";
    let run = against(Fault::None, line);
    assert_eq!((run.code, &run.json["deliveries"]), (Some(0), &600.into()), "{}", run.table);
    assert_eq!(against(Fault::Loses, line).json["missing"], 1);
}

#[test]
fn after_a_storm_everybody_resumes_and_a_server_that_forgets_is_found_out() {
    let line = "storm --connections 100 --share 60 --rate 200";
    let run = against(Fault::None, line);
    assert_eq!(run.code, Some(0), "{}", run.table);
    assert_eq!((&run.json["storm"]["cut"], &run.json["missing"], &run.json["disorder"]), (&60.into(), &0.into(), &0.into()));
    let storm = |name: &str| run.json["storm"][name].as_f64().expect(name);
    assert!(0.0 < storm("standing_seconds") && storm("standing_seconds") <= storm("live_seconds"));
    // Everything between the cut and the new subscription is lost: the server takes its time for it.
    let forgetful = against(Fault::Forgets, line);
    assert_eq!(forgetful.code, Some(1), "{}", forgetful.table);
    assert!(forgetful.json["missing"].as_u64().expect("counted") > 0, "{}", forgetful.table);
}

const ADDRESS: &str = "LOADTEST_FAKE_ADDRESS";
const MEMORY: &str = "LOADTEST_FAKE_MEMORY";
const FORGETS: &str = "LOADTEST_FAKE_FORGETS";

/// No test, but the process that `storm --kill` starts and kills below.
#[test]
#[ignore = "a server, which never ends"]
fn serve_as_a_process() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let fault = if std::env::var(FORGETS).is_ok() { Fault::Forgets } else { Fault::None };
    let _server = Fake::with_memory(&address, &std::env::var(MEMORY).expect("a file"), fault);
    loop {
        std::thread::park();
    }
}

/// A storm over a server that is killed, and the numbers that it sent, in their order.
fn killed(name: &str, more: &[(&str, &str)]) -> (Run, Vec<u64>) {
    let memory = std::env::temp_dir().join(format!("loadtest-{}-{name}.memory", std::process::id()));
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("bound").port();
    let (address, file) = (format!("127.0.0.1:{port}"), memory.to_str().expect("a path of letters"));
    let server = format!("{} --exact --ignored serve_as_a_process", std::env::current_exe().expect("runs").display());
    let line = format!("storm --connections 50 --rate 200 --connecting 1 --address {address}");
    let environment: Vec<_> = [(ADDRESS, &*address), (MEMORY, file)].into_iter().chain(more.iter().copied()).collect();
    let run = loadtest_with(&line, &["--kill", &server], &environment);
    let sent = std::fs::read_to_string(&memory).expect("it was written");
    // It is in the directory for what is temporary.
    let _ = std::fs::remove_file(&memory);
    let number = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")[0][0].as_u64().expect("a number");
    (run, sent.lines().map(number).collect())
}

#[test]
fn after_the_death_of_a_server_everybody_resumes_at_the_next_and_one_that_forgets_is_found_out() {
    let (run, sent) = killed("remembers", &[]);
    assert_eq!(run.code, Some(0), "{}", run.table);
    let storm = &run.json["storm"];
    assert_eq!((&storm["cut"], &run.json["missing"], &run.json["disorder"]), (&50.into(), &0.into(), &0.into()));
    let seconds = |name: &str| storm[name].as_f64().expect(name);
    assert!(0.0 < seconds("down_seconds") && seconds("down_seconds") <= seconds("standing_seconds"), "{storm}");
    assert!(seconds("standing_seconds") <= seconds("live_seconds"), "{storm}");
    assert!(run.json["server_cpu"]["microseconds"].as_f64().expect("of both processes") > 0.0);
    // Everybody got every message, each was sent once although the one in between was published again.
    assert_eq!(run.json["deliveries"], (sent.len() as u64 - 10) * 50, "without the warm-up");
    assert_eq!(sent, (1..=sent.len() as u64).collect::<Vec<_>>());

    let (run, _) = killed("forgets", &[(FORGETS, "1")]);
    assert_eq!(run.code, Some(1), "{}", run.table);
    assert!(run.json["missing"].as_u64().expect("counted") > 0, "{}", run.table);
}

#[test]
fn a_declared_gap_is_counted_and_is_no_failure() {
    let run = against(Fault::Declares, "storm --connections 50 --rate 500");
    assert_eq!((run.code, &run.json["missing"], &run.json["gaps"]), (Some(0), &0.into(), &50.into()), "{}", run.table);
    assert!(run.json["declared_lost"].as_u64().expect("counted") > 0, "{}", run.table);
}

#[test]
fn those_who_stopped_reading_find_everything_that_still_comes() {
    let run = against(Fault::None, "slow --connections 5 --stalled 7 --stalled-for 100ms --bytes 10000 --megabytes 1");
    assert_eq!(run.code, Some(0), "{}", run.table);
    let slow = &run.json["slow"];
    assert_eq!((&slow["stalled"], &slow["resumed"], &slow["closed_tcp"]), (&7.into(), &7.into(), &0.into()), "{}", run.table);
    assert!(slow["alone_ms"]["p99"].as_f64().expect("measured") > 0.0);
}

#[test]
fn a_soak_cycles_connections_and_topics_for_its_time() {
    let line = format!("soak --connections 20 --hold 2s --rate 100 --share 100 --server-pid {}", std::process::id());
    let run = against(Fault::None, &line);
    assert_eq!((run.code, &run.json["missing"]), (Some(0), &0.into()), "{}", run.table);
    let soak = |name: &str| run.json["soak"][name].as_u64().expect(name);
    assert!(soak("cycles") >= 1 && soak("reconnects") == soak("cycles") * 20 && soak("topics_used") == soak("cycles") * 20);
}

#[test]
fn listeners_of_an_endpoint_get_every_record_and_faults_of_its_server_are_found_out() {
    let fanout = "fanout --dialect endpoints --connections 20 --messages 20 --warmup 0";
    let run = against(Fault::None, &format!("{fanout} --window 4"));
    assert_eq!((run.code, &run.json["deliveries"]), (Some(0), &400.into()), "{}", run.table);
    let lost = against(Fault::Loses, fanout);
    assert_eq!((lost.code, &lost.json["missing"], &lost.json["disorder"]), (Some(1), &1.into(), &0.into()), "{}", lost.table);
    let doubled = against(Fault::Doubles, fanout);
    assert_eq!((doubled.code, &doubled.json["disorder"]), (Some(1), &1.into()), "{}", doubled.table);
    let swapped = against(Fault::Swaps, &format!("{fanout} --window 2"));
    assert_eq!((swapped.code, &swapped.json["disorder"]), (Some(1), &20.into()), "{}", swapped.table);
    let refused = against(Fault::Refuses, fanout);
    assert_eq!((refused.code, &refused.json["failed"]), (Some(1), &20.into()), "{}", refused.table);
    let publisher = against(Fault::RefusesPublish, fanout);
    assert_eq!(publisher.code, Some(1), "{}", publisher.table);
    assert!(failures(&publisher).contains("refused"), "{}", publisher.table);
}

#[test]
fn listeners_of_an_endpoint_are_held_idle_and_may_stop_reading() {
    let fake = Fake::start(Fault::Pings);
    let idle = loadtest(&format!("idle --dialect endpoints --connections 30 --hold 100ms --address {}", fake.address));
    assert_eq!((idle.code, fake.pongs(), &idle.json["pings"]), (Some(0), 30, &30.into()), "{}", idle.table);
    let line = "slow --dialect endpoints --connections 5 --stalled 7 --stalled-for 100ms --bytes 10000 --megabytes 1";
    let slow = against(Fault::None, line);
    assert_eq!((slow.code, &slow.json["slow"]["resumed"]), (Some(0), &7.into()), "{}", slow.table);
}

#[test]
fn listeners_of_an_endpoint_resume_by_number_and_count_a_reset_as_a_gap() {
    let line = "storm --dialect endpoints --connections 50 --rate 200";
    let run = against(Fault::None, line);
    assert_eq!((run.code, &run.json["storm"]["cut"], &run.json["missing"]), (Some(0), &50.into(), &0.into()), "{}", run.table);
    let forgetful = against(Fault::Forgets, line);
    assert_eq!(forgetful.code, Some(1), "{}", forgetful.table);
    assert!(forgetful.json["missing"].as_u64().expect("counted") > 0, "{}", forgetful.table);
    let declared = against(Fault::Declares, line);
    assert_eq!((declared.code, &declared.json["gaps"]), (Some(0), &50.into()), "{}", declared.table);
}

#[test]
fn the_histogram_is_written_in_its_text_form() {
    let path = std::env::temp_dir().join(format!("loadtest-{}.hgrm", std::process::id()));
    let run = against(Fault::None, &format!("fanout --connections 10 --messages 10 --histogram {}", path.display()));
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    // Only what this test wrote.
    let _ = std::fs::remove_file(&path);
    assert_eq!(run.code, Some(0), "{}", run.table);
    assert!(text.starts_with("       Value     Percentile TotalCount 1/(1-Percentile)\n"), "{text}");
    assert!(text.contains("Total count    =          100]"), "{text}");
}

#[test]
fn limit_measures_the_loop_alone_and_the_memory_alone() {
    let stopped = loadtest("limit --stopped --connections 50 --messages 20");
    assert_eq!((stopped.code, &stopped.json["deliveries"]), (Some(0), &1000.into()), "{}", stopped.table);
    assert!(stopped.json["server_cpu"]["microseconds"].as_f64().expect("measured") > 0.0);
    let memory = loadtest("limit memory --connections 50");
    assert_eq!((memory.code, &memory.json["deliveries"]), (Some(0), &0.into()), "{}", memory.table);
    assert!(memory.json["memory"]["slab_bytes_per_pair"].is_f64());
}

#[test]
fn limit_measures_the_bare_send_loop() {
    let run = loadtest("limit --connections 200 --messages 20 --threads 2");
    assert_eq!(run.code, Some(0), "{}", run.table);
    assert_eq!((&run.json["deliveries"], &run.json["missing"], &run.json["disorder"]), (&4000.into(), &0.into(), &0.into()));
    assert!(run.json["server_cpu"]["microseconds"].as_f64().expect("measured") > 0.0);
}

#[test]
fn the_ratio_to_limit_is_measured_in_pairs_and_can_fail_the_run() {
    let fake = Fake::start(Fault::None);
    let pid = std::process::id();
    let line =
        format!("fanout --connections 50 --messages 20 --limit-ratio --pairs 3 --server-pid {pid} --address {}", fake.address);
    let run = loadtest(&format!("{line} --max-ratio 100000"));
    assert_eq!(run.code, Some(0), "{}", run.table);
    assert_eq!((&run.json["connected"], &run.json["deliveries"]), (&50.into(), &3000.into()));
    let ratios = &run.json["limit"]["ratios"];
    assert_eq!(ratios.as_array().map(Vec::len), Some(3));
    assert!(run.json["limit"]["median"].as_f64().expect("measured") > 0.0);
    let run = loadtest(&format!("{line} --max-ratio 0.0001"));
    assert_eq!(run.code, Some(1));
    assert!(failures(&run).contains("ratio to limit"), "{}", run.table);
}

#[test]
fn wrong_usage_is_status_2() {
    for line in ["", "dance", "fanout --window 0", "fanout --window 2 --rate 5", "fanout --bytes 10", "fanout --limit-ratio"] {
        assert_eq!(loadtest(line).code, Some(2), "{line:?}");
    }
}
