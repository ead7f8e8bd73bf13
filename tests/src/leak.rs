//! Counts what a test may leave behind: descriptors, mappings, processes, threads, names.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::proc;

/// How long what ends on its own, such as a killed child, may take to be gone.
const SETTLE: Duration = Duration::from_secs(5);

/// What the process had when the check began; [`LeakCheck::finish`] fails if it has more.
///
/// The counts are of the whole process: a test that runs beside others in one program has its leak check in a
/// helper program, or in a test binary of its own with one test that runs its cases in sequence.
///
/// Begin after a warm-up: the server process that starts children, and thread-local buffers, stay for good.
#[derive(Debug)]
#[must_use = "the check is made by finish"]
pub struct LeakCheck {
    before: Counts,
}

/// Each kind of thing, by description, with how many there are of it.
type Counts = BTreeMap<String, usize>;

impl LeakCheck {
    /// Notes what is there now.
    #[allow(clippy::new_without_default, reason = "it is not a value to make without thought")]
    pub fn new() -> Self {
        Self { before: counts() }
    }

    /// Says what is there more than at the beginning, once it has had time to go.
    #[must_use]
    pub fn leaks(&self, time: Duration) -> Vec<String> {
        let end = Instant::now() + time;
        loop {
            let leaks = self.compare();
            if leaks.is_empty() || Instant::now() >= end {
                return leaks;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Fails if anything is there more than at the beginning.
    pub fn finish(self) {
        let leaks = self.leaks(SETTLE);
        assert!(leaks.is_empty(), "left behind:\n  {}", leaks.join("\n  "));
    }

    fn compare(&self) -> Vec<String> {
        counts()
            .into_iter()
            .filter_map(|(what, now)| {
                let before = self.before.get(&what).copied().unwrap_or(0);
                (now > before).then(|| format!("{what}: {before} before, {now} now"))
            })
            .collect()
    }
}

fn counts() -> Counts {
    let mut counts = Counts::new();
    let mut add = |what: String| *counts.entry(what).or_default() += 1;
    for target in descriptors() {
        add(format!("descriptor of {target}"));
    }
    for mapping in mappings() {
        add(format!("mapping of {mapping}"));
    }
    let processes = proc::descendants(std::process::id().cast_signed());
    for entry in processes.iter().filter(|entry| !proc::is_spare(entry, &processes)) {
        add(format!("process {} {}", entry.pid, entry.name));
    }
    for name in names_in("/proc/self/task") {
        let comm = fs::read_to_string(format!("/proc/self/task/{name}/comm")).unwrap_or_default();
        add(format!("thread {}", comm.trim()));
    }
    for name in names_in("/dev/shm") {
        add(format!("shared memory {name}"));
    }
    counts
}

/// What the descriptors of this process refer to; numbers that tell sockets apart are left out.
#[must_use]
pub fn descriptors() -> Vec<String> {
    let links = fs::read_dir("/proc/self/fd").unwrap().flatten();
    // The directory itself is open while it is being read: its link does not resolve afterwards.
    let mut all: Vec<String> = links
        .filter_map(|file| fs::read_link(file.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .filter(|target| !(target.starts_with("/proc/") && target.ends_with("/fd")))
        .map(|target| match target.split_once(":[") {
            Some((kind, _)) => kind.to_owned(),
            None => target,
        })
        .collect();
    all.sort();
    all
}

/// The shared mappings of memory files in this process.
#[must_use]
pub fn mappings() -> Vec<String> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let shared = maps.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let shared = fields.nth(1)?.ends_with('s');
        let path = fields.nth(3)?;
        (shared && (path.starts_with("/memfd:") || path.starts_with("/dev/")))
            .then(|| path.to_owned())
    });
    shared.collect()
}

fn names_in(path: &str) -> Vec<String> {
    let files = fs::read_dir(path).into_iter().flatten().flatten();
    files.map(|file| file.file_name().to_string_lossy().into_owned()).collect()
}
