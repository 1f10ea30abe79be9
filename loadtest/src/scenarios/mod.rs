//! The scenarios: which fleets, which rounds, which figures, which checks.
mod slow;
mod soak;
mod storm;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::board::{Board, Clock};
use crate::client::{Collected, latency_histogram};
use crate::dialect::{self, Dialect};
use crate::fleet::{Fleet, Order};
use crate::layout::Layout;
use crate::limit::Senders;
use crate::marker::{self, Marker};
use crate::options::{Options, PublishTo, Scenario};
use crate::probe::Probe;
use crate::proc::{self, Cpu, Environment};
use crate::progress::Progress;
use crate::publisher::{Publish, Publisher};
use crate::report::{CpuPerDelivery, IdleCpu, Latency, LimitRatio, Memory, Quantiles, Report};
use crate::round::{Pace, Round};

/// A thread's CPU time is written down when it goes to sleep: figures are read this long after the last delivery.
const UNTIL_ASLEEP: Duration = Duration::from_millis(20);

/// Runs what the options ask for. It ends by itself at `deadline`, and then says so in the report.
pub fn run(options: Options, deadline: Instant) -> Report {
    let mut run = Run::new(options, deadline);
    let result = match run.report.options.scenario {
        Scenario::Idle => run.idle(),
        Scenario::Fanout | Scenario::Burst => run.fanout(),
        Scenario::Storm => run.storm(),
        Scenario::Slow => run.slow(),
        Scenario::Soak => run.soak(),
        Scenario::Limit => run.limit(),
    };
    if let Err(reason) = result {
        run.report.failures.push(reason);
    }
    run.check();
    run.progress.end();
    run.report
}

struct Run {
    clock: Clock,
    deadline: Instant,
    dialect: Arc<dyn Dialect>,
    progress: Progress,
    report: Report,
}

/// A fleet with the next number its board has not seen.
struct Line {
    fleet: Fleet,
    next: u64,
}

struct Measured {
    deliveries: u64,
    time: Duration,
    cpu: Option<Cpu>,
    client_cpu: Option<Cpu>,
    first: Vec<u64>,
    last: Vec<u64>,
}

impl Run {
    fn new(options: Options, deadline: Instant) -> Run {
        let dialect = dialect::of(&options);
        let report = Report {
            options,
            connected: 0,
            failed: 0,
            closed: 0,
            connects_per_second: 0.0,
            pings: 0,
            messages: 0,
            deliveries: 0,
            deliveries_per_second: 0.0,
            missing: 0,
            disorder: 0,
            gaps: 0,
            declared_lost: 0,
            latencies: latency_histogram(),
            latency_ms: None,
            answer_ms: None,
            server_cpu: None,
            client_cpu: None,
            idle_cpu: None,
            memory: Memory::default(),
            limit: None,
            storm: None,
            slow: None,
            soak: None,
            probe: None,
            environment: Environment::read(),
            failures: Vec::new(),
        };
        Run { clock: Clock::start(), deadline, dialect, progress: Progress::start(), report }
    }

    fn idle(&mut self) -> Result<(), String> {
        let slab = self.before();
        let fleet = self.subscribe(1)?;
        self.settled(&fleet, slab);
        let pids = self.report.options.server_pid.clone();
        // What came while they connected belongs to nobody's second.
        let before = fleet.collect(0, self.deadline)?;
        self.count(&before);
        let (started, cpu, from) = (Instant::now(), proc::cpu(&pids), self.clock.nanoseconds());
        self.pause(self.report.options.hold);
        let to = self.clock.nanoseconds();
        let spent = difference(cpu, proc::cpu(&pids));
        let time = started.elapsed();
        let seen = fleet.collect(0, self.deadline)?;
        self.report.idle_cpu =
            spent.map(|spent| IdleCpu::new(spent, self.report.connected, seen.pings, seen.ping_peak(from, to), time));
        self.count(&seen);
        self.close(fleet)
    }

    fn fanout(&mut self) -> Result<(), String> {
        let options = self.report.options.clone();
        let slab = self.before();
        let fleet = self.subscribe(options.warmup + options.messages * u64::from(options.rounds()))?;
        self.settled(&fleet, slab);
        let mut line = Line { fleet, next: 0 };
        let result = self.fanout_rounds(&options, &mut line);
        let closed = self.close(line.fleet);
        result.and(closed)
    }

