//! Children do not outlive their parent, whoever of the family is killed.
#![allow(clippy::unwrap_used, reason = "what goes wrong here must fail the test")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use mp_tests::step::within_liveness;
use mp_tests::{guard, proc};

struct Family {
    root: Child,
    output: BufReader<std::process::ChildStdout>,
    second: i32,
    third: i32,
    /// Everybody below the root: servers and workers, too.
    all: Vec<proc::Entry>,
}

impl Family {
    fn start(method: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_family"));
        let mut root = command.arg(method).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(root.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["ready", second, third] = words[..] else { panic!("{method}: {line:?}") };
        let all = proc::descendants(root.id().cast_signed());
        // At least the two, two workers and the manager's server.
        assert!(all.len() >= 5, "{method}: {all:?}");
        Self { root, output, second: second.parse().unwrap(), third: third.parse().unwrap(), all }
    }
}

fn kill(pid: i32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

fn is_gone(pid: i32) -> bool {
    // Whoever inherits an orphan may not reap it.
    matches!(proc::state(pid), None | Some('Z' | 'X'))
}

fn all_gone(who: &[proc::Entry]) {
    let alive = || who.iter().filter(|entry| !is_gone(entry.pid)).collect::<Vec<_>>();
    let (gone, _) = within_liveness(|| alive().is_empty());
    assert!(gone, "left: {:?}", alive());
}

const METHODS: [&str; 3] = ["forkserver", "spawn", "fork"];

#[test]
fn nobody_outlives_the_root() {
    let _guard = guard::minute();
    for method in METHODS {
        let mut family = Family::start(method);
        kill(family.root.id().cast_signed());
        family.root.wait().unwrap();
        all_gone(&family.all);
    }
}

#[test]
fn nobody_outlives_the_second_generation() {
    let _guard = guard::minute();
    for method in METHODS {
        let mut family = Family::start(method);
        kill(family.second);
        // The root is told how its child ended, and lives on.
        let mut line = String::new();
        family.output.read_line(&mut line).unwrap();
        assert!(line.contains("killed") || line.contains("signal"), "{method}: {line:?}");
        let root = family.root.id().cast_signed();
        // Only what the root itself has stays: the server that forks for it, with a child for the next start.
        let stays = |entry: &&proc::Entry| {
            let of_root = |other: &proc::Entry| other.pid == entry.parent && other.parent == root;
            entry.parent == root
                || (proc::is_spare(entry, &family.all) && family.all.iter().any(of_root))
        };
        let below: Vec<_> = family.all.iter().filter(|entry| !stays(entry)).cloned().collect();
        assert!(below.iter().any(|entry| entry.pid == family.third), "{method}: {below:?}");
        all_gone(&below);
        assert!(!is_gone(root), "{method}: the root is gone, too");
        kill(root);
        family.root.wait().unwrap();
        all_gone(&family.all);
    }
}
