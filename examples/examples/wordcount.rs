//! Counts the words of all text files under a folder in a pool of processes.
//!
//! Run it with `cargo run --release --example wordcount -- [FOLDER]`; without one it counts this repository.
//! It exits with 0 when all was counted, 1 when some files could not be read, and 2 when there was nothing to do.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use mp_examples::wordcount::{Job, Report, sequential};
use multiproc::cpu_count;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let folder = arguments.next().map_or_else(repository, PathBuf::from);
    if arguments.next().is_some() || folder.as_os_str().as_encoded_bytes().starts_with(b"-") {
        eprintln!("usage: wordcount [FOLDER]");
        return ExitCode::from(2);
    }
    // Asking for the entries tells more than asking for the kind: the folder may be there and closed to us.
    if let Err(error) = std::fs::read_dir(&folder) {
        eprintln!("wordcount: cannot read the folder {}: {error}", folder.display());
        return ExitCode::from(2);
    }
    let bar = progress_bar();
    let report = Job::new(&folder, cpu_count()).run(|done, found| {
        bar.set_length(found);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    match report {
        Ok(report) => print(&folder, &report),
        Err(error) => {
            eprintln!("wordcount: {error}");
            ExitCode::from(2)
        }
    }
}

/// This repository: where the example lies, or where it is run if that is gone.
fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    if root.is_dir() { root.to_owned() } else { PathBuf::from(".") }
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} files, {elapsed}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn print(folder: &Path, report: &Report) -> ExitCode {
    let tally = &report.tally;
    for line in &tally.unreadable {
        eprintln!("wordcount: cannot read {line}");
    }
    let status = ExitCode::from(u8::from(!tally.unreadable.is_empty()));
    if tally.files == 0 {
        println!("{} has no text files ({} are binary)", folder.display(), tally.binary);
        return status;
    }
    println!("{}", folder.display());
    for (word, count) in &report.summary.top {
        println!("{count:>10}  {word}");
    }
    println!(
        "{} words, {} of them different, in {} text files of {:.1} MiB; {} binary files passed over",
        tally.total(),
        tally.words.len(),
        tally.files,
        tally.bytes as f64 / f64::from(1 << 20),
        tally.binary,
    );
    if let Some((letter, count)) = report.summary.letter {
        println!("the most frequent letter is {letter}, {count} times");
    }

    let (plain, alone) = sequential(folder);
    let same = plain.words == tally.words && plain.letters[..] == report.letters[..];
    println!(
        "{:.1?} with {} workers, which kept {:.2} cores busy; {:.1?} in one process ({:.2} times as long)",
        report.wall,
        cpu_count(),
        report.cores(),
        alone,
        ratio(alone, report.wall),
    );
    if same {
        println!("both counts are the same");
    } else {
        println!("the counts differ: files have changed in between");
    }
    status
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64().max(1e-9)
}
