//! `storm`: a share of the subscribers is cut off at once and resumes, each from its own position, while publishing goes on.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::{Line, Run, UNTIL_ASLEEP, difference};
use crate::fleet::Fleet;
use crate::options::Options;
use crate::proc;
use crate::report::{CpuPerDelivery, Latency, Quantiles, Storm};
use crate::round::{Pace, Round};

const RATE: f64 = 20.0;
/// Messages that one run may publish, whatever its time-out.
const MESSAGES_MAX: f64 = 1e6;
const LOOK: Duration = Duration::from_millis(1);

impl Run {
    pub(super) fn storm(&mut self) -> Result<(), String> {
        let options = self.report.options.clone();
        let rate = options.rate.unwrap_or(RATE);
        // A subscriber resumes from a message it has seen: there must be one for each.
        let warmup = options.warmup.max(u64::from(options.topics));
        let slab = self.before();
        let bound = warmup + (rate * options.timeout.as_secs_f64()).min(MESSAGES_MAX) as u64 + 1;
        let fleet = self.subscribe(bound)?;
        self.settled(&fleet, slab);
        let mut publisher = self.publisher(0, options.topics, options.publish_to(), true)?;
        let mut line = Line { fleet, next: 0 };
        self.round(&mut line, &mut publisher, Pace::Closed { window: 1 }, warmup)?;
        publisher.answer_times();

        let (before, client) = (proc::cpu(&options.server_pid), proc::cpu(&[std::process::id()]));
        let enough = Arc::new(AtomicBool::new(false));
        let round = Round { enough: Some(Arc::clone(&enough)), ..self.shape(Pace::Open { rate }, &options) };
        let board = Arc::clone(&line.fleet.board);
        let (outcome, watched) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let watched = watch(&line.fleet, &options, warmup, self.deadline);
                enough.store(true, Relaxed);
                watched
            });
            let outcome = round.run(&board, &mut publisher, line.next..bound);
            (outcome, watcher.join())
        });
        line.next = outcome.numbers.end;
        std::thread::sleep(UNTIL_ASLEEP);
        let cpu = difference(before, proc::cpu(&options.server_pid));
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
        let watched = watched.map_err(|_| "the watcher of the storm panicked".to_owned())?;
        self.close(line.fleet)?;
        if let Some(reason) = outcome.stopped {
            return Err(reason);
        }
        self.report.storm = Some(watched?);
        published
    }
}

/// Cuts, and looks until everybody is live again. `from` is the first message of the time.
fn watch(fleet: &Fleet, options: &Options, from: u64, deadline: Instant) -> Result<Storm, String> {
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
    let (published, started) = (board.published.load(Relaxed), Instant::now());
    let cut = fleet.cut(options.share.unwrap_or(100), 0)?;
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
    Ok(Storm {
        cut,
        standing_seconds: standing.as_secs_f64(),
        live_seconds: live.as_secs_f64(),
        reconnects_per_second: f64::from(cut) / standing.as_secs_f64().max(1e-9),
        retries: board.retries.load(Relaxed),
        published_meanwhile,
    })
}
