//! The main job as a user runs it: its totals, its exit codes, and its end.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use mp_examples::wordcount::{Job, sequential};

/// The example, which Cargo builds beside this test.
fn wordcount() -> Command {
    let test = std::env::current_exe().unwrap();
    Command::new(test.ancestors().nth(2).unwrap().join("examples/wordcount"))
}

fn run(arguments: &[&Path]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        wordcount().args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A folder with text in a tree, a binary file, one that is not UTF-8, and a link to nowhere.
fn mixed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir_all(path.join("deep/er")).unwrap();
    for index in 0..200 {
        let text = format!("file {index} has a word and a Word\n").repeat(index);
        fs::write(path.join(format!("deep/{index}.txt")), text).unwrap();
    }
    fs::write(path.join("deep/er/umlaut"), "Größe größe GRÖSSE").unwrap();
    fs::write(path.join("picture"), [137, 80, 78, 71, 0, 1]).unwrap();
    fs::write(path.join("latin"), [b'a', 0xe4, b'b']).unwrap();
    std::os::unix::fs::symlink("nowhere", path.join("gone")).unwrap();
    folder
}

#[test]
fn totals_are_those_of_a_sequential_count() {
    let folder = mixed();
    let (plain, _) = sequential(folder.path());
    assert_eq!((plain.files, plain.binary, plain.unreadable.len()), (201, 2, 1));
    for workers in [1, 3] {
        let mut last = (0, 0);
        let report =
            Job::new(folder.path(), workers).run(|done, found| last = (done, found)).unwrap();
        assert!(report.tally == plain);
        assert_eq!(report.letters, plain.letters);
        assert_eq!(report.summary.top, plain.top(10));
        assert_eq!(last, (204, 204), "progress ends with all files");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_the_rest_is_counted() {
    let folder = mixed();
    let (code, stdout, stderr) = run(&[folder.path()]);
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    assert!(stderr.contains("gone: No such file"), "{stderr}");
    assert!(stdout.contains("in 201 text files") && stdout.contains("2 binary files"), "{stdout}");
    assert!(stdout.contains("both counts are the same"), "{stdout}");
}

#[test]
fn a_folder_that_is_not_there_or_is_a_file_is_an_error() {
    let folder = mixed();
    for path in ["missing", "picture"] {
        let (code, stdout, stderr) = run(&[&folder.path().join(path)]);
        assert_eq!((code, stdout.as_str()), (Some(2), ""));
        assert!(stderr.contains("cannot read the folder") && stderr.contains(path), "{stderr}");
    }
    let (code, _, stderr) = run(&[Path::new("a"), Path::new("b")]);
    assert!(code == Some(2) && stderr.contains("usage"), "{stderr}");
}

#[test]
fn an_empty_folder_has_nothing_to_count() {
    let folder = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = run(&[folder.path()]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("has no text files"), "{stdout}");
}

/// The processes of a group, as `/proc` has them.
fn group(leader: u32) -> Vec<String> {
    let stat = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("stat")).ok();
    let mut found = Vec::new();
    for text in fs::read_dir("/proc").unwrap().flatten().filter_map(stat) {
        // Behind the name: state, parent, group.
        let fields: Vec<_> = text.rsplit(") ").next().unwrap_or("").split(' ').collect();
        if fields.get(2) == Some(&leader.to_string().as_str()) && fields[0] != "Z" {
            found.push(text);
        }
    }
    found
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "{what} takes too long");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn ctrl_c_ends_it_and_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    // More to count than could be done before the signal comes.
    let text = "every word of this text is counted again and again\n".repeat(1 << 20);
    for index in 0..4 {
        fs::write(folder.path().join(index.to_string()), &text).unwrap();
    }
    let mut command = wordcount();
    command.arg(folder.path()).process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
    let mut job = command.spawn().unwrap();
    until("the start of the workers", || group(job.id()).len() >= 4);

    // As the terminal does it: to the whole group.
    let kill = Command::new("kill").args(["-INT", "--", &format!("-{}", job.id())]).status();
    assert!(kill.unwrap().success());
    assert_eq!(job.wait().unwrap().signal(), Some(2));
    until("the end of the children", || group(job.id()).is_empty());
}
