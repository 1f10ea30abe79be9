//! `slow`: some subscribers stop reading while messages flow to them and to others.
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::{Line, Run};
use crate::fleet::{Fleet, Order};
use crate::proc;
use crate::report::{Latency, Quantiles, Slow};
use crate::round::Pace;

/// Asked for by those who stop: their kernel keeps little, the rest is the server's to keep or not.
const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;
const SAMPLE: Duration = Duration::from_millis(50);
/// The last quarter of the flow may need so much more than the one before it, as a factor and in bytes.
const GROWTH: f64 = 1.1;
const GROWTH_BYTES: u64 = 8 << 20;

#[derive(Clone, Copy)]
struct Sample {
    resident: Option<u64>,
    tcp: Option<u64>,
}

impl Run {
    pub(super) fn slow(&mut self) -> Result<(), String> {
        let options = self.report.options.clone();
        let flow = (u64::from(options.megabytes) * 1_000_000).div_ceil(u64::from(options.bytes));
        let messages = options.warmup + options.messages + flow;
        let slab = self.before();
        let fleet = self.subscribe(messages)?;
        self.settled(&fleet, slab);
        let mut publisher = self.publisher(0, options.topics, options.publish_to(), !options.unstored)?;
        let mut line = Line { fleet, next: 0 };
        let pace = match options.rate {
            Some(rate) => Pace::Open { rate },
            None => Pace::Closed { window: u64::from(options.window()) },
        };
        self.round(&mut line, &mut publisher, pace, options.warmup)?;
        let (alone, seen) = self.round(&mut line, &mut publisher, pace, options.messages)?;
        let alone_ms = Latency::new(&seen.latency, &alone.first, &alone.last);
        publisher.answer_times();

        let order = self.order(options.layout(), options.stalled, messages);
        let order = Order { first_number: line.next, receive_buffer: Some(RECEIVE_BUFFER_BYTES), may_close: true, ..order };
        let stalled = Fleet::connect(order, self.deadline).map_err(|error| error.to_string())?;
        let standing = stalled.pause()?;
        if standing < options.stalled {
            stalled.close()?;
            return Err(format!("{} of those to be stalled never came to stand", options.stalled - standing));
        }
        let since = Instant::now();
        let over = AtomicBool::new(false);
        let resident_start = proc::resident_bytes(&options.server_pid);
        let (measured, samples, flow_samples) = std::thread::scope(|scope| {
            let sampler = scope.spawn(|| sample(&options.server_pid, &over));
            let flowing = Instant::now();
            let measured = self.round(&mut line, &mut publisher, pace, flow);
            let flow_samples = (flowing.elapsed().as_secs_f64() / SAMPLE.as_secs_f64()) as usize;
            self.pause(options.stalled_for.saturating_sub(since.elapsed()));
            over.store(true, Relaxed);
            (measured, sampler.join().unwrap_or_default(), flow_samples)
        });
        let stalled_seconds = since.elapsed().as_secs_f64();
        let (measured, seen) = measured?;
        self.report.answer_ms = Quantiles::new(&publisher.answer_times());
        self.figures(&seen, &[measured]);
        stalled.wake()?;
        self.until_quiet(&stalled, line.next - 1);
        let late = stalled.collect(line.next, self.deadline)?;
        self.count(&late);
        let board = &stalled.board;
        let resident = |samples: &[Sample]| samples.iter().filter_map(|sample| sample.resident).max();
        // The flow took a part of the samples; the rest of the pause shows in the maximum only.
        let flowing = &samples[..flow_samples.min(samples.len())];
        let quarter = |from: usize, to: usize| resident(&flowing[flowing.len() * from / 4..flowing.len() * to / 4]);
        let p99 = |latency: &Option<Latency>| latency.as_ref().map(|latency| latency.p99);
        let slow = Slow {
            stalled: standing,
            stalled_seconds,
            megabytes: (flow * u64::from(options.bytes)) as f64 / 1e6,
            p99_ratio: p99(&self.report.latency_ms).zip(p99(&alone_ms)).map(|(with, alone)| with / alone),
            alone_ms,
            resident_start,
            resident_third_quarter: quarter(2, 3),
            resident_last_quarter: quarter(3, 4),
            resident_max: resident(&samples),
            tcp_bytes_max: samples.iter().filter_map(|sample| sample.tcp).max(),
            closed_1008: board.closed_1008.load(Relaxed),
            closed_told: board.closed_told.load(Relaxed),
            closed_tcp: board.closed_tcp.load(Relaxed),
            resumed: standing - board.closed.load(Relaxed).min(standing),
        };
        if let (Some(before), Some(last)) = (slow.resident_third_quarter, slow.resident_last_quarter)
            && last as f64 > before as f64 * GROWTH + GROWTH_BYTES as f64
        {
            self.report.failures.push(format!("the server's memory still grows: {before} B, then {last} B"));
        }
        self.report.slow = Some(slow);
        stalled.close()?;
        publisher.finish(options.stall)?;
        self.close(line.fleet)
    }

    /// Waits until each of the fleet is closed or has message `last`, or nothing comes any more.
    fn until_quiet(&self, fleet: &Fleet, last: u64) {
        let board = &fleet.board;
        let seen = || board.deliveries.load(Relaxed) + u64::from(board.closed.load(Relaxed));
        let (mut heard, mut heard_at) = (seen(), Instant::now());
        // Of a topic that a subscriber does not listen to the last message never comes: then the silence ends it.
        while board.having(last) + board.closed.load(Relaxed) < board.connections && Instant::now() < self.deadline {
            std::thread::sleep(Duration::from_millis(10));
            if seen() != heard {
                (heard, heard_at) = (seen(), Instant::now());
            }
            if heard_at.elapsed() >= self.report.options.stall {
                return;
            }
        }
    }
}

fn sample(pids: &[u32], over: &AtomicBool) -> Vec<Sample> {
    let mut samples = Vec::new();
    while !over.load(Relaxed) {
        samples.push(Sample { resident: proc::resident_bytes(pids), tcp: proc::tcp_bytes() });
        std::thread::sleep(SAMPLE);
    }
    samples
}