    fn fanout_rounds(&mut self, options: &Options, line: &mut Line) -> Result<(), String> {
        let mut publisher = self.publisher(0, options.topics, options.publish_to(), !options.unstored)?;
        let pace = match options.rate {
            Some(rate) => Pace::Open { rate },
            None => Pace::Closed { window: u64::from(options.window()) },
        };
        let mut yardstick = if options.limit_ratio { Some(self.pairs(options)?) } else { None };
        self.round(line, &mut publisher, pace, options.warmup)?;
        publisher.answer_times();
        let probe = if options.probe { Some(Probe::start(options, self.deadline)?) } else { None };
        let mut seen = Collected::new();
        let mut all = Vec::new();
        let (mut limits, mut servers) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds() {
            if let Some((senders, pairs)) = &mut yardstick {
                let (measured, _) = self.measured_limit(pairs, senders, options)?;
                limits.extend(per_delivery(&measured));
            }
            let before = proc::cpu(&options.server_pid);
            let client = proc::cpu(&[std::process::id()]);
            let (mut measured, collected) = self.round(line, &mut publisher, pace, options.messages)?;
            measured.cpu = difference(before, proc::cpu(&options.server_pid));
            measured.client_cpu = difference(client, proc::cpu(&[std::process::id()]));
            servers.extend(per_delivery(&measured));
            seen.add(&collected);
            all.push(measured);
        }
        publisher.finish(options.stall)?;
        if let Some(probe) = probe {
            self.report.probe = Some(probe.finish()?);
        }
        self.report.answer_ms = Quantiles::new(&publisher.answer_times());
        self.figures(&seen, &all);
        if let Some((senders, pairs)) = yardstick {
            pairs.fleet.close()?;
            drop(senders);
            self.report.limit = LimitRatio::new(limits, servers);
        }
        Ok(())
    }

    fn limit(&mut self) -> Result<(), String> {
        let options = self.report.options.clone();
        let slab = proc::slab_bytes();
        let (mut senders, mut line) = self.pairs(&options)?;
        self.connected(&line.fleet);
        self.pause(options.settle);
        self.report.memory.slab_bytes_per_pair = per_connection(slab, proc::slab_bytes(), options.connections);
        if options.part.is_none() {
            let (measured, seen) = if options.stopped {
                self.stopped_limit(&mut line, &mut senders, &options)?
            } else {
                self.measured_limit(&mut line, &mut senders, &options)?
            };
            self.figures(&seen, &[measured]);
        }
        self.report.closed = line.fleet.board.closed.load(Relaxed);
        line.fleet.close()
    }

    /// Connects the pairs of the yardstick and warms them up.
    fn pairs(&mut self, options: &Options) -> Result<(Senders, Line), String> {
        let (mut senders, addresses) = Senders::listen(Arc::clone(&self.dialect), options.connections, self.deadline)?;
        let messages = options.warmup + limit_messages(options) * u64::from(options.rounds());
        let layout = Layout { topics: 1, per_connection: 1 };
        let order = Order { addresses, handshake: false, ..self.order(layout, options.connections, messages) };
        let fleet = Fleet::connect(order, self.deadline).map_err(|error| format!("limit: {error}"))?;
        if fleet.board.connected.load(Relaxed) < options.connections {
            return Err("limit: not all pairs came to stand".to_owned());
        }
        let mut line = Line { fleet, next: 0 };
        self.round(&mut line, &mut senders, Pace::Closed { window: 1 }, options.warmup)?;
        Ok((senders, line))
    }

    fn measured_limit(
        &mut self,
        line: &mut Line,
        senders: &mut Senders,
        options: &Options,
    ) -> Result<(Measured, Collected), String> {
        let before = senders.cpu();
        let client = proc::cpu(&[std::process::id()]);
        let (mut measured, seen) = self.round(line, senders, Pace::Closed { window: 1 }, limit_messages(options))?;
        measured.cpu = difference(before, senders.cpu());
        // The senders stand for the server: their share is not the client's.
        let whole = difference(client, proc::cpu(&[std::process::id()]));
        measured.client_cpu = difference(measured.cpu, whole);
        Ok((measured, seen))
    }

