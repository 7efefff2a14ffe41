// SPDX-License-Identifier: Apache-2.0
//! The HTTP side of a server: its way of answering, and its way of dying.
//!
//! Each request is a task of its process. It goes on when its client goes away, stands still with the process, and ends with
//! it, its connection unanswered.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State, connect_info::Connected};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::serve::{IncomingStream, Listener};
use serde::Serialize;
use serde_json::json;
use serde_json::ser::{PrettyFormatter, Serializer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::intercept::{Action, Event, Interceptor, Moment, Place};
use super::process::Process;

/// What an HTTP server needs to know about the process that it is part of.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) process: Arc<Process>,
    pub(super) place: Place,
    pub(super) interceptor: Arc<Interceptor>,
}

impl Front {
    /// Serves until the process ends.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub(super) async fn serve(self, addr: SocketAddr, router: Router) -> io::Result<()> {
        let door = Door { listener: TcpListener::bind(addr).await?, process: Arc::clone(&self.process) };
        let process = Arc::clone(&self.process);
        let router = router.fallback(not_found).method_not_allowed_fallback(not_found);
        // What is read is bounded where it is read.
        let router = router.layer(DefaultBodyLimit::disable());
        let router = router.layer(middleware::from_fn_with_state(Arc::new(self), handle));
        process.spawn(async {
            let serving = axum::serve(door, router.into_make_service_with_connect_info::<Line>());
            if let Err(error) = serving.await {
                tracing::error!(%error, "an HTTP server of the sandbox's Codis ended");
            }
        });
        Ok(())
    }
}

/// An answer with its JSON.
#[derive(Debug)]
pub(super) struct Json(String);

impl Json {
    /// What calls without a result answer.
    pub(super) fn ok() -> Self {
        Self("\"OK\"".to_owned())
    }

    /// In the form that Codis prints: indented by four.
    pub(super) fn of(value: &impl Serialize) -> Self {
        let mut output = Vec::with_capacity(16 * 1024);
        let mut serializer = Serializer::with_formatter(&mut output, PrettyFormatter::with_indent(b"    "));
        value.serialize(&mut serializer).expect("the models have a JSON form");
        Self(String::from_utf8(output).expect("JSON is text"))
    }
}

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, JSON_TYPE)], self.0).into_response()
    }
}

/// An answer that tells a failure, with a status that only Codis knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault(pub(super) String);

impl Fault {
    pub(super) fn new(cause: impl Into<String>) -> Self {
        Self(cause.into())
    }

    /// As other servers' statistics hold it.
    pub(super) fn json(&self) -> serde_json::Value {
        json!({ "Cause": self.0, "Stack": null })
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(800).expect("three digits are a status");
        (status, Json::of(&self.json())).into_response()
    }
}

/// What a handler answers.
pub(super) type Answer = Result<Json, Fault>;

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}

async fn handle(
    State(front): State<Arc<Front>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
    next: Next,
) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_MAX).await else {
        line.cut();
        return gone();
    };
    let (sender, answer) = oneshot::channel();
    let process = Arc::clone(&front.process);
    process.spawn(async move {
        let (method, path, content) = (head.method.clone(), head.uri.path().to_owned(), body.clone());
        let event = |moment| Event {
            place: front.place,
            method: method.to_string(),
            path: path.clone(),
            body: content.clone(),
            moment,
        };
        front.process.pulse().beat().await;
        if front.interceptor.ask(|| event(Moment::Before)).await == Action::DropConnection {
            return;
        }
        front.process.pulse().beat().await;
        let response = next.run(Request::from_parts(head, Body::from(body))).await;
        if front.interceptor.ask(|| event(Moment::After)).await == Action::DropConnection {
            return;
        }
        front.process.pulse().beat().await;
        // The client may be gone.
        let _ = sender.send(response);
    });
    answer.await.unwrap_or_else(|_| {
        line.cut();
        gone()
    })
}

/// Nobody sees it: its connection is cut.
fn gone() -> Response {
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}

/// Takes connections until the process ends.
struct Door {
    listener: TcpListener,
    process: Arc<Process>,
}

impl Listener for Door {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        let (stream, addr) = Listener::accept(&mut self.listener).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone at once");
        }
        (Wire { stream, end: Box::pin(self.process.end()), line: Line::default() }, addr)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that is cut when its process ends.
struct Wire {
    stream: TcpStream,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    line: Line,
}

/// The way to cut one connection.
#[derive(Clone, Default, Debug)]
struct Line {
    cut: Arc<AtomicBool>,
}

impl Line {
    /// Lets the next write fail.
    fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }
}

impl Connected<IncomingStream<'_, Door>> for Line {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.io().line.clone()
    }
}

impl Wire {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.line.cut.load(Ordering::SeqCst) || self.end.as_mut().poll(context).is_ready() {
            true => {
                // What is polled must not be polled again after its end.
                self.line.cut();
                Err(io::ErrorKind::ConnectionReset.into())
            }
            false => Ok(()),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}

const JSON_TYPE: &str = "application/json; charset=utf-8";
const BODY_MAX: usize = 64 << 20;
