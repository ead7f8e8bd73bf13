//! Who is at the other end.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::geteuid;

/// Who was at the other end of a connection when it was made, as the kernel says.
///
/// [`Connection::peer`](crate::Connection::peer) gives it.
///
/// # Python
///
/// `Listener.last_accepted`, which has the address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// The process that connected, or that began to listen, or that made both ends with `pipe`.
    Process {
        /// Its id; 0 if it is outside of this process's namespace. It may be dead, and the id another process's.
        pid: u32,
        /// Its effective user.
        uid: u32,
        /// Its effective group.
        gid: u32,
    },
    /// The address of the other side, over TCP.
    Tcp(SocketAddr),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, uid, .. } => write!(f, "process {pid} of user {uid}"),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

/// Asks the kernel for the process at the other end of a UNIX socket.
pub(crate) fn of_socket(socket: &impl AsFd) -> io::Result<Peer> {
    let who = getsockopt(socket, sockopt::PeerCredentials)?;
    Ok(Peer::Process { pid: u32::try_from(who.pid()).unwrap_or(0), uid: who.uid(), gid: who.gid() })
}

/// The users whose processes may be at the other end of a UNIX socket.
///
/// The kernel tells whose process it is, on both sides; there is nothing like it over TCP.
///
/// # Examples
///
/// ```
/// use mp_pipe::{Listener, Users};
///
/// let listener = Listener::<String>::builder().users(Users::These(vec![0, 1000])).listen()?;
/// # Ok::<(), mp_pipe::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Users {
    /// The user of this process.
    #[default]
    Same,
    /// Any user.
    Any,
    /// These users, by number.
    These(Vec<u32>),
}

impl Users {
    pub(crate) fn allow(&self, peer: Peer) -> bool {
        match (self, peer) {
            (Self::Any, _) | (_, Peer::Tcp(_)) => true,
            (Self::Same, Peer::Process { uid, .. }) => uid == geteuid().as_raw(),
            (Self::These(users), Peer::Process { uid, .. }) => users.contains(&uid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_told_apart() {
        let me = geteuid().as_raw();
        let of = |uid| Peer::Process { pid: 1, uid, gid: 0 };
        assert!(Users::Same.allow(of(me)));
        assert!(!Users::Same.allow(of(me + 1)));
        assert!(Users::Any.allow(of(me + 1)));
        assert!(Users::These(vec![7, 8]).allow(of(8)));
        assert!(!Users::These(vec![7, 8]).allow(of(9)));
    }
}
