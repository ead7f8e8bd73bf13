//! Making connections.

use std::io;

use crate::link::Link;
use crate::{Connection, Receiver, Sender};

/// Makes a connection whose two ends both send and receive messages of type `T`.
///
/// Give one end to another process, as an argument or in a message; [`Connection::pair`] is for messages of a
/// different type each way.
///
/// # Python
///
/// `multiprocessing.Pipe()`
///
/// # Errors
///
/// The process has as many descriptors open as it may have.
///
/// # Examples
///
/// ```
/// let (here, there) = mp_pipe::pipe::<(u32, String)>()?;
/// here.send(&(1, "one".to_owned()))?;
/// there.send(&(2, "two".to_owned()))?;
/// assert_eq!(there.recv()?, (1, "one".to_owned()));
/// assert_eq!(here.recv()?, (2, "two".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "Pipe")]
pub fn pipe<T>() -> io::Result<(Connection<T>, Connection<T>)> {
    Connection::pair()
}

/// Makes a connection that goes one way: from its sender to its receiver.
///
/// The wrong direction does not compile:
///
/// ```compile_fail
/// let (sender, receiver) = mp_pipe::simplex::<u8>()?;
/// let _ = sender.recv();
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Python
///
/// `multiprocessing.Pipe(duplex=False)`, whose ends come the other way round.
///
/// # Errors
///
/// The process has as many descriptors open as it may have.
///
/// # Examples
///
/// ```
/// let (sender, receiver) = mp_pipe::simplex::<Vec<f64>>()?;
/// sender.send(&vec![0.5, 1.5])?;
/// assert_eq!(receiver.recv()?, [0.5, 1.5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn simplex<T>() -> io::Result<(Sender<T>, Receiver<T>)> {
    let (sender, receiver) = Link::pair()?;
    Ok((Sender::from_link(sender), Receiver::from_link(receiver)))
}
