// SPDX-License-Identifier: Apache-2.0
//! A client that counts a key up through an address that may die under it, and knows what must have become of it.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Client;

pub(crate) struct Counting {
    key: String,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

#[derive(Default, Debug)]
struct Tally {
    /// Answered with a number.
    acknowledged: i64,
    /// Sent, answered or not.
    sent: i64,
    /// Error replies; a broken connection is none.
    errors: Vec<String>,
    longest: Duration,
}

impl Counting {
    /// Begins to count `key` up through `addr`.
    pub(crate) fn start(addr: SocketAddr, key: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (name, stopped) = (key.to_owned(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || count(addr, &name, &stopped));
        Self { key: key.to_owned(), stop, thread }
    }

    /// Ends it: no acknowledged increment is missing from the key as it stands at `owner`, and nobody waited for longer
    /// than `wait_max`.
    pub(crate) fn assert_nothing_lost(self, owner: SocketAddr, wait_max: Duration) {
        self.stop.store(true, Ordering::SeqCst);
        let tally = self.thread.join().unwrap();
        let value = Client::connect(owner).number(&format!("INCRBY {} 0", self.key));
        assert!(tally.acknowledged > 0, "{}: nothing was counted: {tally:?}", self.key);
        assert!((tally.acknowledged..=tally.sent).contains(&value), "{} is {value}: {tally:?}", self.key);
        assert!(tally.errors.is_empty(), "{}: {:?}", self.key, tally.errors);
        assert!(tally.longest <= wait_max, "{}: a client waited for {:?}", self.key, tally.longest);
    }
}

fn count(addr: SocketAddr, key: &str, stop: &AtomicBool) -> Tally {
    let (mut tally, mut last) = (Tally::default(), 0);
    while !stop.load(Ordering::SeqCst) {
        let Ok(mut stream) = TcpStream::connect(addr).map(BufReader::new) else {
            std::thread::sleep(PAUSE);
            continue;
        };
        while !stop.load(Ordering::SeqCst) {
            tally.sent += 1;
            let begin = Instant::now();
            let answer = increment(&mut stream, key);
            tally.longest = tally.longest.max(begin.elapsed());
            match answer.as_deref().map(str::trim_end) {
                // A proxy that has been started and is not ready to serve is like one that is not there.
                Ok("" | "-ERR router is not online") | Err(_) => break,
                Ok(line) => match line.strip_prefix(':').map(str::parse::<i64>) {
                    Some(Ok(value)) => {
                        assert!(value > last, "{key} went from {last} back to {value}");
                        (last, tally.acknowledged) = (value, tally.acknowledged + 1);
                    }
                    Some(Err(_)) | None => tally.errors.push(line.to_owned()),
                },
            }
            std::thread::sleep(PAUSE);
        }
    }
    tally
}

/// One line of an answer; empty at the end of the connection.
fn increment(stream: &mut BufReader<TcpStream>, key: &str) -> io::Result<String> {
    stream.get_mut().write_all(format!("*2\r\n$4\r\nINCR\r\n${}\r\n{key}\r\n", key.len()).as_bytes())?;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    Ok(line)
}

const PAUSE: Duration = Duration::from_millis(1);
