//! TOML to [`Config`]: each key is read alone first, so that several errors are told at once.

use super::error::{ConfigError, Problem, reworded};
use super::{Config, secrets};
use crate::dialects::admin;
use serde::Deserialize as _;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue, Deserializer, Error};

/// The way from the root of the document to a value.
#[derive(Clone, Debug)]
pub enum Step<'i> {
    Key(Spanned<DeString<'i>>),
    /// The only element of an array, and its index in the document.
    Element(usize),
}

pub fn read(text: &str, file_name: &str, base_dir: &Path) -> Result<Config, ConfigError> {
    let mut reader = Reader { text, problems: Vec::new() };
    let config = reader.read(base_dir);
    match config {
        Some(config) if reader.problems.is_empty() => Ok(config),
        _ => {
            reader.problems.sort_by_key(|problem| problem.line);
            Err(ConfigError { file: file_name.to_owned(), problems: reader.problems })
        }
    }
}

pub struct Reader<'i> {
    text: &'i str,
    problems: Vec<Problem>,
}

impl<'i> Reader<'i> {
    fn read(&mut self, base_dir: &Path) -> Option<Config> {
        let document = match DeTable::parse(self.text) {
            Ok(document) => document,
            // Only the message: toml's own display would show the line, which may hold a secret.
            Err(error) => {
                self.problem(error.span().map_or(0, |span| span.start), String::new(), reworded(error.message()));
                return None;
            }
        };
        self.table(&mut Vec::new(), document.get_ref());
        if !self.problems.is_empty() {
            return None;
        }
        let mut config = match Config::deserialize(Deserializer::from(document.clone())) {
            Ok(config) => config,
            Err(error) => {
                self.problem(error.span().map_or(0, |span| span.start), String::new(), reworded(error.message()));
                return None;
            }
        };
        for (key, problem) in too_small(&config) {
            self.problem_at(document.get_ref(), key, problem);
        }
        if let Err((key, problem)) = config.push_stream.check() {
            self.problem_at(document.get_ref(), &format!("push_stream.{key}"), &problem);
        }
        if let Err((key, problem)) = config.action_cable.check() {
            self.problem_at(document.get_ref(), &format!("action_cable.{key}"), &problem);
        }
        if let Err((key, problem)) = config.resources.check(&other_paths(&config)) {
            self.problem_at(document.get_ref(), &format!("resources.{key}"), &problem);
        }
        config.resources.resolve(
            &mut |file| secrets::read_file(&base_dir.join(file)).map_err(|error| error.to_string()),
            &mut |key, message| self.problem_at(document.get_ref(), &format!("resources.{key}"), message),
        );
        let below_resources = format!("{}/", config.resources.path);
        let mut paths = other_paths(&config);
        if config.resources.enabled {
            paths.extend([&config.resources.path, &below_resources].map(|path| ("resources.path", path.as_str())));
        }
        config.endpoints.check(&paths, &mut |key, message| {
            self.problem_at(document.get_ref(), &format!("endpoints.{key}"), message);
        });
        config.endpoints.resolve(
            &mut |file| secrets::read_file(&base_dir.join(file)).map_err(|error| error.to_string()),
            &mut |key, message| self.problem_at(document.get_ref(), &format!("endpoints.{key}"), message),
        );
        if !config.storage.path.as_os_str().is_empty() {
            config.storage.path = base_dir.join(&config.storage.path);
        }
        secrets::resolve(&mut config, base_dir, &mut |key, message| self.problem_at(document.get_ref(), key, message));
        Some(config)
    }

    fn table(&mut self, path: &mut Vec<Step<'i>>, table: &DeTable<'i>) {
        for (key, value) in table {
            path.push(Step::Key(key.clone()));
            self.value(path, key.span().start, value);
            path.pop();
        }
    }

