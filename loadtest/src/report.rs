//! What a run found: one table row for people, one JSON line for machines.
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::options::{LimitPart, Options, Scenario, Transport};
use crate::proc::{Cpu, Environment};

/// Everything a run found; what was not measured is `None`.
#[derive(Serialize)]
pub struct Report {
    pub options: Options,
    pub connected: u32,
    pub failed: u32,
    pub closed: u32,
    pub connects_per_second: f64,
    pub pings: u64,
    pub messages: u64,
    pub deliveries: u64,
    pub deliveries_per_second: f64,
    pub missing: u64,
    pub disorder: u64,
    /// Times that the server said messages were lost to a subscriber, and how many were.
    pub gaps: u64,
    pub declared_lost: u64,
    #[serde(skip)]
    pub latencies: Histogram<u64>,
    pub latency_ms: Option<Latency>,
    /// From the sending of a message to the server's answer, ms.
    pub answer_ms: Option<Quantiles>,
    /// CPU of the server, or of the sender in `limit`.
    pub server_cpu: Option<CpuPerDelivery>,
    /// CPU of this process without the senders of `limit`.
    pub client_cpu: Option<CpuPerDelivery>,
    pub idle_cpu: Option<IdleCpu>,
    pub memory: Memory,
    pub limit: Option<LimitRatio>,
    pub storm: Option<Storm>,
    pub slow: Option<Slow>,
    pub soak: Option<Soak>,
    pub probe: Option<Probed>,
    pub environment: Environment,
    /// Why the run is not good; empty when it is.
    pub failures: Vec<String>,
}

/// Milliseconds from the intended time of a message to its receipt.
#[derive(Clone, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    /// Median over the messages of the first and of the last subscriber's latency.
    pub first_subscriber: f64,
    pub last_subscriber: f64,
}

impl Latency {
    /// `first` and `last` are ns and sorted; `None` when nothing was received.
    pub fn new(histogram: &Histogram<u64>, first: &[u64], last: &[u64]) -> Option<Latency> {
        let milliseconds = |nanoseconds: u64| nanoseconds as f64 / 1e6;
        let at = |quantile| milliseconds(histogram.value_at_quantile(quantile));
        let median = |sorted: &[u64]| sorted.get(sorted.len() / 2).copied().map(milliseconds);
        (!histogram.is_empty()).then_some(())?;
        Some(Latency {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: milliseconds(histogram.max()),
            first_subscriber: median(first)?,
            last_subscriber: median(last)?,
        })
    }
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
    pub count: u64,
}

impl Quantiles {
    /// Of a histogram in ns; `None` when it is empty.
    pub fn new(histogram: &Histogram<u64>) -> Option<Quantiles> {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        let max = histogram.max() as f64 / 1e6;
        (!histogram.is_empty()).then(|| Quantiles { p50: at(0.5), p99: at(0.99), max, count: histogram.len() })
    }
}

impl std::fmt::Display for Quantiles {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:.2} / {:.2} / {:.2}", self.p50, self.p99, self.max)
    }
}

/// What `storm` found; times from the cut on.
#[derive(Serialize)]
pub struct Storm {
    pub cut: u32,
    /// From the death of the server until another one listened, if it was killed.
    pub down_seconds: Option<f64>,
    /// Until all subscriptions stood again.
    pub standing_seconds: f64,
    /// Until all had everything that was published before that.
    pub live_seconds: f64,
    pub reconnects_per_second: f64,
    /// Attempts that had to be made again.
    pub retries: u32,
    pub published_meanwhile: u64,
}

/// What `slow` found.
#[derive(Serialize)]
pub struct Slow {
    pub stalled: u32,
    pub stalled_seconds: f64,
    pub megabytes: f64,
    /// Latency of the others before the stalled ones came.
    pub alone_ms: Option<Latency>,
    pub p99_ratio: Option<f64>,
    /// Resident memory of the server: before the flow, the most of the third and of the last quarter of the flow, the most of all.
    pub resident_start: Option<u64>,
    pub resident_third_quarter: Option<u64>,
    pub resident_last_quarter: Option<u64>,
    pub resident_max: Option<u64>,
    /// The most that the buffers of all sockets took.
    pub tcp_bytes_max: Option<u64>,
    /// What the stalled found when they read again.
    pub closed_1008: u32,
    pub closed_told: u32,
    pub closed_tcp: u32,
    /// Open, and everything came.
    pub resumed: u32,
}

/// What `soak` found; slopes compare the last third with the third before it.
#[derive(Serialize)]
pub struct Soak {
    pub cycles: u32,
    pub seconds: f64,
    pub reconnects: u64,
    pub topics_used: u64,
    pub short_connections: u64,
    pub resident_start: Option<u64>,
    pub resident_end: Option<u64>,
    pub resident_bytes_per_second: Option<f64>,
    pub descriptors_start: Option<u64>,
    pub descriptors_end: Option<u64>,
    pub descriptors_per_second: Option<f64>,
}

