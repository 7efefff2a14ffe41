// SPDX-License-Identifier: Apache-2.0
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::backup;
use super::config::NodeConfig;
use super::connection;
use super::core::Core;
use super::error::Error;
use super::keyspace;

/// A running node.
///
/// [`Node::stop`] ends it cleanly, [`Node::kill`] as a kill ends a server; dropping it is a kill that does not wait for the
/// end. Either way it can be started again in the same folder.
pub struct Node {
    core: Arc<Core>,
    addr: SocketAddr,
    /// Ends with the node, and the sessions with it.
    tasks: JoinSet<()>,
}

impl Node {
    /// Starts a node in the folder of `config`, with what an earlier one left there. It must be called within a runtime.
    ///
    /// # Errors
    ///
    /// The port is taken, or the data or the log cannot be opened.
    pub async fn start(config: NodeConfig) -> Result<Self, Error> {
        let listen = |source| Error::Listen { port: config.port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port)).await.map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let core = Arc::new(blocking(move || Core::open(&config, addr.port())).await?);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(core.clone(), listener));
        tasks.spawn(purge_now_and_then(core.clone()));
        tasks.spawn(backup::save_on_request(core.clone()));
        tasks.spawn(keyspace::count_on_request(core.clone()));
        Ok(Self { core, addr, tasks })
    }

    /// Copies a dump of a real Pika, or of a node, to where this node keeps its data, and starts it with an empty log.
    /// `dump` is the folder of a day or the `db0` in it; nothing there is changed or linked to.
    ///
    /// # Errors
    ///
    /// There is data already, the dump has not the instances of `config`, or what [`Node::start`] gives.
    pub async fn adopt(dump: impl AsRef<Path>, config: NodeConfig) -> Result<Self, Error> {
        let (dump, dir, instances) = (dump.as_ref().to_owned(), config.dir.clone(), config.instances);
        blocking(move || backup::copy_dump(&dump, &dir, instances)).await?;
        Self::start(config).await
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        &self.core.dir
    }

    /// Deletes files of the log beyond `expire-logs-nums`, never one of the ten newest, and tells how many. The node does
    /// it by itself every five seconds.
    ///
    /// # Errors
    ///
    /// A file cannot be deleted.
    pub fn purge_log(&self) -> Result<usize, Error> {
        self.core.purge()
    }

    /// Ends it: sessions end after the command they are at, and the log is cut to its data.
    ///
    /// # Errors
    ///
    /// The log cannot be cut.
    pub async fn stop(self) -> Result<(), Error> {
        let core = self.end().await;
        blocking(move || core.close()).await
    }

    /// Ends it as a kill ends a server: sessions end after the command they are at, and the log stays as it is. When this
    /// returns, another node can be started in the folder.
    pub async fn kill(self) {
        drop(self.end().await);
    }

    /// Ends all tasks and takes the core from the last of them.
    async fn end(mut self) -> Core {
        self.tasks.shutdown().await;
        let mut core = self.core;
        loop {
            // A KEYS or BGSAVE that runs on a thread of its own cannot be interrupted, and ends soon.
            match Arc::try_unwrap(core) {
                Ok(core) => return core,
                Err(shared) => core = shared,
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    #[cfg(test)]
    pub(super) fn core(&self) -> &Core {
        &self.core
    }
}

async fn accept(core: Arc<Core>, listener: TcpListener) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Answers are sent as they are, without waiting for more; if the system refuses, they only come later.
                    let _ = stream.set_nodelay(true);
                    sessions.spawn(connection::serve(core.clone(), stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "a client could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = sessions.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    tracing::error!(%error, "a session panicked");
                }
            }
        }
    }
}

async fn purge_now_and_then(core: Arc<Core>) {
    let mut ticks = interval(PURGE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = core.purge() {
            tracing::warn!(%error, "old files of the log could not be deleted");
        }
    }
}

/// Does what takes long where it keeps nobody waiting.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.expect("the work neither panics nor is cancelled")
}

const PURGE_INTERVAL: Duration = Duration::from_secs(5);
/// How long to wait when the system has no room for another client.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
