//! A session for a thread that may block, made for `COPY … TO STDOUT`: rows are read in large pieces.
//!
//! A server sends a message for each row. tokio-postgres hands each of them out on its own, which costs more than reading
//! them; here a whole buffer of them becomes a run of rows in one pass.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::backend::{ErrorFields, ErrorResponseBody, Message};
use postgres_protocol::message::frontend;
use rustls::ClientConfig;
use secrecy::ExposeSecret;

use super::copy_data::{COPY_DATA, HEAD, join_rows};
use super::wire::Wire;
use crate::domain::id::DatabaseName;
use crate::ports::credentials::Login;
use crate::ports::postgres::{RowSink, Session, Stopper, TextEncoding};
use crate::ports::{ErrorKind, PortError};

/// What is read at once and handed on at once.
const BUFFER_BYTES: usize = 256 << 10;

/// One session of a server.
pub(super) struct DumpSession {
    stream: Wire,
    buffer: Vec<u8>,
    /// What is in the buffer and not yet understood.
    start: usize,
    end: usize,
    named: String,
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the protocol has forty messages, and those that have no place here are all alike"
)]
impl DumpSession {
    /// Connects and logs in; `name` appears as application name in `pg_stat_activity`.
    pub(super) fn open(
        login: &Login,
        database: &DatabaseName,
        tls: Option<Arc<ClientConfig>>,
        name: &str,
        timeout: Duration,
    ) -> Result<DumpSession, PortError> {
        let named = format!("database {database} at {}:{}", login.endpoint.host, login.endpoint.port);
        let opened = || -> Result<DumpSession, Broken> {
            let mut connection = DumpSession {
                stream: Wire::open(&login.endpoint, tls, timeout)?,
                buffer: vec![0; BUFFER_BYTES],
                start: 0,
                end: 0,
                named: named.clone(),
            };
            connection.log_in(login, database, name)?;
            connection.stream.set_read_timeout(None)?;
            Ok(connection)
        };
        opened().map_err(|broken| broken.into_port(format!("connect to {named}")))
    }

    fn log_in(&mut self, login: &Login, database: &DatabaseName, name: &str) -> Result<(), Broken> {
        let parameters = [
            ("user", login.user.as_str()),
            ("database", database.as_str()),
            ("application_name", name),
            ("client_encoding", TextEncoding::Utf8.client_encoding()),
            ("options", OPTIONS),
        ];
        self.send(|buffer| frontend::startup_message(parameters, buffer))?;
        let password = login.password.expose_secret().as_bytes();
        let mut scram = None;
        let mut text = TextEncoding::default();
        loop {
            match self.message()? {
                Message::AuthenticationOk | Message::BackendKeyData(_) => {}
                Message::ParameterStatus(body) => {
                    if body.name()? == "server_encoding" {
                        text = TextEncoding::of_database(body.value()?);
                    }
                }
                Message::AuthenticationCleartextPassword => {
                    self.send(|buffer| frontend::password_message(password, buffer))?;
                }
                Message::AuthenticationMd5Password(body) => {
                    let hash = md5_hash(login.user.as_bytes(), password, body.salt());
                    self.send(|buffer| frontend::password_message(hash.as_bytes(), buffer))?;
                }
                Message::AuthenticationSasl(_) => {
                    let begun = sasl::ScramSha256::new(password, sasl::ChannelBinding::unsupported());
                    let mechanism = sasl::SCRAM_SHA_256;
                    self.send(|buffer| frontend::sasl_initial_response(mechanism, begun.message(), buffer))?;
                    scram = Some(begun);
                }
                Message::AuthenticationSaslContinue(body) => {
                    let scram = scram.as_mut().ok_or(Broken::Unexpected)?;
                    scram.update(body.data())?;
                    self.send(|buffer| frontend::sasl_response(scram.message(), buffer))?;
                }
                Message::AuthenticationSaslFinal(body) => {
                    scram.as_mut().ok_or(Broken::Unexpected)?.finish(body.data())?;
                }
                Message::NoticeResponse(_) => {}
                Message::ErrorResponse(body) => return Err(refusal(&body)),
                Message::ReadyForQuery(_) => break,
                _ => return Err(Broken::Unexpected),
            }
        }
        if text == TextEncoding::AnyBytes {
            self.rows(&format!("SET client_encoding = '{}'", text.client_encoding()))?;
        }
        Ok(())
    }

