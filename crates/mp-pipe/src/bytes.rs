//! Messages that are bytes, and nothing else.

use std::time::Duration;

use mp_wire::Deadline;

use crate::{Connection, Payload, RecvError, SendError};

impl<S, R> Connection<S, R> {
    /// Sends bytes as one message, without encoding them; [`Connection::recv_bytes`] is the counterpart.
    ///
    /// # Blocking
    ///
    /// As [`Connection::send`].
    ///
    /// # Errors
    ///
    /// As [`Connection::send`].
    ///
    /// # Examples
    ///
    /// ```
    /// let (here, there) = mp_pipe::pipe::<()>()?;
    /// here.send_bytes(&[1, 2, 3][..2])?;
    /// here.send_bytes(b"")?;
    /// assert_eq!(there.recv_bytes()?, [1, 2]);
    /// assert_eq!(there.recv_bytes()?, []);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), SendError> {
        self.link.send_bytes(bytes, Deadline::NEVER)
    }

    /// Sends bytes as one message if there is room for it now.
    ///
    /// # Errors
    ///
    /// As [`Connection::try_send`], but for encoding.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pipe::SendError;
    ///
    /// // Both ends fill the connection, and nobody hangs.
    /// let (a, b) = mp_pipe::pipe::<()>()?;
    /// let large = vec![7; 1 << 20];
    /// while a.try_send_bytes(&large).is_ok() {}
    /// while b.try_send_bytes(&large).is_ok() {}
    /// assert!(matches!(a.try_send_bytes(&large), Err(SendError::Full)));
    /// assert_eq!(a.recv_bytes()?, large);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_send_bytes(&self, bytes: &[u8]) -> Result<(), SendError> {
        self.link.send_bytes(bytes, Deadline::NOW)
    }

    /// Sends bytes as one message, and waits for room for so long at most.
    ///
    /// # Errors
    ///
    /// As [`Connection::send_timeout`], but for encoding.
    pub fn send_bytes_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<(), SendError> {
        self.link.send_bytes(bytes, Deadline::after(timeout))
    }

    /// Receives one message as bytes, whatever they mean; descriptors that came with it are closed.
    ///
    /// # Blocking
    ///
    /// As [`Connection::recv`].
    ///
    /// # Errors
    ///
    /// As [`Connection::recv`], but for decoding.
    pub fn recv_bytes(&self) -> Result<Vec<u8>, RecvError> {
        self.link.recv_bytes(Deadline::NEVER)
    }

    /// Receives one message as bytes if there is one now.
    ///
    /// # Errors
    ///
    /// As [`Connection::try_recv`], but for decoding.
    pub fn try_recv_bytes(&self) -> Result<Vec<u8>, RecvError> {
        self.link.recv_bytes(Deadline::NOW)
    }

    /// Receives one message as bytes, and waits for it for so long at most.
    ///
    /// # Errors
    ///
    /// As [`Connection::recv_timeout`], but for decoding.
    pub fn recv_bytes_timeout(&self, timeout: Duration) -> Result<Vec<u8>, RecvError> {
        self.link.recv_bytes(Deadline::after(timeout))
    }

    /// Receives one message as bytes, and does not copy a large one out of the memory that it came in.
    ///
    /// A message over 2 MiB lies in memory of its own: its sender copies it there, and here it is looked at in place.
    ///
    /// # Blocking
    ///
    /// As [`Connection::recv`].
    ///
    /// # Errors
    ///
    /// As [`Connection::recv`], but for decoding.
    ///
    /// # Examples
    ///
    /// ```
    /// let (here, there) = mp_pipe::pipe::<()>()?;
    /// here.send_bytes(&vec![1; 5_000_000])?;
    /// let payload = there.recv_payload()?;
    /// assert_eq!(payload.iter().map(|&byte| u64::from(byte)).sum::<u64>(), 5_000_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_payload(&self) -> Result<Payload, RecvError> {
        self.link.recv_payload(Deadline::NEVER)
    }

    /// Receives as [`recv_payload`](Self::recv_payload), and waits for so long at most.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`] if none came in time; else as [`Connection::recv_payload`].
    pub fn recv_payload_timeout(&self, timeout: Duration) -> Result<Payload, RecvError> {
        self.link.recv_payload(Deadline::after(timeout))
    }

    /// Receives one message as bytes into a buffer, and gives its length.
    ///
    /// # Blocking
    ///
    /// As [`Connection::recv`].
    ///
    /// # Errors
    ///
    /// [`RecvError::BufferTooShort`], which has the whole message; else as [`Connection::recv_bytes`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pipe::RecvError;
    ///
    /// let (here, there) = mp_pipe::pipe::<()>()?;
    /// let mut buffer = [b'-'; 8];
    /// here.send_bytes(b"text")?;
    /// assert_eq!(there.recv_bytes_into(&mut buffer[2..])?, 4);
    /// assert_eq!(&buffer, b"--text--");
    ///
    /// here.send_bytes(b"a longer text")?;
    /// let Err(RecvError::BufferTooShort(message)) = there.recv_bytes_into(&mut buffer) else { panic!() };
    /// assert_eq!(message, b"a longer text");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, RecvError> {
        self.link.recv_bytes_into(buffer, Deadline::NEVER)
    }

    /// Receives one message as bytes into a buffer, and waits for it for so long at most.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`] if none came in time; else as [`Connection::recv_bytes_into`].
    pub fn recv_bytes_into_timeout(
        &self,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, RecvError> {
        self.link.recv_bytes_into(buffer, Deadline::after(timeout))
    }
}
