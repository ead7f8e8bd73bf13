//! What stands in for the kernel where there is none: under Miri, or by `--cfg mp_stand_in`, with which the same tests run natively.
//!
//! Of the system calls only sleeping on a word and waking its sleepers are left, which Miri knows. Changing a word and waking is
//! two steps then, and nobody looks after the dead: what is tested this way is everything else.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::{RobustHead, WakeOp, wake};

/// As glibc has it: a node before the head, of which only the link is used.
#[repr(C)]
struct List {
    prev: AtomicUsize,
    head: RobustHead,
}

/// As glibc's: how far the lock's word lies behind the node.
const FUTEX_OFFSET: isize = -32;

static LAST_ID: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static ID: Cell<u32> = Cell::new(LAST_ID.fetch_add(1, Ordering::Relaxed) + 1);

    /// It lives as long as its thread, which need not give it back.
    static LIST: &'static List = Box::leak(Box::new(List {
        prev: AtomicUsize::new(0),
        head: RobustHead {
            list: AtomicUsize::new(0),
            futex_offset: FUTEX_OFFSET,
            pending: AtomicUsize::new(0),
        },
    }));
}

pub(super) fn thread_id() -> u32 {
    ID.get()
}

/// A list of this thread that no kernel will ever walk.
pub(super) fn robust_head() -> NonNull<RobustHead> {
    LIST.with(|list| {
        // The pointer is to all of the list, as links to the node before the head are made from it.
        let list: &'static List = list;
        let whole = NonNull::from(list);
        let head = &list.head;
        if head.list.load(Ordering::Relaxed) == 0 {
            whole.as_ptr().expose_provenance();
            head.list.store(head.list.as_ptr().expose_provenance(), Ordering::Relaxed);
            list.prev.store(head.list.as_ptr().addr(), Ordering::Relaxed);
        }
        NonNull::from(head)
    })
}

pub(super) fn wake_op(word: &AtomicU32, count: i32, operation: WakeOp) -> usize {
    super::change(word, operation);
    wake(word, count)
}
