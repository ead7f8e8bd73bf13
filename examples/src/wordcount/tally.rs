//! Counting the words and letters of one text.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The letters that the histogram has a place for.
pub const LETTERS: usize = 26;

/// What was counted in one or more files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Text files that were counted.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How often each word occurs, in lower case.
    pub words: HashMap<String, u64>,
    /// How often each of the letters a to z occurs, in either case.
    pub letters: [u64; LETTERS],
    /// Files that are not text: they hold a zero byte, or are not UTF-8.
    pub binary: u64,
    /// Files that could not be read, and why.
    pub unreadable: Vec<String>,
}

impl Tally {
    /// Counts the words of all files.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.words.values().sum()
    }

    /// Adds one file; one that is not text or cannot be read is noted as such.
    pub fn add_file(&mut self, path: &Path) {
        match std::fs::read(path) {
            Ok(bytes) if bytes.contains(&0) => self.binary += 1,
            Ok(bytes) => match str::from_utf8(&bytes) {
                Ok(text) => self.add_text(text),
                Err(_) => self.binary += 1,
            },
            Err(error) => self.note(path, &error),
        }
    }

    /// Notes a file or folder that could not be read.
    pub fn note(&mut self, path: &Path, error: &io::Error) {
        self.unreadable.push(format!("{}: {error}", path.display()));
    }

    /// Adds one text.
    pub fn add_text(&mut self, text: &str) {
        self.files += 1;
        self.bytes += text.len() as u64;
        for byte in text.bytes().filter(u8::is_ascii_alphabetic) {
            self.letters[usize::from(byte.to_ascii_lowercase() - b'a')] += 1;
        }
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            *self.words.entry(word.to_lowercase()).or_default() += 1;
        }
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.binary += other.binary;
        self.unreadable.extend(other.unreadable);
        for (mine, theirs) in self.letters.iter_mut().zip(other.letters) {
            *mine += theirs;
        }
        for (word, count) in other.words {
            *self.words.entry(word).or_default() += count;
        }
    }

    /// The words that occur most often, the most frequent first, in the order of the alphabet where they tie.
    #[must_use]
    pub fn top(&self, count: usize) -> Vec<(String, u64)> {
        let mut words: Vec<_> = self.words.iter().map(|(word, &n)| (word.clone(), n)).collect();
        words.sort_unstable_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
        words.truncate(count);
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_words_and_letters_in_lower_case() {
        let mut tally = Tally::default();
        tally.add_text("Don't panic. PANIC! Überall 42");
        assert_eq!(tally.top(2), [("panic".to_owned(), 2), ("42".to_owned(), 1)]);
        assert_eq!((tally.total(), tally.words["überall"], tally.letters[0]), (6, 1, 3));
    }

    #[test]
    fn merging_is_adding() {
        let (mut one, mut two, mut both) = (Tally::default(), Tally::default(), Tally::default());
        one.add_text("a b");
        two.add_text("b c");
        both.add_text("a b");
        both.add_text("b c");
        one.merge(two);
        assert_eq!(one, both);
    }
}
