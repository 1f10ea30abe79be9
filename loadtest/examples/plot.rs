//! Draws deliveries per second and latency over the number of subscribers from the JSON lines of `loadtest --json`.
//! `cargo run -p loadtest --example plot -- results.jsonl docs/fanout.svg`: runs of `fanout` and `burst` on one topic over websockets, one line per window.
use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

use serde_json::Value;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 380.0;
const MARGIN: f64 = 60.0;
const PANEL: f64 = 360.0;
const COLOURS: [&str; 4] = ["#1f6feb", "#d1570b", "#2da44e", "#8250df"];

#[derive(Clone, Copy)]
struct Point {
    connections: f64,
    deliveries_per_second: f64,
    p50: f64,
    p99: f64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = arguments.as_slice() else {
        eprintln!("usage: plot RESULTS.jsonl OUT.svg");
        return ExitCode::from(2);
    };
    let drawn = std::fs::read_to_string(from).map_err(|error| format!("{from}: {error}")).and_then(|text| {
        let lines = read(&text)?;
        std::fs::write(to, draw(&lines)).map_err(|error| format!("{to}: {error}"))
    });
    match drawn {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::from(1)
        }
    }
}

/// Points by window; of several runs with the same N the last counts.
fn read(text: &str) -> Result<BTreeMap<u64, Vec<Point>>, String> {
    let mut lines: BTreeMap<u64, BTreeMap<u64, Point>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let run: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let options = &run["options"];
        // Other topics or transports are other curves.
        if options["topics"] != 1 || options["transport"] != "websocket" || options["dialect"] != "push_stream" {
            continue;
        }
        let window = match options["scenario"].as_str() {
            Some("fanout") if options["rate"].is_null() => options["window"].as_u64().unwrap_or(1),
            Some("burst") => options["window"].as_u64().unwrap_or(16),
            _ => continue,
        };
        if run["failures"].as_array().is_none_or(|failures| !failures.is_empty()) {
            continue;
        }
        let number = |value: &Value| value.as_f64().ok_or("a run without its figures");
        let connections = options["connections"].as_u64().ok_or("a run without its connections")?;
        let point = Point {
            connections: connections as f64,
            deliveries_per_second: number(&run["deliveries_per_second"])?,
            p50: number(&run["latency_ms"]["p50"])?,
            p99: number(&run["latency_ms"]["p99"])?,
        };
        lines.entry(window).or_default().insert(connections, point);
    }
    if lines.is_empty() {
        return Err("no good run of fanout or burst in the file".to_owned());
    }
    Ok(lines.into_iter().map(|(window, points)| (window, points.into_values().collect())).collect())
}

/// A logarithmic axis over whole decades.
#[derive(Clone, Copy)]
struct Axis {
    low: i32,
    high: i32,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Axis {
        let low = values.clone().fold(f64::INFINITY, f64::min).max(1e-3).log10().floor() as i32;
        let high = values.fold(0.0, f64::max).max(1e-2).log10().ceil() as i32;
        Axis { low, high: high.max(low + 1), from, to }
    }

    fn at(self, value: f64) -> f64 {
        let share = (value.max(1e-3).log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        self.from + share * (self.to - self.from)
    }
}

type Curve = (&'static str, fn(&Point) -> f64);

fn draw(lines: &BTreeMap<u64, Vec<Point>>) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    let rate: [Curve; 1] = [("", |point| point.deliveries_per_second)];
    let latency: [Curve; 2] = [(" p50", |point| point.p50), (" p99", |point| point.p99)];
    panel(&mut svg, lines, MARGIN + 10.0, "deliveries per second", &rate);
    panel(&mut svg, lines, MARGIN + 10.0 + PANEL + MARGIN + 20.0, "latency, ms", &latency);
    svg + "</svg>\n"
}

fn panel(svg: &mut String, lines: &BTreeMap<u64, Vec<Point>>, left: f64, title: &str, curves: &[Curve]) {
    let (top, bottom, right) = (40.0, HEIGHT - 70.0, left + PANEL);
    let points = || lines.values().flatten();
    let across = Axis::over(points().map(|point| point.connections), left, right);
    let up = Axis::over(curves.iter().flat_map(|curve| points().map(curve.1)), bottom, top);
    let mut put = |text: std::fmt::Arguments| writeln!(svg, "{text}").expect("a String takes every byte");
    put(format_args!("<text x=\"{left}\" y=\"24\" font-weight=\"bold\">{title}</text>"));
    for decade in across.low..=across.high {
        let x = across.at(10f64.powi(decade));
        put(format_args!("<line x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>"));
        let label = short(10f64.powi(decade));
        put(format_args!("<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>", bottom + 16.0));
    }
    for decade in up.low..=up.high {
        let y = up.at(10f64.powi(decade));
        put(format_args!("<line x1=\"{left}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>"));
        let label = short(10f64.powi(decade));
        put(format_args!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", left - 6.0, y + 4.0));
    }
    put(format_args!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">subscribers</text>",
        left + PANEL / 2.0,
        bottom + 32.0
    ));
    let mut key = left - 20.0;
    for (&(name, of), dashes) in curves.iter().zip(["none", "5 3"]) {
        for ((window, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let path: Vec<String> =
                points.iter().map(|point| format!("{:.1},{:.1}", across.at(point.connections), up.at(of(point)))).collect();
            put(format_args!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>",
                path.join(" ")
            ));
            for point in points {
                let (x, y) = (across.at(point.connections), up.at(of(point)));
                put(format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"));
            }
            let y = HEIGHT - 14.0;
            put(format_args!(
                "<line x1=\"{key:.1}\" y1=\"{y}\" x2=\"{:.1}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>",
                key + 18.0
            ));
            put(format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10\">{window} in flight{name}</text>",
                key + 22.0,
                y + 4.0
            ));
            key += if name.is_empty() { 110.0 } else { 100.0 };
        }
    }
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e3 => format!("{}k", value / 1e3),
        value => format!("{value}"),
    }
}
