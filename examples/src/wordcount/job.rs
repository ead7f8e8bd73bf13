//! The job: who lists, who counts, who adds up, and what passes between them.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use multiproc::manager::Dict;
use multiproc::pipe::Sender;
use multiproc::{Array, Manager, Pool, Process, Queue, Value, simplex};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::{LETTERS, Tally, walk};

/// Files that go to a worker together: the counts of few large batches are added up faster than those of many small ones.
const BATCH_FILES: usize = 256;
const BATCH_BYTES: u64 = 4 << 20;

/// How many words the manager keeps.
const FREQUENT: usize = 100;

/// What a worker found in one batch, and the processor time that it took.
#[derive(Serialize, Deserialize)]
struct Part {
    tally: Tally,
    cpu: Duration,
}

/// What the child that reads the manager's dict makes of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The most frequent words, in order.
    pub top: Vec<(String, u64)>,
    /// The most frequent letter and how often it occurs, if there is any.
    pub letter: Option<(char, u64)>,
}

/// What came out.
#[derive(Debug)]
pub struct Report {
    /// Everything that was counted.
    pub tally: Tally,
    /// The most frequent words, by way of the manager and the pipe.
    pub summary: Summary,
    /// The letters, as the shared array has them.
    pub letters: Vec<u64>,
    /// How long it took.
    pub wall: Duration,
    /// The processor time of the workers.
    pub cpu: Duration,
}

impl Report {
    /// How many processors the workers kept busy on average.
    #[must_use]
    pub fn cores(&self) -> f64 {
        self.cpu.as_secs_f64() / self.wall.as_secs_f64().max(1e-9)
    }
}

/// The job on a folder.
#[derive(Debug)]
pub struct Job<'a> {
    folder: &'a Path,
    workers: usize,
}

impl<'a> Job<'a> {
    /// A job with so many workers.
    #[must_use]
    pub fn new(folder: &'a Path, workers: usize) -> Self {
        Self { folder, workers }
    }

    /// Runs it; `progress` hears of files done and files found so far.
    ///
    /// # Errors
    ///
    /// A process cannot be started, or memory is short. A file that cannot be read is no error: the report names it.
    pub fn run(&self, mut progress: impl FnMut(u64, u64)) -> Result<Report, Box<dyn Error>> {
        let begin = Instant::now();
        let names = Queue::<Vec<PathBuf>>::new()?;
        let found = Value::new(0_u64)?;
        let letters = Array::<u64>::new(LETTERS)?;
        let arguments = (self.folder.to_owned(), names.clone(), found.clone());
        let lister = Process::new(list, arguments).name("lister").start()?;
        let pool =
            Pool::builder().workers(self.workers).initializer(adopt, (letters.clone(),)).build()?;

        let (mut tally, mut cpu, mut done) = (Tally::default(), Duration::ZERO, 0);
        let mut damage = None;
        let batches =
            names.results().map_while(|batch| batch.map_err(|error| damage = Some(error)).ok());
        for part in pool.imap_unordered(count, batches) {
            let part = part?;
            done += part.tally.files + part.tally.binary + part.tally.unreadable.len() as u64;
            tally.merge(part.tally);
            cpu += part.cpu;
            progress(done, found.get()?);
        }
        if let Some(error) = damage {
            return Err(error.into());
        }
        tally.unreadable.extend(lister.join()?);
        tally.unreadable.sort_unstable();
        pool.close();
        pool.join()?;

        let summary = summarize(&tally, &letters)?;
        let letters = letters.to_vec()?;
        Ok(Report { tally, summary, letters, wall: begin.elapsed(), cpu })
    }
}

/// The same job in this process, for comparison and as a check.
#[must_use]
pub fn sequential(folder: &Path) -> (Tally, Duration) {
    let begin = Instant::now();
    let (mut tally, mut failed) = (Tally::default(), Tally::default());
    walk(folder, &mut |path| tally.add_file(&path), &mut |path, error| failed.note(path, error));
    tally.unreadable.extend(failed.unreadable);
    tally.unreadable.sort_unstable();
    (tally, begin.elapsed())
}

/// The lister: puts the names of all files into a queue, in batches, and returns what it could not list.
fn list(folder: PathBuf, names: Queue<Vec<PathBuf>>, found: Value<u64>) -> Vec<String> {
    let (mut batch, mut bytes, mut failed) = (Vec::new(), 0, Tally::default());
    let flush = |batch: &mut Vec<PathBuf>| {
        let count = batch.len() as u64;
        // Nobody counts any more if the queue is gone: then there is nothing left to do for us either.
        let _ = names.put(batch);
        let _ = found.update(|found| found + count);
        batch.clear();
    };
    walk(
        &folder,
        &mut |path| {
            bytes += path.metadata().map_or(0, |data| data.len());
            batch.push(path);
            if batch.len() >= BATCH_FILES || bytes >= BATCH_BYTES {
                flush(&mut batch);
                bytes = 0;
            }
        },
        &mut |path, error| failed.note(path, error),
    );
    if !batch.is_empty() {
        flush(&mut batch);
    }
    names.close();
    failed.unreadable
}

/// The letters of all workers; set once in each of them.
static HISTOGRAM: OnceLock<Array<u64>> = OnceLock::new();

fn adopt(letters: Array<u64>) {
    HISTOGRAM.get_or_init(|| letters);
}

/// A worker's task.
fn count(batch: Vec<PathBuf>) -> Part {
    let begin = processor_time();
    let mut tally = Tally::default();
    for path in &batch {
        tally.add_file(path);
    }
    if let Some(Ok(mut letters)) = HISTOGRAM.get().map(Array::lock) {
        for (all, mine) in letters.iter_mut().zip(tally.letters) {
            *all += mine;
        }
    }
    Part { tally, cpu: processor_time().saturating_sub(begin) }
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Puts the frequent words into a manager's dict, and has a child make the summary of it.
fn summarize(tally: &Tally, letters: &Array<u64>) -> Result<Summary, Box<dyn Error>> {
    let manager = Manager::start()?;
    let frequent = manager.dict::<String, u64>()?;
    for (word, count) in tally.top(FREQUENT) {
        frequent.insert(&word, &count)?;
    }
    let (sender, receiver) = simplex::<Summary>()?;
    let child =
        Process::new(report, (frequent, letters.clone(), sender)).name("summary").start()?;
    let summary = receiver.recv()?;
    child.join()??;
    Ok(summary)
}

/// The child that reads the dict and the array, and sends what it makes of them.
fn report(
    frequent: Dict<String, u64>,
    letters: Array<u64>,
    sender: Sender<Summary>,
) -> Result<(), String> {
    let text = |error: &dyn Error| error.to_string();
    let mut top = frequent.items().map_err(|error| text(&error))?;
    top.sort_unstable_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
    top.truncate(10);
    let letters = letters.to_vec().map_err(|error| error.to_string())?;
    let letter = ('a'..='z').zip(letters).max_by_key(|&(_, count)| count).filter(|&(_, n)| n > 0);
    sender.send(&Summary { top, letter }).map_err(|error| text(&error))
}
