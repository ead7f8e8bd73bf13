//! The hand-over of the pump under schedules that a model chooses: who runs next is decided before each lock, each wake and each
//! step of a worker, and time passes only when the model says so.
//!
//! The code is the one that is shipped. In tests [`crate::sync`] has the locks, conditions and threads of `shuttle` in place of the
//! real ones; workers, the bell and the thread that looks after workers are small stand-ins that use the same.
//!
//! Whoever sleeps with a time limit is woken by the passing of time when nobody else can run, which hides no lost wake: before time
//! passes, nobody may be asleep who has reason not to be. Some of the schedules let limits run out at any moment, too.

mod pool;
mod schedule;
pub(crate) mod sync;
mod tests;
