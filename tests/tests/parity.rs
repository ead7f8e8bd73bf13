//! What `PARITY.md` says is shown by a test is shown by one that is there, and no promise about pools is left out of it.
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

/// Whether the source of a test file has a test of this name.
fn has_test(text: &str, name: &str) -> bool {
    // Where a macro makes the test, or a table, its name stands alone.
    let forms = [format!("fn {name}("), format!(" {name},"), format!("\"{name}\"")];
    forms.iter().any(|form| text.contains(form))
}

/// The cells of each row of the tables.
fn rows() -> Vec<Vec<String>> {
    let parity = fs::read_to_string(root().join("PARITY.md")).unwrap();
    let rows = parity.lines().filter(|line| line.starts_with("| ")).map(|row| {
        let row = row.replace("\\|", "/");
        row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    });
    rows.collect()
}

/// The files of tests that a cell names, and the tests in each.
fn named(tests: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    tests.split(';').filter_map(|part| part.trim().split_once(':')).map(|(file, names)| {
        (file, names.split(',').map(str::trim).filter(|name| is_name(name)).collect())
    })
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

#[test]
fn each_test_that_a_row_names_is_there() {
    let mut checked = 0;
    let mut missing = Vec::new();
    for row in rows() {
        let [number, python, state, _, tests] = &row[..] else { continue };
        if number.parse::<u32>().is_err() {
            continue;
        }
        if state == "done" && tests.is_empty() {
            missing.push(format!("{number} {python} names no test"));
        }
        for (file, names) in named(tests) {
            let text = find(file);
            checked += names.len();
            for name in names.into_iter().filter(|name| !has_test(&text, name)) {
                missing.push(format!("{number} {python}: {name} is not in {file}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(checked > 100, "only {checked} names were found to look for");
}

/// What users of pools rely on, by the ids of the list of it; some numbers were never given out.
const PROMISES: [(&str, &[u32]); 4] = [
    (
        "PL",
        &[
            1, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 15, 16, 17, 18, 19, 21, 22, 23, 24, 25, 27, 28,
            29, 30, 31, 33, 34, 35, 36, 37, 39, 40, 41,
        ],
    ),
    (
        "FX",
        &[
            1, 2, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 22, 23, 24, 25, 26, 28,
            29, 30, 31, 32, 34, 35, 36, 37, 38,
        ],
    ),
    ("FU", &[2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 14, 15]),
    ("W", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22]),
];

/// Whether the name of a test has an id in it, as `fx_18_fu_14_nothing_is_kept` has two.
fn has_id(name: &str, id: &str) -> bool {
    let (group, number) = id.split_once('-').unwrap();
    let mut in_group = false;
    name.split('_').any(|word| match word.parse::<u32>() {
        Ok(_) => in_group && word == number,
        Err(_) => {
            in_group = word.eq_ignore_ascii_case(group);
            false
        }
    })
}

#[test]
fn each_promise_about_pools_is_shown_or_ruled_out() {
    let numbers = PROMISES.iter().flat_map(|(group, all)| all.iter().map(move |n| (group, n)));
    let mut open: Vec<String> = numbers.map(|(group, n)| format!("{group}-{n:02}")).collect();
    let mut wrong = Vec::new();
    for row in rows() {
        let [id, what, tests, remark] = &row[..] else { continue };
        let Some((group, number)) = id.split_once('-') else { continue };
        if number.parse::<u32>().is_err() || !PROMISES.iter().any(|(known, _)| *known == group) {
            continue;
        }
        match open.iter().position(|other| other == id) {
            Some(at) => drop(open.remove(at)),
            None => wrong.push(format!("{id} is there twice, or is none of the promises")),
        }
        if what.is_empty() || (tests.is_empty() && remark.is_empty()) {
            wrong.push(format!("{id} has neither a test nor a reason to have none"));
        }
        let mut said = tests.is_empty();
        for (file, names) in named(tests) {
            let near = find(&format!("mp-pool/tests/{file}"));
            let text = if near.is_empty() { find(file) } else { near };
            if names.is_empty() {
                wrong.push(format!("{id}: no test is named of {file}"));
            }
            said |= text.contains(&**id) || names.iter().any(|name| has_id(name, id));
            for name in names.into_iter().filter(|name| !has_test(&text, name)) {
                wrong.push(format!("{id}: {name} is not in {file}"));
            }
        }
        if !said {
            wrong.push(format!("{id}: the tests do not say that they are for it"));
        }
    }
    wrong.extend(open.iter().map(|id| format!("{id} is left out")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
