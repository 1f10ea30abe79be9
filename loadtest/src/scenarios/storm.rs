//! `storm`: a share of the subscribers is cut off at once, or the server is killed and started again, and all resume, each from
//! its own position, while publishing goes on.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::{Line, Run, UNTIL_ASLEEP, difference};
use crate::fleet::Fleet;
use crate::options::Options;
use crate::persistent::Persistent;
use crate::proc::{self, Cpu};
use crate::publisher::Publisher;
use crate::report::{CpuPerDelivery, Latency, Quantiles, Storm};
use crate::round::{Pace, Round};
use crate::server::Server;

const RATE: f64 = 20.0;
/// Messages that one run may publish, whatever its time-out.
const MESSAGES_MAX: f64 = 1e6;
const LOOK: Duration = Duration::from_millis(1);

impl Run {
    pub(super) fn storm(&mut self) -> Result<(), String> {
        let mut server = match &self.report.options.kill {
            Some(command) => Some(Server::start(command, self.report.options.address, self.deadline)?),
            None => None,
        };
        self.report.options.server_pid.extend(server.as_ref().map(Server::pid));
        let result = self.storm_over(server.as_mut());
        if server.is_some() {
            // It ends with the run.
            self.report.options.server_pid.clear();
        }
        result
    }

    fn storm_over(&mut self, server: Option<&mut Server>) -> Result<(), String> {
        let (options, deadline) = (self.report.options.clone(), self.deadline);
        let rate = options.rate.unwrap_or(RATE);
        // A subscriber resumes from a message it has seen: there must be one for each.
        let warmup = options.warmup.max(u64::from(options.topics));
        let slab = self.before();
        let bound = warmup + (rate * options.timeout.as_secs_f64()).min(MESSAGES_MAX) as u64 + 1;
        let fleet = self.subscribe(bound)?;
        self.settled(&fleet, slab);
        let returns = server.is_some();
        let dialect = Arc::clone(&self.dialect);
        // What is published again after the death of a server must be known by its name.
        let ids = server.as_ref().map(|server| format!("load-{}-{}", std::process::id(), server.pid()));
        let connect = || {
            let address = options.publish_address.unwrap_or(options.address);
            let topics = (0..options.topics).map(|topic| dialect.topic(topic)).collect();
            let publisher = Publisher::connect(options.publish_to(), address, options.key.clone(), topics, true, deadline)?;
            Ok(publisher.with_ids(ids.clone()))
        };
        let mut publisher = Persistent::new(Box::new(connect), returns, deadline)?;
        let mut line = Line { fleet, next: 0 };
        self.round(&mut line, &mut publisher, Pace::Closed { window: 1 }, warmup)?;
        publisher.answer_times();

        let (before, client) = (proc::cpu(&options.server_pid), proc::cpu(&[std::process::id()]));
        let enough = Arc::new(AtomicBool::new(false));
        let round = Round { enough: Some(Arc::clone(&enough)), ..self.shape(Pace::Open { rate }, &options) };
        let board = Arc::clone(&line.fleet.board);
        let (outcome, watched) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let watched = watch(&line.fleet, &options, warmup, server, before, deadline);
                enough.store(true, Relaxed);
                watched
            });
            let outcome = round.run(&board, &mut publisher, line.next..bound);
            (outcome, watcher.join())
        });
        line.next = outcome.numbers.end;
        std::thread::sleep(UNTIL_ASLEEP);
        let watched = watched.map_err(|_| "the watcher of the storm panicked".to_owned())?;
        let cpu = match &watched {
            // What the first process had used goes with it.
            Ok((_, Some(killed))) => proc::cpu(&[killed.after]).and_then(|cpu| Some(cpu.plus(killed.cpu?))),
            Ok((_, None)) | Err(_) => difference(before, proc::cpu(&options.server_pid)),
        };
        let client = difference(client, proc::cpu(&[std::process::id()]));
        let seen = line.fleet.collect(line.next, self.deadline)?;
        self.count(&seen);
        let (deliveries, first, last) = board.spread(outcome.numbers);
        let report = &mut self.report;
        report.failed = board.failed.load(Relaxed);
        report.messages = first.len() as u64;
        report.deliveries = deliveries;
        report.deliveries_per_second = deliveries as f64 / outcome.time.as_secs_f64().max(1e-9);
        report.latency_ms = Latency::new(&seen.latency, &first, &last);
        report.latencies = seen.latency;
        report.server_cpu = cpu.and_then(|cpu| CpuPerDelivery::new(cpu, deliveries));
        report.client_cpu = client.and_then(|cpu| CpuPerDelivery::new(cpu, deliveries));
        report.answer_ms = Quantiles::new(&publisher.answer_times());
        let published = publisher.finish(options.stall);
        self.close(line.fleet)?;
        if let Some(reason) = outcome.stopped {
            return Err(reason);
        }
        self.report.storm = Some(watched?.0);
        published
    }
}

