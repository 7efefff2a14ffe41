// SPDX-License-Identifier: Apache-2.0
//! One HTTP call: a question that is given up after a while, or an order that is never given up.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::oneshot;
use ureq::Agent;

use crate::routing::codis::calls::{Calls, OpenCall};
use crate::routing::codis::model::Cause;

/// Pooled connections to a dashboard and its proxies.
///
/// Each call has a thread of its own, none of the runtime's: a server that hangs would keep the runtime from ending.
#[derive(Clone, Debug)]
pub(super) struct Http {
    agent: Agent,
    calls: Arc<Calls>,
}

impl Http {
    pub(super) fn new(calls: Arc<Calls>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .accept_encoding("")
            .max_idle_connections(IDLE_CONNECTIONS)
            .timeout_connect(Some(CONNECT_TIMEOUT));
        Self { agent: Agent::new_with_config(config.build()), calls }
    }

    /// Asks for `path`, which waits for whatever the server does at the moment. The answer is read beside the runtime.
    pub(super) fn get<T, R>(&self, address: &str, path: &str, patience: Duration, read: R) -> Answer<T>
    where
        T: Send + 'static,
        R: FnOnce(&[u8]) -> serde_json::Result<T> + Send + 'static,
    {
        self.ask(address, path, patience, true, read)
    }

    /// Asks for `path`, which is answered whatever else the server does: it does not tell that anything is done.
    pub(super) fn peek<T, R>(&self, address: &str, path: &str, patience: Duration, read: R) -> Answer<T>
    where
        T: Send + 'static,
        R: FnOnce(&[u8]) -> serde_json::Result<T> + Send + 'static,
    {
        self.ask(address, path, patience, false, read)
    }

    fn ask<T, R>(&self, address: &str, path: &str, patience: Duration, waits: bool, read: R) -> Answer<T>
    where
        T: Send + 'static,
        R: FnOnce(&[u8]) -> serde_json::Result<T> + Send + 'static,
    {
        let (http, address, uri) = (self.clone(), address.to_owned(), uri(address, path));
        Answer::begin(patience, move |answer| {
            let asked = Instant::now();
            let request = http.agent.get(uri).config().timeout_global(Some(patience)).build();
            let outcome = body_of(request.call(), patience).and_then(|body| read(&body).map_err(Fault::unreadable));
            if waits || matches!(outcome, Err(Fault::Gone)) {
                http.note(&address, asked, &outcome);
            }
            // Nobody waits any more when it took too long.
            let _ = answer.send(outcome);
        })
    }

    /// Sends `body` to `path`. The call goes on when nobody waits for its answer any more.
    pub(super) fn put<B: Serialize>(
        &self,
        address: &str,
        path: &str,
        body: &B,
        call: OpenCall,
        patience: Duration,
    ) -> Answer<()> {
        let body = serde_json::to_vec(body).expect("our own structs are JSON");
        let (http, address, uri) = (self.clone(), address.to_owned(), uri(address, path));
        Answer::begin(patience, move |answer| {
            let asked = Instant::now();
            let request = http.agent.put(uri).config().timeout_global(Some(ORDER_TIMEOUT)).build();
            let request = request.header("Content-Type", "application/json");
            let outcome = match body_of(request.send(body), ORDER_TIMEOUT) {
                // It was sent and may be carried out at any time.
                Err(Fault::Silent(patience)) => Err(Fault::Broken(format!("no answer within {patience:?}"))),
                outcome => outcome.map(|_| ()),
            };
            http.note(&address, asked, &outcome);
            call.end(&outcome, !answer.is_closed());
            let _ = answer.send(outcome);
        })
    }

    fn note<T>(&self, address: &str, asked: Instant, outcome: &Result<T, Fault>) {
        match outcome {
            Ok(_) | Err(Fault::Refused { .. } | Fault::Unreadable(_)) => self.calls.answered(address, asked),
            Err(Fault::Gone) => self.calls.gone(address),
            Err(Fault::Silent(_) | Fault::Unreachable(_) | Fault::Broken(_) | Fault::Busy) => {}
        }
    }
}

