//! `soak`: connections and topics come and go for a bounded time, while steady subscribers must lose nothing.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::{Line, Run};
use crate::client::Collected;
use crate::fleet::{Fleet, Order};
use crate::layout::Layout;
use crate::options::{Options, PublishTo};
use crate::proc;
use crate::report::{Latency, Soak, median};
use crate::round::{Pace, Round};

const RATE: f64 = 20.0;
const SHARE: u32 = 10;
const CYCLE: Duration = Duration::from_secs(1);
/// Messages that one run may publish to the steady subscribers.
const MESSAGES_MAX: f64 = 1e6;
/// With fewer cycles a slope means nothing.
const CYCLES_MIN: usize = 9;
/// The last third may need so much more than the middle one: memory as a factor and in bytes, descriptors.
const GROWTH: f64 = 1.05;
const GROWTH_BYTES: f64 = (4 << 20) as f64;
const GROWTH_DESCRIPTORS: f64 = 16.0;

struct Cycle {
    at: f64,
    resident: Option<u64>,
    descriptors: Option<u64>,
}

#[derive(Default)]
struct Churned {
    cycles: Vec<Cycle>,
    reconnects: u64,
    topics: u64,
    connections: u64,
    missing: u64,
    disorder: u64,
}

impl Run {
    pub(super) fn soak(&mut self) -> Result<(), String> {
        let options = self.report.options.clone();
        let rate = options.rate.unwrap_or(RATE);
        let warmup = options.warmup.max(u64::from(options.topics));
        let slab = self.before();
        let bound = warmup + (rate * options.timeout.as_secs_f64()).min(MESSAGES_MAX) as u64 + 1;
        let fleet = self.subscribe(bound)?;
        self.settled(&fleet, slab);
        let mut publisher = self.publisher(0, options.topics, options.publish_to(), true)?;
        let mut line = Line { fleet, next: 0 };
        self.round(&mut line, &mut publisher, Pace::Closed { window: 1 }, warmup)?;

        let enough = Arc::new(AtomicBool::new(false));
        let round = Round { enough: Some(Arc::clone(&enough)), ..self.shape(Pace::Open { rate }, &options) };
        let board = Arc::clone(&line.fleet.board);
        let started = Instant::now();
        let mut churned = Churned::default();
        let (outcome, result) = std::thread::scope(|scope| {
            let (run, steady, churned) = (&*self, &line.fleet, &mut churned);
            let (stop, options) = (Arc::clone(&enough), &options);
            let churner = scope.spawn(move || {
                let result = run.churn(steady, options, started, churned);
                stop.store(true, Relaxed);
                result
            });
            let outcome = round.run(&board, &mut publisher, line.next..bound);
            (outcome, churner.join().unwrap_or_else(|_| Err("the churn panicked".to_owned())))
        });
        line.next = outcome.numbers.end;
        let seen = line.fleet.collect(line.next, self.deadline)?;
        self.count(&seen);
        let (deliveries, first, last) = board.spread(outcome.numbers);
        let report = &mut self.report;
        report.missing += churned.missing;
        report.disorder += churned.disorder;
        report.failed = board.failed.load(Relaxed);
        report.messages = first.len() as u64;
        report.deliveries = deliveries;
        report.deliveries_per_second = deliveries as f64 / outcome.time.as_secs_f64().max(1e-9);
        report.latency_ms = Latency::new(&seen.latency, &first, &last);
        report.latencies = seen.latency;
        let seconds = started.elapsed().as_secs_f64();
        let published = publisher.finish(options.stall);
        self.close(line.fleet)?;
        self.judge(&churned, seconds);
        result?;
        outcome.stopped.map_or(published, Err)
    }

