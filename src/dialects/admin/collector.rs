//! The counters of hub and reactors as OpenMetrics: read and summed when somebody scrapes, never before.

use crate::metrics::{Counter, DIALECTS, Kind, LATENCY_BUCKETS, Metrics, ReactorMetrics};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use std::fmt::{self, Error};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub struct Reading(pub Arc<Metrics>);

impl fmt::Debug for Reading {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Reading")
    }
}

impl Collector for Reading {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> Result<(), Error> {
        self.connections(&mut out)?;
        self.messages(&mut out)?;
        self.trouble(&mut out)?;
        self.reactors(&mut out)?;
        self.families(&mut out)?;
        self.latency(&mut out)
    }
}

impl Reading {
    fn connections(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let websockets = self.difference(Counter::WebSocketOpened, Counter::WebSocketEnded);
        let streams = self.difference(Counter::StreamOpened, Counter::StreamEnded);
        let all = self.difference(Counter::Accepted, Counter::Ended);
        // The threads go on counting while they are read: a difference may be off by a few, but is never negative.
        let http = all.saturating_sub(websockets + streams);
        let kinds = [("websocket", websockets), ("stream", streams), ("http", http)];
        gauges(out, "connections", "Open connections", "kind", kinds)?;
        let sums = self.0.reactors.iter().fold([0; DIALECTS.len()], |sums: [u64; DIALECTS.len()], reactor| {
            let here = reactor.conversations();
            std::array::from_fn(|dialect| sums[dialect] + here[dialect])
        });
        let dialects = DIALECTS.into_iter().zip(sums);
        gauges(out, "dialect_connections", "Connections in a conversation, by dialect", "dialect", dialects)?;
        counter(out, "accepted", "Connections accepted", self.0.sum(Counter::Accepted))?;
        counter(out, "requests", "HTTP requests with a complete head", self.0.sum(Counter::Requests))?;
        let subscriptions = self.difference(Counter::Joined, Counter::Left);
        gauge(out, "subscriptions", "Subscriptions of all connections", subscriptions)?;
        let lagging = self.difference(Counter::Lagging, Counter::LagEnded);
        gauge(out, "lagging_connections", "Connections that are behind and read from the log", lagging)
    }

    fn messages(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let hub = &self.0.hub;
        let read = |number: &AtomicU64| number.load(Relaxed);
        gauge(out, "topics", "Topics that exist", read(&hub.topics))?;
        gauge(out, "stored_messages", "Messages that the logs keep", read(&hub.stored))?;
        gauge(out, "stored_payload_bytes", "Bytes that the logs keep", read(&hub.stored_bytes))?;
        gauge(out, "documents", "Documents that exist", read(&hub.documents))?;
        gauge(out, "records", "Records that exist", read(&hub.records))?;
        gauge(out, "endpoints", "Endpoints that have records", read(&hub.endpoints))?;
        counter(out, "messages_in", "Messages published", read(&hub.messages_in))?;
        counter(out, "message_bytes_in", "Payload bytes published", read(&hub.bytes_in))?;
        counter(out, "evicted", "Stored messages that left their log", read(&hub.evicted))?;
        gauge(out, "storage_failing", "1 while nothing can be committed", read(&hub.storage_failing))?;
        gauge(out, "storage_pending_bytes", "Bytes that wait for a commit", read(&hub.storage_pending_bytes))?;
        counter(out, "storage_commits", "Commits of storage", read(&hub.storage_commits))?;
        counter(out, "storage_failures", "Commits that failed", read(&hub.storage_failures))?;
        counter(
            out,
            "deliveries",
            "Messages put into an outbox: one per message and subscriber",
            self.0.sum(Counter::Deliveries),
        )?;
        counter(out, "encodings", "Encodings made: one per message and encoding", self.0.sum(Counter::Encodings))?;
        counter(out, "runs", "Runs of messages sent as one frame", self.0.sum(Counter::Runs))?;
        counter(out, "bytes_in", "Bytes read from sockets", self.0.sum(Counter::BytesIn))?;
        counter(out, "bytes_out", "Bytes taken by sockets", self.0.sum(Counter::BytesOut))?;
        counter(out, "writes", "Write calls to sockets", self.0.sum(Counter::Writes))?;
        counter(
            out,
            "pings",
            "Pings of Action Cable, resources and endpoints, also those that took the place of one that waited",
            self.0.sum(Counter::Pings),
        )
    }