/// The answer to a call that has been sent.
#[derive(Debug)]
pub(super) struct Answer<T> {
    answer: oneshot::Receiver<Result<T, Fault>>,
    until: Instant,
    patience: Duration,
}

impl<T: Send + 'static> Answer<T> {
    fn begin(patience: Duration, call: impl FnOnce(oneshot::Sender<Result<T, Fault>>) + Send + 'static) -> Self {
        let (sender, answer) = oneshot::channel();
        let thread = std::thread::Builder::new().name("codis-call".to_owned());
        // Without a thread the sender is dropped, which is waited for below.
        if let Err(error) = thread.spawn(move || call(sender)) {
            tracing::warn!(%error, "there is no thread for a call to codis");
        }
        Self { answer, until: Instant::now() + patience, patience }
    }

    /// Waits for it, for the rest of the patience.
    pub(super) async fn wait(self) -> Result<T, Fault> {
        match tokio::time::timeout_at(self.until.into(), self.answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Fault::Broken("the call has ended without an outcome".to_owned())),
            Err(_) => Err(Fault::Silent(self.patience)),
        }
    }
}

/// Why there is no answer, or not the wanted one. It reads after the name of the server.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// Nobody listens at the address: the process is gone.
    Gone,
    /// The address cannot be reached; nothing was sent.
    Unreachable(String),
    /// No answer for so long.
    Silent(Duration),
    /// The connection broke: whether the call was carried out is not known.
    Broken(String),
    /// It answered with an error.
    Refused {
        /// The HTTP status, 800 as a rule.
        status: u16,
        /// What it says.
        cause: String,
    },
    /// It answered something else than it should.
    Unreadable(String),
    /// It was not asked.
    Busy,
}

impl Fault {
    fn unreadable(error: serde_json::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("is not running, nobody listens there"),
            Self::Unreachable(why) => write!(f, "cannot be reached: {why}"),
            Self::Silent(patience) => write!(f, "has not answered within {patience:.0?}"),
            Self::Broken(why) => write!(f, "broke the connection: {why}"),
            Self::Refused { status, cause } => write!(f, "answered {status}: {cause}"),
            Self::Unreadable(why) => write!(f, "answered what cannot be read: {why}"),
            Self::Busy => f.write_str("has not answered our lock yet"),
        }
    }
}

impl From<ureq::Error> for Fault {
    fn from(error: ureq::Error) -> Self {
        use io::ErrorKind;
        match error {
            ureq::Error::Io(error) => match error.kind() {
                ErrorKind::ConnectionRefused => Self::Gone,
                ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable => {
                    Self::Unreachable(error.to_string())
                }
                _ => Self::Broken(error.to_string()),
            },
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                Self::Unreachable("no connection in time".to_owned())
            }
            ureq::Error::HostNotFound => Self::Unreachable("the host is not known".to_owned()),
            // These two name the path, which holds a secret.
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => Self::Unreachable("the address is not valid".to_owned()),
            other => Self::Broken(other.to_string()),
        }
    }
}

type Response = Result<ureq::http::Response<ureq::Body>, ureq::Error>;

fn body_of(response: Response, patience: Duration) -> Result<Vec<u8>, Fault> {
    let fault = |error| match error {
        ureq::Error::Timeout(ureq::Timeout::Global) => Fault::Silent(patience),
        other => Fault::from(other),
    };
    let mut response = response.map_err(fault)?;
    let status = response.status().as_u16();
    let body = response.body_mut().read_to_vec().map_err(fault)?;
    if status == 200 {
        return Ok(body);
    }
    let cause = match serde_json::from_slice::<Cause>(&body) {
        Ok(cause) => cause.cause,
        Err(_) => String::from_utf8_lossy(&body).chars().take(LONGEST_CAUSE).collect(),
    };
    Err(Fault::Refused { status, cause })
}

fn uri(address: &str, path: &str) -> String {
    format!("http://{address}{path}")
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The dashboard answers each call within the minute that it gives its proxies. A proxy that hangs for longer is not
/// waited for by a thread: its calls count as broken.
const ORDER_TIMEOUT: Duration = Duration::from_secs(120);

/// Four for each of many proxies.
const IDLE_CONNECTIONS: usize = 256;

const LONGEST_CAUSE: usize = 200;