/// What is left of a process that was killed.
struct Killed {
    /// What it had used during the storm.
    cpu: Option<Cpu>,
    /// The process that came after it.
    after: u32,
}

/// Cuts, or kills, and looks until everybody is live again. `from` is the first message of the time.
fn watch(
    fleet: &Fleet,
    options: &Options,
    from: u64,
    server: Option<&mut Server>,
    cpu: Option<Cpu>,
    deadline: Instant,
) -> Result<(Storm, Option<Killed>), String> {
    let (settle, stall) = (options.settle, options.stall);
    let board = &fleet.board;
    let in_time = || {
        std::thread::sleep(LOOK);
        if Instant::now() < deadline && board.closed.load(Relaxed) == 0 {
            Ok(())
        } else {
            Err("the storm did not end".to_owned())
        }
    };
    std::thread::sleep(settle);
    let (published, retries, started) = (board.published.load(Relaxed), board.retries.load(Relaxed), Instant::now());
    let (cut, killed) = match server {
        None => (fleet.cut(options.share.unwrap_or(100), 0)?, None),
        Some(server) => {
            fleet.hold();
            let used = difference(cpu, proc::cpu(&[server.pid()]));
            server.kill();
            server.start_again(deadline)?;
            fleet.go_on()?;
            (board.connections, Some((Killed { cpu: used, after: server.pid() }, started.elapsed())))
        }
    };
    // Who was not cut hears of the end in its turn.
    while killed.is_some() && board.dropped.load(Relaxed) < cut {
        in_time()?;
    }
    while !board.all_decided() {
        in_time()?;
    }
    let standing = started.elapsed();
    let until = board.published.load(Relaxed);
    for number in from..until {
        let (mut having, mut since) = (board.having(number), Instant::now());
        while !board.is_complete(number) {
            in_time()?;
            if board.having(number) != having {
                (having, since) = (board.having(number), Instant::now());
            }
            if since.elapsed() >= stall {
                return Err(format!("message {number} has reached only {having} of its subscribers after the storm"));
            }
        }
    }
    let live = started.elapsed();
    let published_meanwhile = board.published.load(Relaxed) - published;
    std::thread::sleep(settle);
    let again = board.dropped.load(Relaxed).saturating_sub(cut);
    if killed.is_some() && again > 0 {
        return Err(format!("the server that was started again has closed {again} connections"));
    }
    let storm = Storm {
        cut,
        down_seconds: killed.as_ref().map(|(_, down)| down.as_secs_f64()),
        standing_seconds: standing.as_secs_f64(),
        live_seconds: live.as_secs_f64(),
        reconnects_per_second: f64::from(cut) / standing.as_secs_f64().max(1e-9),
        retries: board.retries.load(Relaxed) - retries,
        published_meanwhile,
    };
    Ok((storm, killed.map(|(killed, _)| killed)))
}