    fn send(&mut self, form: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> Result<(), Broken> {
        let mut message = BytesMut::new();
        form(&mut message)?;
        self.stream.write_all(&message)?;
        self.stream.flush()?;
        Ok(())
    }

    /// The next message, whatever it is.
    fn message(&mut self) -> Result<Message, Broken> {
        loop {
            let unread = self.buffer.get(self.start..self.end).unwrap_or_default();
            let mut bytes = BytesMut::from(unread);
            if let Some(message) = Message::parse(&mut bytes)? {
                self.start = self.end - bytes.len();
                return Ok(message);
            }
            self.fill()?;
        }
    }

    /// Reads more, behind what is not understood yet.
    fn fill(&mut self) -> Result<(), Broken> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            // A message of the slow kind that does not fit: an error with a long query in it.
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        match self.stream.read(room)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            read => {
                self.end += read;
                Ok(())
            }
        }
    }

    fn rows(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Broken> {
        self.send(|buffer| frontend::query(sql, buffer))?;
        let (mut rows, mut refused) = (Vec::new(), None);
        loop {
            let message = match (self.message(), refused) {
                // A session that is ended is told why, and then there is nothing more: why is what counts.
                (Err(_), Some(refused)) => return Err(refused),
                (message, earlier) => {
                    refused = earlier;
                    message?
                }
            };
            match message {
                Message::DataRow(body) => {
                    let mut row = Vec::new();
                    let mut ranges = body.ranges();
                    while let Some(range) = ranges.next()? {
                        let text = range.map(|range| body.buffer().get(range).unwrap_or_default());
                        row.push(text.map(|text| String::from_utf8_lossy(text).into_owned()));
                    }
                    rows.push(row);
                }
                // What comes after it is only that the session is ready again.
                Message::ErrorResponse(body) => refused = Some(refusal(&body)),
                Message::ReadyForQuery(_) => return refused.map_or(Ok(rows), Err),
                _ => {}
            }
        }
    }

    fn copy(&mut self, sql: &str, sink: &mut dyn RowSink) -> Result<u64, Broken> {
        self.send(|buffer| frontend::query(sql, buffer))?;
        let (mut counted, mut refused) = (None, None);
        // Bytes of a row that are still to come.
        let mut left = 0;
        loop {
            let (run, is_other) = join_rows(&mut self.buffer, &mut self.start, self.end, &mut left);
            let text = self.buffer.get(run).unwrap_or_default();
            if !text.is_empty() {
                sink.take(text).map_err(Broken::Sink)?;
            }
            let read = if is_other { self.message().map(Some) } else { self.fill().map(|()| None) };
            let Some(message) = read.map_err(|broken| refused.take().unwrap_or(broken))? else { continue };
            match message {
                Message::CommandComplete(body) => {
                    counted = body.tag()?.strip_prefix("COPY ").and_then(|count| count.parse().ok());
                }
                Message::ReadyForQuery(_) => return refused.map_or(counted.ok_or(Broken::Unexpected), Err),
                // What comes after it is that the session is ready again, or gone.
                Message::ErrorResponse(body) => refused = Some(without_values(refusal(&body))),
                // Such as a page that is damaged, of which it has made an empty one: what comes then is not all.
                Message::NoticeResponse(body) => {
                    let notice = words(body.fields());
                    if matches!(&notice, Broken::Refused { code, .. } if code.starts_with("XX")) {
                        refused.get_or_insert(notice);
                    }
                }
                Message::CopyOutResponse(_) | Message::CopyDone => {}
                Message::ParameterStatus(_) => {}
                _ => return Err(Broken::Unexpected),
            }
        }
    }

    fn take_in(&mut self, sql: &str, rows: &mut dyn Read) -> Result<u64, Broken> {
        self.send(|buffer| frontend::query(sql, buffer))?;
        let (mut counted, mut refused) = (None, None);
        loop {
            match self.message()? {
                Message::CopyInResponse(_) => {
                    if let Err(cause) = self.send_rows(rows) {
                        // The server takes back what it has; its answer says no more than that.
                        self.send(|buffer| frontend::copy_fail("the rows have come to no good end", buffer))?;
                        refused.get_or_insert(cause);
                    }
                }
                Message::CommandComplete(body) => {
                    counted = body.tag()?.strip_prefix("COPY ").and_then(|count| count.parse().ok());
                }
                Message::ErrorResponse(body) => {
                    refused.get_or_insert_with(|| without_values(refusal(&body)));
                }
                Message::ReadyForQuery(_) => return refused.map_or(counted.ok_or(Broken::Unexpected), Err),
                Message::NoticeResponse(_) | Message::ParameterStatus(_) => {}
                _ => return Err(Broken::Unexpected),
            }
        }
    }

    fn send_rows(&mut self, rows: &mut dyn Read) -> Result<(), Broken> {
        let mut message = vec![0; BUFFER_BYTES];
        let mut read = HEAD;
        loop {
            // Full messages, whatever pieces the rows come in.
            let room = message.get_mut(read..).unwrap_or_default();
            let more = match rows.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                more => more.map_err(|error| Broken::Sink(error.into()))?,
            };
            read += more;
            if read < message.len() && more > 0 {
                continue;
            }
            if read > HEAD {
                let length = u32::try_from(read - 1).map_err(io::Error::other)?.to_be_bytes();
                let head = [COPY_DATA, length[0], length[1], length[2], length[3]];
                message.get_mut(..HEAD).unwrap_or_default().copy_from_slice(&head);
                self.stream.write_all(message.get(..read).unwrap_or_default())?;
            }
            if more == 0 {
                return self.send(|buffer| {
                    frontend::copy_done(buffer);
                    Ok(())
                });
            }
            read = HEAD;
        }
    }
}