    /// One cycle after the other until the time is over.
    fn churn(&self, steady: &Fleet, options: &Options, started: Instant, churned: &mut Churned) -> Result<(), String> {
        let share = options.share.unwrap_or(SHARE);
        // As many short-lived subscribers as are cut, each with a topic that nobody used before.
        let short = (u64::from(options.connections) * u64::from(share) / 100).max(1) as u32;
        let mut first_topic = options.topics;
        let mut from = 0;
        while started.elapsed() < options.hold {
            let begun = Instant::now();
            churned.reconnects += u64::from(steady.cut(share, from)?);
            from = (from + share) % 100;
            let seen = self.short_life(first_topic, short, options)?;
            churned.missing += seen.missing;
            churned.disorder += seen.disorder;
            churned.topics += u64::from(short);
            churned.connections += u64::from(short);
            first_topic += short;
            while !steady.board.all_decided() {
                if Instant::now() >= self.deadline {
                    return Err("those who were cut never came to stand again".to_owned());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            self.pause(CYCLE.saturating_sub(begun.elapsed()));
            churned.cycles.push(Cycle {
                at: started.elapsed().as_secs_f64(),
                resident: proc::resident_bytes(&options.server_pid),
                descriptors: proc::descriptors(&options.server_pid),
            });
        }
        Ok(())
    }

    /// Connects to new topics, gets one message on each, leaves.
    fn short_life(&self, first_topic: u32, topics: u32, options: &Options) -> Result<Collected, String> {
        let order = self.order(Layout { topics, per_connection: 1 }, topics, u64::from(topics));
        let fleet =
            Fleet::connect(Order { first_topic, threads: 1, ..order }, self.deadline).map_err(|error| error.to_string())?;
        let board = Arc::clone(&fleet.board);
        let failed = topics - board.connected.load(Relaxed);
        let result = if failed > 0 {
            Err(format!("{failed} short connections never came to stand"))
        } else {
            // What nobody keeps must leave nothing behind.
            self.publisher(first_topic, topics, PublishTo::Publish, false).and_then(|mut publisher| {
                let pace = Pace::Closed { window: 16 };
                let outcome = self.shape(pace, options).run(&board, &mut publisher, 0..u64::from(topics));
                let seen = fleet.collect(outcome.numbers.end, self.deadline)?;
                publisher.finish(options.stall)?;
                outcome.stopped.map_or(Ok(seen), Err)
            })
        };
        fleet.close()?;
        result
    }

    fn judge(&mut self, churned: &Churned, seconds: f64) {
        let cycles = &churned.cycles;
        let third = cycles.len() / 3;
        let (middle, last) = (&cycles[cycles.len() - 2 * third..cycles.len() - third], &cycles[cycles.len() - third..]);
        let typical = |cycles: &[Cycle], of: fn(&Cycle) -> Option<u64>| {
            median(&cycles.iter().filter_map(of).map(|value| value as f64).collect::<Vec<_>>())
        };
        let apart = typical_time(last).zip(typical_time(middle)).map(|(last, middle)| (last - middle).max(1e-9));
        let slope = |of: fn(&Cycle) -> Option<u64>| Some((typical(last, of)? - typical(middle, of)?) / apart?);
        let resident = |cycle: &Cycle| cycle.resident;
        let descriptors = |cycle: &Cycle| cycle.descriptors;
        if cycles.len() >= CYCLES_MIN {
            if let (Some(before), Some(after)) = (typical(middle, resident), typical(last, resident))
                && after > before * GROWTH + GROWTH_BYTES
            {
                self.report.failures.push(format!("the server's memory grows: {before:.0} B, then {after:.0} B"));
            }
            if let (Some(before), Some(after)) = (typical(middle, descriptors), typical(last, descriptors))
                && after > before + GROWTH_DESCRIPTORS
            {
                self.report.failures.push(format!("the server's descriptors grow: {before:.0}, then {after:.0}"));
            }
        }
        self.report.soak = Some(Soak {
            cycles: cycles.len() as u32,
            seconds,
            reconnects: churned.reconnects,
            topics_used: churned.topics,
            short_connections: churned.connections,
            resident_start: cycles.first().and_then(resident),
            resident_end: cycles.last().and_then(resident),
            resident_bytes_per_second: slope(resident),
            descriptors_start: cycles.first().and_then(descriptors),
            descriptors_end: cycles.last().and_then(descriptors),
            descriptors_per_second: slope(descriptors),
        });
    }
}

fn typical_time(cycles: &[Cycle]) -> Option<f64> {
    median(&cycles.iter().map(|cycle| cycle.at).collect::<Vec<_>>())
}