    fn trouble(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let reasons = [
            ("too_slow", Counter::DroppedTooSlow),
            ("timed_out", Counter::TimedOut),
            ("bad_frame", Counter::RefusedFrames),
            ("panic", Counter::Panics),
        ];
        counters(out, "dropped", "Connections ended by the server", reasons.map(|(reason, kind)| (reason, self.0.sum(kind))))?;
        let refused = [
            ("request", self.0.sum(Counter::RefusedRequests)),
            ("connection", self.0.sum(Counter::RefusedConnections)),
            ("reactor_busy", self.0.sum(Counter::RefusedBusy)),
            ("workers_busy", self.0.sum(Counter::RefusedJobs)),
            ("hub", self.0.hub.refused.load(Relaxed)),
        ];
        counters(out, "refused", "Requests, connections, publications and jobs turned away", refused)?;
        let jobs = self.difference(Counter::Jobs, Counter::JobsDone);
        gauge(out, "jobs", "Slow work that waits for a thread or runs on one", jobs)
    }

    fn reactors(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let names: Vec<String> = (0..self.0.reactors.len()).map(|index| index.to_string()).collect();
        let each = |read: &dyn Fn(&ReactorMetrics) -> u64| -> Vec<(&str, u64)> {
            names.iter().map(String::as_str).zip(self.0.reactors.iter().map(read)).collect()
        };
        let connections = each(&|reactor| reactor.read(Counter::Accepted).saturating_sub(reactor.read(Counter::Ended)));
        labelled(out, "reactor_connections", "Open connections of a reactor", "reactor", MetricType::Gauge, connections)?;
        for (name, help, kind) in [
            ("reactor_turns", "Turns of a reactor's loop", Counter::Turns),
            ("reactor_wake_ups", "Times the hub woke a reactor", Counter::WakeUps),
            ("reactor_deliveries", "Deliveries of a reactor", Counter::Deliveries),
            ("reactor_bytes_out", "Bytes written by a reactor", Counter::BytesOut),
        ] {
            labelled(out, name, help, "reactor", MetricType::Counter, each(&|reactor| reactor.read(kind)))?;
        }
        Ok(())
    }

    fn families(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        for family in self.0.families.get().into_iter().flatten() {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            match family.label {
                Some(label) => labelled(out, family.name, family.help, label, kind, family.read())?,
                None => {
                    for (_, value) in family.read() {
                        match family.kind {
                            Kind::Counter => counter(out, family.name, family.help, value)?,
                            Kind::Gauge => gauge(out, family.name, family.help, value)?,
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn latency(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut counts = [0; LATENCY_BUCKETS.len() + 1];
        let mut sum_micros = 0;
        for reactor in &self.0.reactors {
            let (of_reactor, micros) = reactor.latency();
            sum_micros += micros;
            for (count, more) in counts.iter_mut().zip(of_reactor) {
                *count += more;
            }
        }
        let bounds = LATENCY_BUCKETS.iter().map(|&micros| micros as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let help = "From a message's ordering to the write that took it to a socket";
        out.encode_descriptor("publish_to_write", help, Some(&Unit::Seconds), MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(sum_micros as f64 / 1e6, counts.iter().sum(), &buckets, None)
    }

    fn difference(&self, begun: Counter, ended: Counter) -> u64 {
        self.0.sum(begun).saturating_sub(self.0.sum(ended))
    }
}

fn gauge(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), Error> {
    ConstGauge::new(value as i64).encode(out.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn counter(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), Error> {
    ConstCounter::new(value).encode(out.encode_descriptor(name, help, None, MetricType::Counter)?)
}

fn gauges<'a>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &'static str,
    values: impl IntoIterator<Item = (&'a str, u64)>,
) -> Result<(), Error> {
    labelled(out, name, help, label, MetricType::Gauge, values)
}

fn counters<'a>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (&'a str, u64)>,
) -> Result<(), Error> {
    labelled(out, name, help, "reason", MetricType::Counter, values)
}

/// One metric with a value per label.
fn labelled<'a>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &'static str,
    kind: MetricType,
    values: impl IntoIterator<Item = (&'a str, u64)>,
) -> Result<(), Error> {
    let mut family = out.encode_descriptor(name, help, None, kind)?;
    for (text, value) in values {
        let labels = [(label, text)];
        let metric = family.encode_family(&labels)?;
        match kind {
            MetricType::Counter => ConstCounter::new(value).encode(metric)?,
            _ => ConstGauge::new(value as i64).encode(metric)?,
        }
    }
    Ok(())
}