    /// Reads a configuration that consists of this value alone; goes down into tables and lists of them.
    fn value(&mut self, path: &mut Vec<Step<'i>>, at: usize, value: &Spanned<DeValue<'i>>) {
        // serde takes an array for a struct, field by field: a table is asked for where one is taken.
        let takes_table = takes(path, empty_table());
        match value.get_ref() {
            DeValue::Table(table) if takes_table => return self.table(path, table),
            DeValue::Table(_) => {}
            // A key that takes a table or a word.
            DeValue::String(_) if takes_table && takes(path, value.clone()) => return,
            other if takes_table => {
                return self.problem(at, name(path), format!("expected a table, found {}", other.type_str()));
            }
            DeValue::Array(array) => {
                path.push(Step::Element(0));
                let of_tables = takes(path, empty_table());
                path.pop();
                if of_tables {
                    for (index, element) in array.iter().enumerate() {
                        path.push(Step::Element(index));
                        self.value(path, element.span().start, element);
                        path.pop();
                    }
                    return;
                }
            }
            DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
        if let Err(error) = read_alone(path, value.clone()) {
            self.problem(at, name(path), reworded(error.message()));
        }
    }

    /// Tells of a key by its name; of the nearest table around it if it is not in the document.
    fn problem_at(&mut self, document: &DeTable<'i>, key: &str, message: &str) {
        let at = locate(document, key);
        self.problem(at, key.to_owned(), message.to_owned());
    }

    fn problem(&mut self, at: usize, key: String, message: String) {
        let line = 1 + self.text.as_bytes()[..at.min(self.text.len())].iter().filter(|&&byte| byte == b'\n').count();
        self.problems.push(Problem { line, key, message });
    }
}

/// Values with which the server could serve nobody.
fn too_small(config: &Config) -> impl Iterator<Item = (&'static str, &'static str)> {
    const TIME: &str = "expected more than 0s";
    const HEAD: &str = "expected 1KiB or more";
    let limits = &config.limits;
    [
        ("server.listen", config.server.listen.is_empty(), "expected at least one address"),
        ("limits.head_time", limits.head_time.is_zero(), TIME),
        ("limits.keep_alive_idle", limits.keep_alive_idle.is_zero(), TIME),
        ("limits.body_stall", limits.body_stall.is_zero(), TIME),
        ("limits.request_line_bytes", limits.request_line_bytes < 1024, HEAD),
        ("limits.head_bytes", limits.head_bytes < 1024, HEAD),
    ]
    .into_iter()
    .filter_map(|(key, wrong, problem)| wrong.then_some((key, problem)))
}

/// What `resources` and `endpoints` must not meet: routes of the older dialects that are on, by their keys.
fn other_paths(config: &Config) -> Vec<(&'static str, &str)> {
    let stream = &config.push_stream;
    let stream_paths = [
        ("push_stream.websocket_path", &stream.websocket_path),
        ("push_stream.longpoll_path", &stream.longpoll_path),
        ("push_stream.shortpoll_path", &stream.shortpoll_path),
        ("push_stream.stream_path", &stream.stream_path),
        ("push_stream.eventsource_path", &stream.eventsource_path),
        ("push_stream.publish_path", &stream.publish_path),
        ("push_stream.stats_path", &stream.stats_path),
    ];
    let stream_paths = stream_paths.into_iter().filter(|_| stream.enabled);
    let cable = &config.action_cable;
    let cable_paths = [
        ("action_cable.path", &cable.path),
        ("action_cable.events_path", &cable.events_path),
        ("action_cable.broadcast_path", &cable.broadcast_path),
    ];
    let cable_paths = cable_paths.into_iter().filter(|_| cable.enabled);
    let publish = config.publish.enabled.then_some(("publish.path", &config.publish.path));
    // Below the root there is room for everybody.
    let pages = admin::PATHS.into_iter().filter(|path| *path != "/").map(|path| ("a page of admin", path));
    let paths = stream_paths.chain(cable_paths).chain(publish).map(|(key, path)| (key, path.as_str()));
    paths.chain(pages).collect()
}

fn empty_table<'i>() -> Spanned<DeValue<'i>> {
    Spanned::new(0..0, DeValue::Table(DeTable::new()))
}

/// Whether a configuration may have such a value there; keys that it lacks are told later.
fn takes(path: &[Step<'_>], value: Spanned<DeValue<'_>>) -> bool {
    match read_alone(path, value) {
        Ok(_) => true,
        Err(error) => error.message().starts_with("missing field"),
    }
}

fn read_alone(path: &[Step<'_>], value: Spanned<DeValue<'_>>) -> Result<Config, Error> {
    let mut value = value;
    for step in path.iter().rev() {
        let span = value.span();
        let around = match step {
            Step::Key(key) => {
                let mut table = DeTable::new();
                table.insert(key.clone(), value);
                DeValue::Table(table)
            }
            Step::Element(_) => {
                let mut array = DeArray::new();
                array.push(value);
                DeValue::Array(array)
            }
        };
        value = Spanned::new(span, around);
    }
    let span = value.span();
    match value.into_inner() {
        DeValue::Table(root) => Config::deserialize(Deserializer::from(Spanned::new(span, root))),
        _ => unreachable!("a path begins with a key"),
    }
}

fn name(path: &[Step<'_>]) -> String {
    let mut name = String::new();
    for step in path {
        match step {
            Step::Key(key) => {
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(key.get_ref());
            }
            Step::Element(index) => name.push_str(&format!("[{index}]")),
        }
    }
    name
}

/// Where the key, or the innermost table on the way to it, stands in the text.
fn locate(document: &DeTable<'_>, key: &str) -> usize {
    let mut at = 0;
    let mut table = document;
    for part in key.split('.') {
        let (part, index) = match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
            Some((part, index)) => (part, index.parse::<usize>().ok()),
            None => (part, None),
        };
        let Some((key, value)) = table.get_key_value(part) else { return at };
        at = key.span().start;
        let mut value = value;
        if let Some(index) = index {
            let Some(element) = value.get_ref().as_array().and_then(|array| array.get(index)) else { return at };
            at = element.span().start;
            value = element;
        }
        match value.get_ref().as_table() {
            Some(inner) => table = inner,
            None => return at,
        }
    }
    at
}
