//! Where a listener is found.

use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

/// The address of a [`Listener`](crate::Listener).
///
/// It is written, and parsed, as `unix:/path`, `abstract:name` or `tcp:host:port`; bytes that are not printable ASCII
/// are written `%hh`. It can be sent in messages. A path may be of any length.
///
/// # Python
///
/// The address of `multiprocessing.connection.Listener`: a string that is a path, one that begins with a zero byte,
/// or a pair of host and port. `address_type()` is the variant.
///
/// # Examples
///
/// ```
/// use mp_pipe::Address;
///
/// let address: Address = "unix:/run/jobs".parse()?;
/// assert_eq!(address, Address::from(std::path::Path::new("/run/jobs")));
/// assert_eq!(Address::from(("::1", 7000)).to_string(), "tcp:[::1]:7000");
/// assert_eq!("abstract:a%20b".parse::<Address>()?, Address::Abstract(b"a b".to_vec()));
/// assert!("tcp:localhost".parse::<Address>().is_err());
/// # Ok::<(), mp_pipe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Address {
    /// A UNIX socket in the file system.
    Unix(PathBuf),
    /// A UNIX socket that has a name but no file; the name ends with the listener. At most 107 bytes.
    Abstract(Vec<u8>),
    /// A TCP port.
    Tcp {
        /// The name or the number of the host.
        host: String,
        /// The port; 0 lets the system choose one, which [`Listener::address`](crate::Listener::address) tells.
        port: u16,
    },
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Unix(path.to_owned())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let host = match address {
            // The number of the interface is a part of what must be reached.
            SocketAddr::V6(six) if six.scope_id() != 0 => {
                format!("{}%{}", six.ip(), six.scope_id())
            }
            other => other.ip().to_string(),
        };
        Self::Tcp { host, port: address.port() }
    }
}

impl From<(IpAddr, u16)> for Address {
    fn from((host, port): (IpAddr, u16)) -> Self {
        Self::Tcp { host: host.to_string(), port }
    }
}

impl From<(&str, u16)> for Address {
    fn from((host, port): (&str, u16)) -> Self {
        Self::Tcp { host: host.to_owned(), port }
    }
}

impl From<(String, u16)> for Address {
    fn from((host, port): (String, u16)) -> Self {
        Self::Tcp { host, port }
    }
}

impl From<&Address> for Address {
    fn from(address: &Address) -> Self {
        address.clone()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => {
                f.write_str("unix:")?;
                write_escaped(f, path.as_os_str().as_bytes())
            }
            Self::Abstract(name) => {
                f.write_str("abstract:")?;
                write_escaped(f, name)
            }
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            let what = "an address is unix:/path, abstract:name or tcp:host:port";
            Error::new(ErrorKind::InvalidAddress, what)
        };
        let (family, rest) = text.split_once(':').ok_or_else(wrong)?;
        match family {
            "unix" => {
                let path = unescape(rest).filter(|path| !path.is_empty()).ok_or_else(wrong)?;
                Ok(Self::Unix(std::ffi::OsString::from_vec(path).into()))
            }
            "abstract" => Ok(Self::Abstract(unescape(rest).ok_or_else(wrong)?)),
            "tcp" => {
                let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
                let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
                let host = match inner {
                    Some(six) => {
                        let number = six.split_once('%').map_or(six, |(number, _)| number);
                        number.parse::<Ipv6Addr>().map_err(|_| wrong())?;
                        six
                    }
                    None if host.is_empty() || host.contains([':', '[', ']']) => {
                        return Err(wrong());
                    }
                    None => host,
                };
                Ok(Self::Tcp { host: host.to_owned(), port: port.parse().map_err(|_| wrong())? })
            }
            _ => Err(wrong()),
        }
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    for &byte in bytes {
        if byte.is_ascii_graphic() && byte != b'%' {
            write!(f, "{}", char::from(byte))?;
        } else {
            write!(f, "%{byte:02x}")?;
        }
    }
    Ok(())
}

/// `None` for a `%` without two digits behind it, and for a zero byte, which ends a path.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        out.push(match byte {
            b'%' => u8::try_from(digit(bytes.next())? * 16 + digit(bytes.next())?).ok()?,
            other => other,
        });
    }
    Some(out)
}

/// The longest path or name that fits in the address of a UNIX socket.
pub(crate) const MAX_NAME: usize = 107;

/// Says whether a path can be no socket's: it is empty, has a zero byte, or no file name.
pub(crate) fn is_bad_path(path: &Path) -> bool {
    path.file_name().is_none_or(OsStr::is_empty) || path.as_os_str().as_bytes().contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_parsed_as_it_is_written() {
        let odd: Vec<u8> = (0..=255).collect();
        let path = odd[1..].to_vec();
        for address in [
            Address::Unix(std::ffi::OsString::from_vec(path).into()),
            Address::Abstract(odd),
            Address::Abstract(Vec::new()),
            Address::from(("localhost", 0)),
            Address::from(("::1", 65535)),
            Address::from("127.0.0.1:80".parse::<SocketAddr>().unwrap()),
            Address::from("[fe80::1%3]:80".parse::<SocketAddr>().unwrap()),
        ] {
            assert_eq!(address.to_string().parse::<Address>().unwrap(), address, "{address}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        // LC-13
        for text in [
            "",
            "x",
            "/path",
            "unix:",
            "unix:%",
            "unix:%0g",
            "tcp:",
            "tcp:host",
            "tcp::1",
            "tcp:h:65536",
            "tcp:::1:80",
            "tcp:[h]:80",
            r"\\.\pipe\name",
            "udp:h:1",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidAddress, "{text}");
        }
    }
}
