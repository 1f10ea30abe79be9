//! What is wrong with a configuration: everything at once, each with file, line, key and what was expected.

use std::fmt;

#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub file: String,
    pub problems: Vec<Problem>,
}

/// One thing that is wrong. Its message holds no secret.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// With its tables, like `server.listen` or `access.keys[0].may`; empty if the text is no TOML.
    pub key: String,
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            write!(out, "{}:{}: ", self.file, problem.line)?;
            if !problem.key.is_empty() {
                write!(out, "{}: ", problem.key)?;
            }
            out.write_str(&problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Says in our words what serde says in Rust's; suggests the known word that is nearest.
pub fn reworded(message: &str) -> String {
    for (kind, noun) in [("unknown field", "key"), ("unknown variant", "value")] {
        if let Some(rest) = message.strip_prefix(kind) {
            let words: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
            let Some((&unknown, known)) = words.split_first() else { break };
            return match nearest(unknown, known) {
                Some(word) => format!("unknown {noun}; did you mean \"{word}\"?"),
                None => format!("unknown {noun}; known are {}", known.join(", ")),
            };
        }
    }
    let Some((found, expected)) = message.rsplit_once(", expected ") else { return message.trim_end().to_owned() };
    let expected = match expected.trim_end() {
        "usize" | "u64" | "u32" | "u16" | "u8" | "i64" | "i32" => "a whole number, not negative and not too large",
        "a sequence" => "an array",
        words if words.starts_with("struct ") => "a table",
        words => words,
    };
    format!("{found}, expected {expected}")
}

/// The known word with the fewest edits, if these are at most a third of its letters.
fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    // Nobody types a key this long by mistake: the work stays small.
    let unknown = unknown.get(..unknown.len().min(64))?;
    known
        .iter()
        .map(|&word| (edits(unknown, word), word))
        .filter(|&(edits, word)| edits <= word.len().max(3) / 3)
        .min_by_key(|&(edits, _)| edits)
        .map(|(_, word)| word)
}

/// Insertions, deletions and replacements of bytes that turn one word into the other.
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, b) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_unless_all_are_far() {
        let known = ["listen", "reactors", "drain_time"];
        assert_eq!(nearest("lisen", &known), Some("listen"));
        assert_eq!(nearest("draintime", &known), Some("drain_time"));
        assert_eq!(nearest("reactor_count", &known), None);
        assert_eq!(nearest("x", &known), None);
        assert_eq!((edits("", "abc"), edits("abc", "abc"), edits("kitten", "sitting")), (3, 0, 3));
    }
}
