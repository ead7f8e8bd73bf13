//! What `/proc` says about this process and those that it started.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

/// A process as `/proc` shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its id.
    pub pid: i32,
    /// The id of its parent.
    pub parent: i32,
    /// Its state: `R`, `S`, `Z`, …
    pub state: char,
    /// The first 15 bytes of its name.
    pub name: String,
}

/// Reads one process; `None` when it is gone.
#[must_use]
pub fn entry(pid: i32) -> Option<Entry> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may contain some itself.
    let (head, tail) = stat.rsplit_once(") ")?;
    let name = head.split_once('(')?.1.to_owned();
    let mut fields = tail.split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Entry { pid, parent, state, name })
}

/// The state of one process; `None` when it is gone and reaped.
#[must_use]
pub fn state(pid: i32) -> Option<char> {
    entry(pid).map(|entry| entry.state)
}

/// Says whether one of these is a child that a zygote has ready for the next start, which may be another one soon.
#[must_use]
pub fn is_spare(entry: &Entry, all: &[Entry]) -> bool {
    let zygote = |parent: &Entry| parent.pid == entry.parent && parent.name == "mp-zygote";
    // It has its own name in a moment.
    matches!(entry.name.as_str(), "mp-ready" | "mp-zygote") && all.iter().any(zygote)
}

/// All processes below `root`, zombies among them, parents before children.
#[must_use]
pub fn descendants(root: i32) -> Vec<Entry> {
    let mut children: BTreeMap<i32, Vec<Entry>> = BTreeMap::new();
    for file in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = file.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(entry) = pid.and_then(entry) {
            children.entry(entry.parent).or_default().push(entry);
        }
    }
    let mut found = children.remove(&root).unwrap_or_default();
    let mut next = 0;
    while let Some(pid) = found.get(next).map(|entry| entry.pid) {
        found.extend(children.remove(&pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// Describes a process and its threads: state, where each sleeps in the kernel, which call it is in.
#[must_use]
pub fn describe(pid: i32) -> String {
    let mut text = String::new();
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let parent = entry(pid).map_or(0, |entry| entry.parent);
    let line = line.replace('\0', " ");
    let _ = writeln!(text, "process {pid} (parent {parent}) {}: {}", name.trim(), line.trim());
    let mut threads: Vec<_> =
        fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().collect();
    threads.sort_by_key(fs::DirEntry::file_name);
    for thread in threads {
        let path = thread.path();
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
        let status = read("status");
        let state =
            status.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or("?").trim();
        let id = thread.file_name();
        let _ = writeln!(
            text,
            "  thread {} {}: {state}; in {}; call {}",
            id.to_string_lossy(),
            read("comm").trim(),
            read("wchan").trim(),
            read("syscall").trim(),
        );
        for line in read("stack").lines() {
            let _ = writeln!(text, "      {line}");
        }
    }
    text
}

/// Describes this process and all below it.
#[must_use]
pub fn describe_all() -> String {
    let own = std::process::id().cast_signed();
    let mut text = describe(own);
    for entry in descendants(own) {
        text.push_str(&describe(entry.pid));
    }
    text
}