impl Session for DumpSession {
    fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, PortError> {
        let what = format!("query {}", self.named);
        self.rows(sql).map_err(|broken| broken.into_port(what))
    }

    fn copy_out(&mut self, statement: &str, sink: &mut dyn RowSink) -> Result<u64, PortError> {
        self.copy(statement, sink).map_err(|broken| broken.into_port(format!("read rows of {}", self.named)))
    }

    fn copy_in(&mut self, statement: &str, rows: &mut dyn Read) -> Result<u64, PortError> {
        self.take_in(statement, rows).map_err(|broken| broken.into_port(format!("write rows to {}", self.named)))
    }

    fn stopper(&self) -> Result<Stopper, PortError> {
        let closer = self.stream.closer();
        Ok(Box::new(closer.map_err(|error| Broken::Io(error).into_port(format!("watch {}", self.named)))?))
    }
}

/// As pg_dump sets them (`setup_connection` in pg_dump.c), so that the text is the same, and so that a row which policies
/// hide is an error. Time zone and form of `bytea` are fixed besides: rows are compared with those of another server.
const OPTIONS: &str = "-c DateStyle=ISO -c IntervalStyle=POSTGRES -c extra_float_digits=3 -c synchronize_seqscans=off \
     -c TimeZone=UTC -c bytea_output=hex -c statement_timeout=0 -c lock_timeout=0 \
     -c idle_in_transaction_session_timeout=0 -c row_security=off -c enable_tidscan=on \
     -c search_path=";

/// Why a connection is of no use any more.
#[derive(Debug)]
enum Broken {
    Io(io::Error),
    /// In the server's words.
    Refused {
        code: String,
        message: String,
    },
    /// A message that has no place here.
    Unexpected,
    /// The rows could not be taken.
    Sink(crate::ports::Cause),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Io(error)
    }
}

impl Broken {
    fn into_port(self, what: String) -> PortError {
        match self {
            Broken::Io(error) => PortError::new(what, ErrorKind::Transient).because(error),
            Broken::Refused { code, message } => {
                PortError::new(what, super::kind_of_code(Some(&code))).because(format!("{message} (SQLSTATE {code})"))
            }
            Broken::Unexpected => {
                PortError::new(what, ErrorKind::Other).because("the server's answer has an unknown form")
            }
            Broken::Sink(cause) => PortError::new(what, ErrorKind::Other).because(cause),
        }
    }
}

/// The server's words without its details: those can hold values of rows.
fn refusal(body: &ErrorResponseBody) -> Broken {
    words(body.fields())
}

fn words(mut fields: ErrorFields<'_>) -> Broken {
    let (mut code, mut message) = (String::new(), String::new());
    while let Ok(Some(field)) = fields.next() {
        match field.type_() {
            b'C' => code = String::from_utf8_lossy(field.value_bytes()).into_owned(),
            b'M' => message = String::from_utf8_lossy(field.value_bytes()).into_owned(),
            _ => {}
        }
    }
    Broken::Refused { code, message }
}

/// A refusal of rows quotes them in its very message: only its code is kept.
fn without_values(refused: Broken) -> Broken {
    match refused {
        Broken::Refused { code, .. } if ["22", "23", "P0"].iter().any(|class| code.starts_with(class)) => {
            Broken::Refused { code, message: "the server refuses a row".to_owned() }
        }
        Broken::Refused { .. } | Broken::Io(_) | Broken::Unexpected | Broken::Sink(_) => refused,
    }
}

impl Drop for DumpSession {
    /// Whoever holds a closer holds the socket, too; the server must hear of the end all the same, and let its locks go.
    fn drop(&mut self) {
        self.stream.close();
    }
}

impl std::fmt::Debug for DumpSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DumpSession({})", self.named)
    }
}