/// What went on beside the messages, ms.
#[derive(Serialize)]
pub struct Probed {
    pub ping: Option<Quantiles>,
    pub connect_and_upgrade: Option<Quantiles>,
    pub other_topic: Option<Quantiles>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CpuPerDelivery {
    pub microseconds: f64,
    /// The split comes from clock ticks: coarse in short runs, absent when there was none.
    pub user_microseconds: Option<f64>,
    pub kernel_microseconds: Option<f64>,
}

impl CpuPerDelivery {
    pub fn new(cpu: Cpu, deliveries: u64) -> Option<CpuPerDelivery> {
        (deliveries > 0).then(|| {
            let microseconds = cpu.nanoseconds as f64 / 1e3 / deliveries as f64;
            let user = cpu.user_share().map(|share| share * microseconds);
            CpuPerDelivery { microseconds, user_microseconds: user, kernel_microseconds: user.map(|user| microseconds - user) }
        })
    }
}

#[derive(Serialize)]
pub struct IdleCpu {
    pub server_ns_per_connection_and_second: f64,
    /// Share of one core.
    pub server_core_share: f64,
    /// All CPU of the time over the pings in it: what a ping costs at most.
    pub server_us_per_ping: Option<f64>,
    /// The most pings of a tenth of a second over the mean.
    pub ping_peak: Option<f64>,
}

impl IdleCpu {
    pub fn new(cpu: Cpu, connections: u32, pings: u64, ping_peak: Option<f64>, time: Duration) -> IdleCpu {
        let per_second = cpu.nanoseconds as f64 / time.as_secs_f64().max(1e-9);
        IdleCpu {
            server_ns_per_connection_and_second: per_second / f64::from(connections.max(1)),
            server_core_share: per_second / 1e9,
            server_us_per_ping: (pings > 0).then(|| cpu.nanoseconds as f64 / 1e3 / pings as f64),
            ping_peak,
        }
    }
}

#[derive(Clone, Copy, Default, Serialize)]
pub struct Memory {
    pub server_before: Option<u64>,
    pub server_connected: Option<u64>,
    pub server_after: Option<u64>,
    pub server_bytes_per_connection: Option<f64>,
    /// Kernel object caches, both ends.
    pub slab_bytes_per_pair: Option<f64>,
}

#[derive(Serialize)]
pub struct LimitRatio {
    /// CPU per delivery, µs, of each pair.
    pub limit_microseconds: Vec<f64>,
    pub server_microseconds: Vec<f64>,
    pub ratios: Vec<f64>,
    pub median: f64,
}

impl LimitRatio {
    /// `None` when there is no pair, or a limit that took no time.
    pub fn new(limit_microseconds: Vec<f64>, server_microseconds: Vec<f64>) -> Option<LimitRatio> {
        let ratios: Vec<f64> =
            server_microseconds.iter().zip(&limit_microseconds).map(|(server, limit)| server / limit).collect();
        let median = median(&ratios).filter(|median| median.is_finite())?;
        Some(LimitRatio { limit_microseconds, server_microseconds, ratios, median })
    }
}

/// The middle one, or the mean of the two in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

impl Report {
    pub fn is_good(&self) -> bool {
        self.failures.is_empty()
    }

    pub fn json_line(&self) -> String {
        serde_json::to_string(self).expect("a report has only text keys")
    }

    /// The latencies in the text form of HdrHistogram, ms.
    pub fn histogram(&self) -> String {
        let histogram = &self.latencies;
        let mut text = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n".to_owned();
        for at in histogram.iter_quantiles(5) {
            let quantile = at.quantile_iterated_to();
            let inverse = if quantile < 1.0 { format!("{:14.2}", 1.0 / (1.0 - quantile)) } else { format!("{:>14}", "inf") };
            let value = at.value_iterated_to() as f64 / 1e6;
            text +=
                &format!("{value:12.3} {quantile:14.12} {:10} {inverse}\n", histogram.count_between(0, at.value_iterated_to()));
        }
        let milliseconds = |value: f64| value / 1e6;
        let (mean, deviation) = (milliseconds(histogram.mean()), milliseconds(histogram.stdev()));
        text += &format!("#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]\n");
        let max = milliseconds(histogram.max() as f64);
        text += &format!("#[Max     = {max:12.3}, Total count    = {:12}]\n", histogram.len());
        text
    }

