//! One thread of this process that sleeps for all tasks, on the words of the queues that they wait for.
//!
//! It is there as long as somebody waits, and a second longer. A future that is dropped takes its wish back.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use mp_shared::ring::Ring;
use mp_shared::word::{CommitWord, Snapshot};
use mp_shared::{Source, Waitable, fork, wait};
use parking_lot::Mutex;

/// How long the thread stays when nobody waits.
const IDLE: Duration = Duration::from_secs(1);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Puts,
    Takes,
}

/// A word as it was.
#[derive(Clone)]
struct Seen {
    ring: Ring,
    side: Side,
    word: Snapshot,
}

impl Seen {
    fn word(&self) -> &CommitWord {
        match self.side {
            Side::Puts => self.ring.puts(),
            Side::Takes => self.ring.takes(),
        }
    }

    fn has_changed(&self) -> bool {
        self.word().snapshot() != self.word
    }

    /// Says whether a sleep on one of them is a sleep on the other.
    fn is_like(&self, other: &Self) -> bool {
        std::ptr::eq(self.word(), other.word()) && self.word == other.word
    }
}

impl Waitable for Seen {
    fn source(&self) -> Source<'_> {
        Source::word(self.word())
    }

    fn is_ready(&self) -> bool {
        self.has_changed()
    }
}

/// A task that waits.
struct Wish {
    id: u64,
    seen: Seen,
    late: Instant,
    waker: Waker,
}

#[derive(Default)]
struct Wishes {
    all: Vec<Wish>,
    next: u64,
    /// What the thread sleeps on, or is about to.
    watched: Vec<Seen>,
    /// When it wakes at the latest.
    until: Option<Instant>,
    running: bool,
}

/// The thread and its orders, of one process.
struct Sleeper {
    wishes: Mutex<Wishes>,
    /// Counts when the orders have changed.
    orders: CommitWord,
}

/// The word of the orders, as it was.
struct Orders<'a>(&'a CommitWord, Snapshot);

impl Waitable for Orders<'_> {
    fn source(&self) -> Source<'_> {
        Source::word(self.0)
    }

    fn is_ready(&self) -> bool {
        self.0.snapshot() != self.1
    }
}

/// That of this process, which a forked copy does not have.
static SLEEPER: Mutex<Option<(u64, Arc<Sleeper>)>> = Mutex::new(None);

fn sleeper() -> Arc<Sleeper> {
    let fresh = || Arc::new(Sleeper { wishes: Mutex::default(), orders: CommitWord::default() });
    let generation = fork::generation();
    // Held for a moment only, but by nobody at all in a copy that was forked in that moment.
    let Some(mut known) = SLEEPER.try_lock_for(Duration::from_millis(100)) else { return fresh() };
    match &*known {
        Some((of, sleeper)) if *of == generation => Arc::clone(sleeper),
        _ => {
            let sleeper = fresh();
            *known = Some((generation, Arc::clone(&sleeper)));
            sleeper
        }
    }
}

impl Sleeper {
    /// Takes a wish; if there is no thread to be had for it, an error.
    fn take(
        self: &Arc<Self>,
        id: Option<u64>,
        seen: &Seen,
        late: Instant,
        waker: &Waker,
    ) -> io::Result<u64> {
        let mut wishes = self.wishes.lock();
        let known = id.and_then(|id| wishes.all.iter().position(|wish| wish.id == id));
        if let Some(wish) = known.and_then(|at| wishes.all.get_mut(at)) {
            wish.waker.clone_from(waker);
            return Ok(wish.id);
        }
        if !wishes.running {
            let this = Arc::clone(self);
            thread::Builder::new().name("mp-queue tasks".to_owned()).spawn(move || this.run())?;
            wishes.running = true;
        }
        wishes.next += 1;
        let id = wishes.next;
        wishes.all.push(Wish { id, seen: seen.clone(), late, waker: waker.clone() });
        let in_time = wishes.until.is_some_and(|until| until <= late);
        let watched = in_time && wishes.watched.iter().any(|watched| watched.is_like(seen));
        drop(wishes);
        if !watched {
            self.orders.bump();
        }
        Ok(id)
    }

    fn drop_wish(&self, id: u64) {
        let mut wishes = self.wishes.lock();
        let before = wishes.all.len();
        wishes.all.retain(|wish| wish.id != id);
        let gone = wishes.all.len() < before;
        drop(wishes);
        if gone {
            // Else the thread would keep the memory of a queue that nobody has any more.
            self.orders.bump();
        }
    }

    fn run(&self) {
        loop {
            let mut wishes = self.wishes.lock();
            // Before the wishes are looked at: what comes later is counted later.
            let orders = Orders(&self.orders, self.orders.snapshot());
            let now = Instant::now();
            let mut due = Vec::new();
            wishes.all.retain(|wish| {
                let is_due = wish.late <= now || wish.seen.has_changed();
                if is_due {
                    due.push(wish.waker.clone());
                }
                !is_due
            });
            let mut watched: Vec<Seen> = Vec::new();
            for wish in &wishes.all {
                if !watched.iter().any(|seen| seen.is_like(&wish.seen)) {
                    watched.push(wish.seen.clone());
                }
            }
            let idle = watched.is_empty() && due.is_empty();
            let until = wishes.all.iter().map(|wish| wish.late).min().unwrap_or(now + IDLE);
            wishes.watched.clone_from(&watched);
            wishes.until = Some(until);
            drop(wishes);
            // A waker is the runtime's code, which may do what it likes.
            due.into_iter().for_each(Waker::wake);

            let objects: Vec<&dyn Waitable> = watched
                .iter()
                .map(|seen| seen as &dyn Waitable)
                .chain([&orders as &dyn Waitable])
                .collect();
            let ready = wait(&objects, Some(until.saturating_duration_since(now)));
            if ready.is_err() {
                // Nothing is known that could fail for good. It is looked again soon, and not at once.
                thread::sleep(Duration::from_millis(10));
            }
            if idle && ready.is_ok_and(|ready| ready.is_empty()) {
                let mut wishes = self.wishes.lock();
                if wishes.all.is_empty() {
                    wishes.running = false;
                    wishes.until = None;
                    return;
                }
            }
        }
    }
}

/// Ready when a word is not any more what it was, or when it is time to look anew.
pub(super) struct Changed {
    seen: Seen,
    late: Option<Instant>,
    glance: Duration,
    wish: Option<(Arc<Sleeper>, u64)>,
}

impl Changed {
    /// Reads the word now.
    pub(super) fn since(ring: &Ring, side: Side, glance: Duration) -> Self {
        let word = match side {
            Side::Puts => ring.puts().snapshot(),
            Side::Takes => ring.takes().snapshot(),
        };
        let seen = Seen { ring: ring.clone(), side, word };
        Self { seen, late: None, glance, wish: None }
    }
}

impl Future for Changed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let late = *this.late.get_or_insert_with(|| Instant::now() + this.glance);
        if this.seen.has_changed() || late <= Instant::now() {
            return Poll::Ready(());
        }
        let (sleeper, id) = match this.wish.take() {
            Some((sleeper, id)) => (sleeper, Some(id)),
            None => (sleeper(), None),
        };
        match sleeper.take(id, &this.seen, late, context.waker()) {
            Ok(id) => this.wish = Some((sleeper, id)),
            // Without a thread the task looks itself, whenever it has its turn.
            Err(_) => context.waker().wake_by_ref(),
        }
        Poll::Pending
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        if let Some((sleeper, id)) = self.wish.take() {
            sleeper.drop_wish(id);
        }
    }
}