    /// The loop alone: nobody reads until it is over, and then everything must be there.
    fn stopped_limit(
        &mut self,
        line: &mut Line,
        senders: &mut Senders,
        options: &Options,
    ) -> Result<(Measured, Collected), String> {
        line.fleet.pause()?;
        let board = Arc::clone(&line.fleet.board);
        let (before, started) = (senders.cpu(), Instant::now());
        let numbers = line.next..line.next + options.messages;
        let mut payload = Vec::new();
        for number in numbers.clone() {
            let intended = board.clock.nanoseconds();
            marker::write(&mut payload, &Marker { intended, number }, options.bytes as usize);
            board.intend(number, intended);
            senders.publish(number, 0, &payload)?;
        }
        let time = started.elapsed();
        std::thread::sleep(UNTIL_ASLEEP);
        let cpu = difference(before, senders.cpu());
        line.fleet.wake()?;
        line.next = numbers.end;
        let pace = Pace::Closed { window: 1 };
        self.shape(pace, options).wait_for(&board, senders, numbers.end - 1)?;
        let mut seen = line.fleet.collect(line.next, self.deadline)?;
        self.count(&seen);
        // The time until somebody read again is no latency.
        seen.latency.reset();
        let deliveries = board.spread(numbers).0;
        Ok((Measured { deliveries, time, cpu, client_cpu: None, first: Vec::new(), last: Vec::new() }, seen))
    }

    fn shape(&self, pace: Pace, options: &Options) -> Round {
        Round { pace, bytes: options.bytes as usize, stall: options.stall, deadline: self.deadline, enough: None }
    }

    /// One round on a fleet, its losses counted; an early end is a failure of the run and gives the figures up to there.
    fn round(
        &mut self,
        line: &mut Line,
        publisher: &mut dyn Publish,
        pace: Pace,
        messages: u64,
    ) -> Result<(Measured, Collected), String> {
        let round = self.shape(pace, &self.report.options);
        let board = Arc::clone(&line.fleet.board);
        let outcome = round.run(&board, publisher, line.next..line.next + messages);
        line.next = outcome.numbers.end;
        std::thread::sleep(UNTIL_ASLEEP);
        let seen = line.fleet.collect(line.next, self.deadline)?;
        self.count(&seen);
        let (deliveries, first, last) = board.spread(outcome.numbers);
        match outcome.stopped {
            Some(reason) => {
                self.report.deliveries = deliveries;
                Err(reason)
            }
            None => Ok((Measured { deliveries, time: outcome.time, cpu: None, client_cpu: None, first, last }, seen)),
        }
    }

    fn count(&mut self, seen: &Collected) {
        self.report.missing += seen.missing;
        self.report.disorder += seen.disorder;
        self.report.gaps += seen.gaps;
        self.report.declared_lost += seen.declared_lost;
        self.report.pings += seen.pings;
    }

    fn figures(&mut self, seen: &Collected, rounds: &[Measured]) {
        let report = &mut self.report;
        report.deliveries = rounds.iter().map(|round| round.deliveries).sum();
        let time: Duration = rounds.iter().map(|round| round.time).sum();
        report.deliveries_per_second = report.deliveries as f64 / time.as_secs_f64().max(1e-9);
        let sorted = |ends: fn(&Measured) -> &Vec<u64>| {
            let mut all: Vec<u64> = rounds.iter().flat_map(|round| ends(round).iter().copied()).collect();
            all.sort_unstable();
            all
        };
        let (first, last) = (sorted(|round| &round.first), sorted(|round| &round.last));
        report.messages = first.len() as u64;
        report.latencies.add(&seen.latency).expect("all histograms have the same bounds");
        report.latency_ms = Latency::new(&seen.latency, &first, &last);
        let sum =
            |cpu: fn(&Measured) -> Option<Cpu>| rounds.iter().try_fold(Cpu::default(), |sum, round| Some(sum.plus(cpu(round)?)));
        report.server_cpu = sum(|round| round.cpu).and_then(|cpu| CpuPerDelivery::new(cpu, report.deliveries));
        report.client_cpu = sum(|round| round.client_cpu).and_then(|cpu| CpuPerDelivery::new(cpu, report.deliveries));
    }

    fn before(&mut self) -> Option<u64> {
        self.report.memory.server_before = proc::resident_bytes(&self.report.options.server_pid);
        proc::slab_bytes()
    }