    /// A Markdown table of one row, and the machine below it.
    pub fn table(&self) -> String {
        let mut cells: Vec<(&str, String)> = vec![
            ("scenario", self.scenario()),
            ("N", self.options.connections.to_string()),
            ("connected / failed / closed", format!("{} / {} / {}", self.connected, self.failed, self.closed)),
            ("connect/s", format!("{:.0}", self.connects_per_second)),
        ];
        if self.options.scenario == Scenario::Idle {
            let idle = self.idle_cpu.as_ref().map(|idle| idle.server_ns_per_connection_and_second);
            cells.push(("idle CPU ns/conn/s", number(idle, 0)));
            cells.push(("pings", self.pings.to_string()));
            cells.push(("CPU µs/ping", number(self.idle_cpu.as_ref().and_then(|idle| idle.server_us_per_ping), 2)));
            cells.push(("ping peak", number(self.idle_cpu.as_ref().and_then(|idle| idle.ping_peak), 2)));
        } else {
            let latency = self.latency_ms.as_ref();
            let milliseconds = |value: Option<f64>| number(value, 2);
            cells.push(("S", self.options.bytes.to_string()));
            cells.push(("deliveries", self.deliveries.to_string()));
            cells.push(("missing / disorder", format!("{} / {}", self.missing, self.disorder)));
            cells.push(("deliveries/s", format!("{:.0}", self.deliveries_per_second)));
            let quantiles =
                [latency.map(|at| at.p50), latency.map(|at| at.p99), latency.map(|at| at.p999), latency.map(|at| at.max)];
            cells.push(("p50 / p99 / p99.9 / max ms", quantiles.map(milliseconds).join(" / ")));
            let ends = [latency.map(|at| at.first_subscriber), latency.map(|at| at.last_subscriber)];
            cells.push(("first / last ms", ends.map(milliseconds).join(" / ")));
            cells.push(("CPU µs/delivery", number(self.server_cpu.map(|cpu| cpu.microseconds), 2)));
            let split = self.server_cpu.map_or((None, None), |cpu| (cpu.user_microseconds, cpu.kernel_microseconds));
            cells.push(("user / kernel", format!("{} / {}", number(split.0, 2), number(split.1, 2))));
            cells.push(("client CPU", number(self.client_cpu.map(|cpu| cpu.microseconds), 2)));
        }
        if let Some(answer) = &self.answer_ms {
            cells.push(("answer to publisher p50 / p99 / max ms", answer.to_string()));
        }
        self.scenario_cells(&mut cells);
        if let Some(limit) = &self.limit {
            cells.push(("ratio to limit", format!("{:.3}", limit.median)));
        }
        let megabytes = |bytes: Option<u64>| number(bytes.map(|bytes| bytes as f64 / 1e6), 1);
        let memory = &self.memory;
        let resident = [memory.server_before, memory.server_connected, memory.server_after];
        cells.push(("RSS MB before / connected / after", resident.map(megabytes).join(" / ")));
        cells.push(("B/conn", number(memory.server_bytes_per_connection, 0)));
        cells.push(("slab B/pair", number(memory.slab_bytes_per_pair, 0)));
        let row = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
        let environment = &self.environment;
        let mut text = row(cells.iter().map(|cell| cell.0).collect());
        text += &row(cells.iter().map(|_| "--").collect());
        text += &row(cells.iter().map(|cell| cell.1.as_str()).collect());
        text += &format!(
            "\nLinux {}, {}, {} cores, load {}, loadtest {} at {}\n",
            environment.kernel,
            environment.cpu_model,
            environment.cores,
            environment.load_average,
            environment.version,
            environment.git
        );
        for failure in &self.failures {
            text += &format!("FAILED: {failure}\n");
        }
        text
    }

