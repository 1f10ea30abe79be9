//! TOML to [`Config`]: each key is read alone first, so that several errors are told at once.

use super::error::{ConfigError, Problem, reworded};
use super::{Config, secrets};
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
        if config.server.listen.is_empty() {
            self.problem_at(document.get_ref(), "server.listen", "expected at least one address");
        }
        if let Err((key, problem)) = config.push_stream.check() {
            self.problem_at(document.get_ref(), &format!("push_stream.{key}"), &problem);
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

    /// Reads a configuration that consists of this value alone; goes down into tables.
    fn value(&mut self, path: &mut Vec<Step<'i>>, at: usize, value: &Spanned<DeValue<'i>>) {
        let alone = match value.get_ref() {
            DeValue::Table(_) => DeValue::Table(DeTable::new()),
            DeValue::Array(array) if holds_tables(array) => DeValue::Array(DeArray::new()),
            other => other.clone(),
        };
        if let Err(error) = read_alone(path, Spanned::new(value.span(), alone))
            && !error.message().starts_with("missing field")
        {
            self.problem(at, name(path), reworded(error.message()));
            return;
        }
        match value.get_ref() {
            DeValue::Table(table) => self.table(path, table),
            DeValue::Array(array) if holds_tables(array) => {
                for (index, element) in array.iter().enumerate() {
                    path.push(Step::Element(index));
                    self.value(path, element.span().start, element);
                    path.pop();
                }
            }
            _ => {}
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

fn holds_tables(array: &DeArray<'_>) -> bool {
    array.iter().any(|element| element.get_ref().is_table())
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