    fn publisher(&self, first_topic: u32, topics: u32, form: PublishTo, stored: bool) -> Result<Publisher, String> {
        let options = &self.report.options;
        let address = options.publish_address.unwrap_or(options.address);
        let topics = (first_topic..first_topic + topics).map(|topic| self.dialect.topic(topic)).collect();
        Publisher::connect(form, address, options.key.clone(), topics, stored, self.deadline)
    }

    /// A fleet of subscribers as the options describe it.
    fn order(&self, layout: Layout, connections: u32, messages: u64) -> Order {
        let options = &self.report.options;
        Order {
            dialect: Arc::clone(&self.dialect),
            board: Arc::new(Board::new(self.clock, layout, connections, messages)),
            addresses: vec![options.address],
            handshake: true,
            threads: options.threads,
            sources: options.sources,
            connecting: options.connecting,
            first_topic: 0,
            first_number: 0,
            receive_buffer: None,
            may_close: false,
            returns: options.kill.is_some(),
        }
    }

    fn subscribe(&mut self, messages: u64) -> Result<Fleet, String> {
        let options = &self.report.options;
        let order = self.order(options.layout(), options.connections, messages);
        self.progress.show(&order.board);
        let fleet = Fleet::connect(order, self.deadline).map_err(|error| error.to_string())?;
        self.connected(&fleet);
        if self.report.connected < self.report.options.connections {
            self.report.failed = self.report.options.connections - self.report.connected;
            let failed = self.report.failed;
            // Nothing is measured against a part of the subscribers.
            self.close(fleet)?;
            return Err(format!("{failed} connections never came to stand"));
        }
        Ok(fleet)
    }

    fn connected(&mut self, fleet: &Fleet) {
        self.report.connected = fleet.board.connected.load(Relaxed);
        self.report.connects_per_second = f64::from(self.report.connected) / fleet.connecting_time.as_secs_f64().max(1e-9);
    }

    fn settled(&mut self, fleet: &Fleet, slab: Option<u64>) {
        self.pause(self.report.options.settle);
        let memory = &mut self.report.memory;
        let connections = fleet.board.connections;
        memory.server_connected = proc::resident_bytes(&self.report.options.server_pid);
        memory.server_bytes_per_connection = per_connection(memory.server_before, memory.server_connected, connections);
        memory.slab_bytes_per_pair = per_connection(slab, proc::slab_bytes(), connections);
    }

    fn close(&mut self, fleet: Fleet) -> Result<(), String> {
        self.report.closed = fleet.board.closed.load(Relaxed);
        fleet.close()?;
        self.pause(self.report.options.settle);
        self.report.memory.server_after = proc::resident_bytes(&self.report.options.server_pid);
        Ok(())
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time.min(self.deadline.saturating_duration_since(Instant::now())));
    }

    /// What makes a run bad, whatever its speed.
    fn check(&mut self) {
        let report = &mut self.report;
        if report.failures.is_empty() && Instant::now() >= self.deadline {
            report.failures.push("out of time".to_owned());
        }
        if report.missing > 0 {
            report.failures.push(format!("{} deliveries missing", report.missing));
        }
        if report.disorder > 0 {
            report.failures.push(format!("{} deliveries doubled, out of order or of another topic", report.disorder));
        }
        if report.closed > 0 {
            report.failures.push(format!("{} connections closed by the server", report.closed));
        }
        let gone = !report.options.server_pid.is_empty() && proc::cpu(&report.options.server_pid).is_none();
        if gone {
            report.failures.push("the process of --server-pid is not there".to_owned());
        }
        if let Some(most) = report.options.max_ratio {
            match report.limit.as_ref().map(|limit| limit.median) {
                Some(median) if median <= most => {}
                Some(median) => report.failures.push(format!("ratio to limit {median:.3} is above {most}")),
                None => report.failures.push("no ratio to limit was measured".to_owned()),
            }
        }
    }
}

/// The yardstick has one topic: as many deliveries as the server makes with its topics.
fn limit_messages(options: &Options) -> u64 {
    (options.messages / u64::from(options.topics)).max(1)
}

fn per_delivery(measured: &Measured) -> Option<f64> {
    Some(CpuPerDelivery::new(measured.cpu?, measured.deliveries)?.microseconds)
}

fn difference(before: Option<Cpu>, after: Option<Cpu>) -> Option<Cpu> {
    Some(after?.since(before?))
}

fn per_connection(before: Option<u64>, after: Option<u64>, connections: u32) -> Option<f64> {
    Some((after? as f64 - before? as f64) / f64::from(connections))
}