    fn scenario_cells(&self, cells: &mut Vec<(&str, String)>) {
        let megabytes = |bytes: Option<u64>| number(bytes.map(|bytes| bytes as f64 / 1e6), 1);
        if self.gaps > 0 {
            cells.push(("gaps declared / messages", format!("{} / {}", self.gaps, self.declared_lost)));
        }
        if let Some(storm) = &self.storm {
            cells.push(("cut", storm.cut.to_string()));
            if let Some(down) = storm.down_seconds {
                cells.push(("s without server", format!("{down:.2}")));
            }
            cells.push(("s until standing / live", format!("{:.2} / {:.2}", storm.standing_seconds, storm.live_seconds)));
            cells.push(("reconnect/s", format!("{:.0}", storm.reconnects_per_second)));
            cells.push(("retries", storm.retries.to_string()));
            cells.push(("published meanwhile", storm.published_meanwhile.to_string()));
        }
        if let Some(slow) = &self.slow {
            cells.push(("stalled", format!("{} for {:.0} s", slow.stalled, slow.stalled_seconds)));
            cells.push(("MB", format!("{:.0}", slow.megabytes)));
            let alone = slow.alone_ms.as_ref();
            let quantiles = [alone.map(|at| at.p50), alone.map(|at| at.p99)].map(|value| number(value, 2));
            cells.push(("alone p50 / p99 ms", quantiles.join(" / ")));
            cells.push(("p99 ratio", number(slow.p99_ratio, 2)));
            let quarters = [slow.resident_start, slow.resident_third_quarter, slow.resident_last_quarter, slow.resident_max];
            cells.push(("RSS MB start / 3rd quarter / last quarter / max", quarters.map(megabytes).join(" / ")));
            cells.push(("TCP buffers MB", megabytes(slow.tcp_bytes_max)));
            let ends = [slow.closed_1008, slow.closed_told, slow.closed_tcp, slow.resumed].map(|count| count.to_string());
            cells.push(("stalled: 1008 / other close / TCP end / all came", ends.join(" / ")));
        }
        if let Some(soak) = &self.soak {
            cells.push(("cycles", format!("{} in {:.0} s", soak.cycles, soak.seconds)));
            let used = [soak.reconnects, soak.short_connections, soak.topics_used].map(|count| count.to_string());
            cells.push(("reconnects / short connections / topics", used.join(" / ")));
            let resident = [soak.resident_start, soak.resident_end].map(megabytes).join(" / ");
            cells.push(("RSS MB first / last cycle", resident));
            cells.push(("RSS B/s", number(soak.resident_bytes_per_second, 0)));
            let count = |value: Option<u64>| value.map_or_else(|| "–".to_owned(), |value| value.to_string());
            cells.push(("fds first / last", [soak.descriptors_start, soak.descriptors_end].map(count).join(" / ")));
            cells.push(("fds/s", number(soak.descriptors_per_second, 2)));
        }
        if let Some(probe) = &self.probe {
            let text = |value: &Option<Quantiles>| value.map_or_else(|| "–".to_owned(), |value| value.to_string());
            cells.push(("beside: ping p50 / p99 / max ms", text(&probe.ping)));
            cells.push(("beside: connect + upgrade", text(&probe.connect_and_upgrade)));
            cells.push(("beside: other topic", text(&probe.other_topic)));
        }
    }

    fn scenario(&self) -> String {
        let options = &self.options;
        let mut topics = if options.topics > 1 { format!(" topics {}", options.topics) } else { String::new() };
        if options.topics_per_connection > 1 {
            topics += &format!(", {} each", options.topics_per_connection);
        }
        let name = options.scenario.name();
        let transport = match options.transport {
            Transport::Websocket => "",
            Transport::Eventsource => " eventsource",
            Transport::Longpoll => " longpoll",
        };
        match options.scenario {
            Scenario::Idle | Scenario::Soak => format!("{name}{transport}{topics} {:?}", options.hold),
            Scenario::Fanout | Scenario::Burst | Scenario::Slow => match options.rate {
                None => format!("{name}{transport}{topics} window {}", options.window()),
                Some(rate) => format!("{name}{transport}{topics} rate {rate}"),
            },
            Scenario::Storm => format!("{name}{transport}{topics}"),
            Scenario::Limit => match (options.part, options.stopped) {
                (Some(LimitPart::Memory), _) => "limit memory".to_owned(),
                (None, true) => "limit stopped".to_owned(),
                (None, false) => "limit".to_owned(),
            },
        }
    }
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_the_median_of_the_pairs_and_not_of_the_rounds() {
        let ratio = LimitRatio::new(vec![1.0, 2.0, 4.0], vec![1.5, 2.2, 8.0]).expect("three pairs");
        assert_eq!(ratio.ratios, [1.5, 1.1, 2.0]);
        assert_eq!(ratio.median, 1.5);
        assert!(LimitRatio::new(vec![], vec![]).is_none());
        assert!(LimitRatio::new(vec![0.0], vec![1.0]).is_none());
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn cpu_is_split_by_ticks_and_only_when_there_were_any() {
        let cpu = Cpu { nanoseconds: 8_000_000, user_ticks: 1, kernel_ticks: 3 };
        let expected = CpuPerDelivery { microseconds: 8.0, user_microseconds: Some(2.0), kernel_microseconds: Some(6.0) };
        assert_eq!(CpuPerDelivery::new(cpu, 1000), Some(expected));
        assert_eq!(CpuPerDelivery::new(cpu, 0), None);
        let short = CpuPerDelivery::new(Cpu { user_ticks: 0, kernel_ticks: 0, ..cpu }, 1000).expect("deliveries");
        assert_eq!((short.user_microseconds, short.kernel_microseconds), (None, None));
    }
}
