//! What `PARITY.md` says is shown by a test is shown by one that is there.
#![allow(clippy::unwrap_used, reason = "what goes wrong here must fail the test")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All the source in a file, or in the files of a folder; empty if there is neither.
fn source(path: &Path) -> String {
    if path.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap()).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        return entries.iter().map(|entry| source(&entry.path())).collect();
    }
    fs::read_to_string(path).unwrap_or_default()
}

/// The source of what a row calls by a path below the root or `crates`, or by the name of a file of tests alone.
fn find(file: &str) -> String {
    let root = root();
    let mut places = vec![root.join(file), root.join("crates").join(file)];
    for entry in fs::read_dir(root.join("crates")).unwrap() {
        places.push(entry.unwrap().path().join("tests").join(file));
    }
    let with_extension = places.iter().map(|place| place.with_extension("rs"));
    let all: Vec<PathBuf> = places.iter().cloned().chain(with_extension).collect();
    all.iter().map(|place| source(place)).find(|text| !text.is_empty()).unwrap_or_default()
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

#[test]
fn each_test_that_a_row_names_is_there() {
    let parity = fs::read_to_string(root().join("PARITY.md")).unwrap();
    let mut checked = 0;
    let mut missing = Vec::new();
    for row in parity.lines().filter(|line| line.starts_with("| ")) {
        let row = row.replace("\\|", "/");
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, number, python, state, _, tests, ..] = cells[..] else { continue };
        if number.parse::<u32>().is_err() {
            continue;
        }
        if state == "done" && tests.is_empty() {
            missing.push(format!("{number} {python} names no test"));
        }
        for (file, names) in tests.split(';').filter_map(|part| part.trim().split_once(':')) {
            let text = find(file);
            for name in names.split(',').map(str::trim).filter(|name| is_name(name)) {
                checked += 1;
                // Where a macro makes the test, its name stands alone.
                let there =
                    text.contains(&format!("fn {name}(")) || text.contains(&format!(" {name},"));
                if !there {
                    missing.push(format!("{number} {python}: {name} is not in {file}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(checked > 100, "only {checked} names were found to look for");
}
