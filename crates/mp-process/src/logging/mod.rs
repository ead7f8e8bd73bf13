//! What processes log, as `tracing` events that know which process they are of.

#[cfg(feature = "tracing")]
mod record;
#[cfg(feature = "tracing")]
mod relay;
#[cfg(feature = "tracing")]
mod subscriber;

#[cfg(feature = "tracing")]
pub use record::Record;
#[cfg(feature = "tracing")]
pub use relay::{relay_logs, relay_logs_to};
#[cfg(feature = "tracing")]
pub use subscriber::log_to_stderr;
#[cfg(feature = "tracing")]
pub(crate) use subscriber::{Setup, inherit, setup};

/// What a child is told about logging.
#[cfg(not(feature = "tracing"))]
pub(crate) type Setup = ();

#[cfg(not(feature = "tracing"))]
pub(crate) fn setup() -> Setup {}

#[cfg(not(feature = "tracing"))]
pub(crate) fn inherit((): &Setup) {}

/// An event of this crate's own, if the feature `tracing` is on. Not while a lock is held: whoever listens may start processes.
macro_rules! event {
    ($level:ident, $($rest:tt)*) => {
        #[cfg(feature = "tracing")]
        tracing::event!(target: "mp_process", tracing::Level::$level, $($rest)*);
    };
}

pub(crate) use event;
