//! What a session talks over: TCP with TLS that is always verified, or a socket of this machine.
//!
//! As in libpq, a host that begins with a slash is the folder of a server's socket. Nothing of it leaves the machine, so there
//! is nothing to encrypt.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustix::net::sockopt;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::domain::inventory::Endpoint;

/// What the kernel is asked for at once, below TLS, whose own reads are of a few kilobytes.
const WIRE_BYTES: usize = 128 << 10;
/// A server sends many small writes. To let the socket fill between two reads spares system calls on both sides: a third of
/// the server's time and half of ours.
const LET_FILL: Duration = Duration::from_micros(300);
/// A read that brought less than this was too early.
const SMALL_READ: usize = WIRE_BYTES / 2;
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The socket of a server on this machine, if an endpoint means one.
pub(super) fn local_socket(endpoint: &Endpoint) -> Option<PathBuf> {
    let folder = Path::new(&endpoint.host);
    folder.is_absolute().then(|| folder.join(format!(".s.PGSQL.{}", endpoint.port)))
}

/// A connection.
#[derive(Debug)]
pub(super) enum Wire {
    Tls(Box<StreamOwned<ClientConnection, LettingFill>>),
    Local(LettingFill),
}

impl Wire {
    /// Connects. Only a socket of this machine is used without `tls`. Until [`Self::set_read_timeout`] says otherwise no read
    /// waits for longer than `timeout` either.
    pub(super) fn open(endpoint: &Endpoint, tls: Option<Arc<ClientConfig>>, timeout: Duration) -> io::Result<Wire> {
        if let Some(socket) = local_socket(endpoint) {
            let local = UnixStream::connect(socket)?;
            local.set_read_timeout(Some(timeout))?;
            return Ok(Wire::Local(LettingFill::of(Socket::Local(local))));
        }
        let tls = tls.ok_or_else(|| io::Error::other("TLS is needed"))?;
        let tcp = connect(endpoint, timeout)?;
        let host = ServerName::try_from(endpoint.host.clone()).map_err(io::Error::other)?;
        let session = ClientConnection::new(tls, host).map_err(io::Error::other)?;
        Ok(Wire::Tls(Box::new(StreamOwned::new(session, LettingFill::of(Socket::Tcp(tcp))))))
    }

    /// Closes the connection when it is called, from whatever thread.
    pub(super) fn closer(&self) -> io::Result<impl Fn() + Send + Sync + use<>> {
        let socket = self.socket().try_clone()?;
        // One that is closed already is as well.
        Ok(move || drop(socket.shutdown()))
    }

    /// Closes the connection for all who have a hold of it.
    pub(super) fn close(&self) {
        drop(self.socket().shutdown());
    }

    /// How long a read waits; `None`: for ever.
    pub(super) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self.socket() {
            Socket::Tcp(tcp) => tcp.set_read_timeout(timeout),
            Socket::Local(local) => local.set_read_timeout(timeout),
        }
    }

    fn socket(&self) -> &Socket {
        match self {
            Wire::Tls(stream) => &stream.sock.socket,
            Wire::Local(filling) => &filling.socket,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Tls(stream) => stream.read(into),
            Wire::Local(filling) => filling.read(into),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Tls(stream) => stream.write(bytes),
            Wire::Local(filling) => filling.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Tls(stream) => stream.flush(),
            Wire::Local(filling) => filling.flush(),
        }
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Local(UnixStream),
}

impl Socket {
    fn try_clone(&self) -> io::Result<Socket> {
        match self {
            Socket::Tcp(tcp) => tcp.try_clone().map(Socket::Tcp),
            Socket::Local(local) => local.try_clone().map(Socket::Local),
        }
    }

    fn shutdown(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(tcp) => tcp.shutdown(Shutdown::Both),
            Socket::Local(local) => local.shutdown(Shutdown::Both),
        }
    }
}

/// A socket that is read in large pieces.
#[derive(Debug)]
pub(super) struct LettingFill {
    socket: Socket,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    is_early: bool,
}

impl LettingFill {
    fn of(socket: Socket) -> LettingFill {
        LettingFill { socket, buffer: vec![0; WIRE_BYTES], start: 0, end: 0, is_early: false }
    }
}

impl Read for LettingFill {
    #[expect(clippy::disallowed_methods, reason = "this thread may block, and waits for a socket and not for a time")]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            if self.is_early {
                std::thread::sleep(LET_FILL);
            }
            let read = match &mut self.socket {
                Socket::Tcp(tcp) => tcp.read(&mut self.buffer),
                Socket::Local(local) => local.read(&mut self.buffer),
            };
            self.end = read.map_err(in_words)?;
            self.start = 0;
            self.is_early = self.end < SMALL_READ;
        }
        let ready = self.buffer.get(self.start..self.end).unwrap_or_default();
        let taken = ready.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..taken), ready.get(..taken)) {
            to.copy_from_slice(from);
        }
        self.start += taken;
        Ok(taken)
    }
}

impl Write for LettingFill {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.socket {
            Socket::Tcp(tcp) => tcp.write(bytes),
            Socket::Local(local) => local.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(tcp) => tcp.flush(),
            Socket::Local(local) => local.flush(),
        }
    }
}

/// A read that has waited for as long as it may ends as one that would have had to wait, in the system's words.
fn in_words(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        return io::Error::new(io::ErrorKind::TimedOut, "the server does not answer");
    }
    error
}

/// Opens the socket, and asks for TLS as PostgreSQL has it.
fn connect(endpoint: &Endpoint, timeout: Duration) -> io::Result<TcpStream> {
    let addresses = (endpoint.host.as_str(), endpoint.port).to_socket_addrs()?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(mut tcp) => {
                tcp.set_nodelay(true)?;
                tcp.set_read_timeout(Some(timeout))?;
                // A peer that is gone is noticed: by the kernel within minutes, and before that by our deadline.
                keep_alive(&tcp)?;
                let mut request = BytesMut::new();
                frontend::ssl_request(&mut request);
                tcp.write_all(&request)?;
                let mut answer = [0];
                tcp.read_exact(&mut answer).map_err(in_words)?;
                if answer != *b"S" {
                    return Err(io::Error::other("the server does not offer TLS"));
                }
                return Ok(tcp);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn keep_alive(tcp: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(tcp, KEEPALIVE)?;
    // What is sent to a peer that is gone is not waited for much longer than what it does not send.
    let user_timeout_ms = u32::try_from(KEEPALIVE.as_millis() * 4).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(tcp, user_timeout_ms)?;
    Ok(())
}
