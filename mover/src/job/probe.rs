// SPDX-License-Identifier: Apache-2.0
//! How fast a server answers, whatever else this machine has to do.
//!
//! The mover shares its cores with a source, perhaps with a target, and with its own copy: from when an answer is there
//! until a task runs that looks at a clock, more may pass than the server took. So the kernel tells when the answer came.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt::ReceiveTimestampns};
use nix::sys::time::TimeSpec;
use replication::Command;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::endpoint::{CONNECT_TIMEOUT, Endpoint, RESPONSE_TIMEOUT};

/// A connection on which nothing is asked but how long an answer takes.
pub(super) struct Probe {
    stream: TcpStream,
    question: BytesMut,
}

/// Some of an answer.
struct Received {
    ends_line: bool,
    /// When it was there; `None` from a kernel that does not say.
    at: Option<SystemTime>,
}

impl Probe {
    /// Connects to this server. One that does not take the password answers none the less.
    pub(super) async fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect((endpoint.host.as_str(), endpoint.port)));
        let stream = connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        stream.set_nodelay(true)?;
        setsockopt(&stream.as_fd(), ReceiveTimestampns, &true)?;
        let mut probe = Self { stream, question: BytesMut::new() };
        if let Some(password) = &endpoint.password {
            Command::new([endpoint.names.of("AUTH"), password.reveal()].map(str::to_owned)).encode(&mut probe.question);
            probe.answer_time().await?;
            probe.question.clear();
        }
        Command::new([endpoint.names.of("EXISTS"), NO_KEY].map(str::to_owned)).encode(&mut probe.question);
        Ok(probe)
    }

    /// How long the server takes to read what is not there: what a client's cheapest command takes. Any answer is one.
    pub(super) async fn answer_time(&mut self) -> io::Result<Duration> {
        // A peer that is gone without a word would be taken for a slow one for as long as TCP hopes.
        timeout(RESPONSE_TIMEOUT, self.ask()).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn ask(&mut self) -> io::Result<Duration> {
        let (begin, asked) = (Instant::now(), SystemTime::now());
        self.stream.write_all(&self.question).await?;
        loop {
            self.stream.readable().await?;
            match self.stream.try_io(Interest::READABLE, || receive(&self.stream)) {
                Ok(Received { ends_line: true, at }) => {
                    let all = begin.elapsed();
                    // A clock that was set meanwhile tells nothing.
                    let took = at.and_then(|at| at.duration_since(asked).ok()).filter(|took| *took < all);
                    return Ok(took.unwrap_or(all));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn receive(stream: &TcpStream) -> io::Result<Received> {
    let (mut text, mut control) = ([0; ANSWER_MAX], cmsg_space!(TimeSpec));
    let mut parts = [IoSliceMut::new(&mut text)];
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    let at = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(at) => Some(SystemTime::UNIX_EPOCH + Duration::from(at)),
        _ => None,
    });
    let length = message.bytes;
    match text[..length].last() {
        Some(last) => Ok(Received { ends_line: *last == b'\n', at }),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A key that nobody has. On a Pika a PING need not wait for those who read and write, and this must.
const NO_KEY: &str = "slotmover:nothing";

/// Far longer than the answer.
const ANSWER_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener};
    use std::sync::mpsc;

    use super::*;
    use crate::Side;

    /// The server is on a thread of its own; the probe's thread has other things to do.
    #[tokio::test]
    async fn what_this_machine_does_meanwhile_does_not_count() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answered, answer) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 512];
            for _ in 0..2 {
                assert!(stream.read(&mut question).unwrap() > 0);
                stream.write_all(b":0\r\n").unwrap();
                answered.send(Instant::now()).unwrap();
            }
        });
        let mut probe = Probe::connect(&endpoint(port)).await.unwrap();
        probe.answer_time().await.unwrap();
        answer.recv().unwrap();
        let begin = Instant::now();
        let busy = async {
            let at = answer.recv().unwrap();
            std::thread::sleep(Duration::from_millis(100));
            at
        };
        let (took, at) = tokio::join!(probe.answer_time(), busy);
        // Both clocks run alike but for some microseconds.
        let (took, bound) = (took.unwrap(), at - begin + Duration::from_millis(10));
        assert!(took <= bound, "{took:?} of {:?}, answered after {bound:?}", begin.elapsed());
    }

    #[tokio::test]
    async fn a_server_that_never_answers_is_given_up() {
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut probe = Probe::connect(&endpoint(silent.local_addr().unwrap().port())).await.unwrap();
        tokio::time::pause();
        assert_eq!(probe.answer_time().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_gives_no_answer() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut probe = Probe::connect(&endpoint(listener.local_addr().unwrap().port())).await.unwrap();
        drop(listener.accept().unwrap());
        assert!(probe.answer_time().await.is_err());
    }

    fn endpoint(port: u16) -> Endpoint {
        Endpoint {
            side: Side::Target,
            host: "127.0.0.1".to_owned(),
            port,
            password: None,
            database: 0,
            names: crate::endpoint::Names::default(),
        }
    }
}
