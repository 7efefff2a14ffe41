// SPDX-License-Identifier: Apache-2.0
//! One connection of a sender: read, apply and acknowledge go on at the same time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::info;

use crate::batch::{Batch, KeyCounts};
use crate::dialect::HyperLogLogPolicy;
use crate::flow::{Budget, Share};
use crate::receiver::crowd::Place;
use crate::receiver::readout::Readout;
use crate::receiver::{Shared, lineage};
use crate::sink::{Answers, Outlet, RedisSink, Sink};
use crate::wire::{self, Arrived, Failure, Hello, Incoming, Reader, Refusal, Welcome, Writer};
use crate::{Error, Result};

/// Serves a connection to its end. `place` is that among those who have not shown yet who they are.
pub(super) async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr, mut place: Place) {
    let greeted = tokio::select! {
        greeted = greet(&shared, stream) => greeted.map_err(|end| end.to_string()),
        () = place.lost() => Err("too many others came before it had shown who it is".to_owned()),
    };
    let (hello, served) = match greeted {
        Ok(greeted) => greeted,
        Err(what) => {
            shared.status.refused.fetch_add(1, Ordering::Relaxed);
            return shared.warnings.warn(|| format!("the connection from {peer} was not taken: {what}"));
        }
    };
    drop(place);
    shared.status.senders.fetch_add(1, Ordering::Relaxed);
    info!(%peer, job = format!("{:016x}", hello.job), "a sender");
    let ended = match served {
        Served::Batches(session) => session.run(&shared).await,
        Served::Log(readout) => readout.run(shared.stopping.subscribe()).await,
    };
    match ended {
        Ok(()) => info!(%peer, "the sender is done"),
        Err(end) => shared.warnings.warn(|| format!("the connection from {peer} ended: {end}")),
    }
}

/// What a connection that has been greeted is for.
enum Served {
    Batches(Box<Session>),
    Log(Box<Readout>),
}

/// A connection that brings batches, and one to the target of its own.
struct Session {
    job: u64,
    is_compressed: bool,
    reader: Reader,
    writer: Writer,
    sink: RedisSink,
    place: lineage::Place,
}

/// Why a session ended before its sender was done.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// What the sender sent was not taken.
    #[error(transparent)]
    Sender(#[from] wire::Error),
    /// The target did not take it.
    #[error(transparent)]
    Target(#[from] Error),
    /// The receiver was told to end.
    #[error("the receiver was told to end")]
    Stopping,
    /// The job was begun again.
    #[error("a later attempt at the same job has come")]
    Outlived,
}

async fn greet(shared: &Shared, stream: TcpStream) -> Result<(Hello, Served), End> {
    let options = &shared.options;
    let accepted = timeout(GREETING, wire::accepted(stream, options.tls.as_ref())).await;
    let (mut reader, mut writer) = match accepted {
        Ok(halves) => halves.map_err(wire::Error::Io)?,
        Err(_) => return Err(wire::Error::Silent(GREETING).into()),
    };
    let hello = wire::challenge(&mut reader, &mut writer, options.token.as_ref()).await?;
    if *shared.stopping.borrow() {
        wire::refuse(&mut writer, &Refusal::Stopping).await?;
        return Err(End::Stopping);
    }
    let served = match hello.log_of_slots {
        Some(slots) => {
            Readout::begin(shared, &hello, slots, reader, writer).await.map(|readout| Served::Log(Box::new(readout)))
        }
        None => Session::begin(shared, &hello, reader, writer).await.map(|session| Served::Batches(Box::new(session))),
    };
    Ok((hello, served?))
}

impl Session {
    async fn begin(shared: &Shared, hello: &Hello, reader: Reader, mut writer: Writer) -> Result<Self, End> {
        let options = &shared.options;
        let policy = match hello.raw_hyperloglogs {
            true => HyperLogLogPolicy::Raw,
            false => HyperLogLogPolicy::Refuse,
        };
        let earlier = shared.lineage.end_earlier(hello.job).await;
        let connected = async {
            let mut target = shared.target(hello.database, policy).await?;
            target.outlive(&earlier).await?;
            let run_id = target.client().info("server").await?.get("run_id").map(str::to_owned);
            Ok::<_, Error>((target.sink().await?, target.dialect(), run_id))
        };
        let (sink, dialect, run_id) = match connected.await {
            Ok(connected) => connected,
            Err(error) => {
                wire::refuse(&mut writer, &Refusal::Target(Failure::of(&error))).await?;
                return Err(error.into());
            }
        };
        let welcome = Welcome {
            version: hello.versions.1,
            compression: wire::agreed_compression(hello),
            dialect: dialect.to_string(),
            target: options.target.address(),
            run_id,
            batch_max: shared.batch_max(),
            log_end: None,
        };
        wire::accept(&mut writer, options.token.as_ref(), hello, &welcome).await?;
        let place = shared.lineage.enter(hello.job, sink.local_addr().to_string());
        Ok(Self { job: hello.job, is_compressed: welcome.compression.is_some(), reader, writer, sink, place })
    }

    async fn run(self: Box<Self>, shared: &Shared) -> Result<(), End> {
        let Self { job, is_compressed, reader, mut writer, sink, mut place } = *self;
        let window = Budget::new(sink.window());
        let (outlet, answers) = Box::new(sink).split();
        let traffic = Arc::clone(&shared.status.traffic);
        let mut incoming = Incoming::new(reader, job, shared.batch_max(), is_compressed, traffic);
        // One decoded batch waits while one is applied; their memory is in the budget.
        let (decoded, batches) = channel(1);
        // The window bounds what stands in here.
        let (unanswered, sent) = unbounded_channel();
        let mut landed = Landed { writer: &mut writer, job, sequence: 0, counts: KeyCounts::default() };
        let work = async {
            tokio::try_join!(
                read(&mut incoming, &shared.budget, decoded, shared.stopping.subscribe()),
                apply(shared, batches, outlet, window, unanswered),
                landed.follow(shared, answers, sent),
            )
        };
        let outcome = tokio::select! {
            outcome = work => outcome,
            // Nobody waits for what it would say.
            () = place.lost() => return Err(End::Outlived),
        };
        let sequence = landed.sequence + 1;
        let end = match outcome {
            Ok((Read::All, ..)) => return Ok(()),
            Ok((Read::UntilStopped, ..)) => End::Stopping,
            Err(end) => end,
        };
        let failure = match &end {
            End::Sender(error) => Failure::Frame { what: error.to_string() },
            End::Target(error) => Failure::of(error),
            End::Stopping | End::Outlived => Failure::Stopping,
        };
        // A sender that is gone cannot be told.
        let told = wire::fail(&mut writer, job, sequence, &failure).await.is_ok();
        if told && writer.shutdown().await.is_ok() {
            linger(&mut incoming.into_reader()).await;
        }
        Err(end)
    }
}

/// How reading ended without a fault.
enum Read {
    All,
    UntilStopped,
}

async fn read(
    incoming: &mut Incoming<Reader>,
    budget: &Budget,
    decoded: Sender<(Batch, Share)>,
    mut stopping: watch::Receiver<bool>,
) -> Result<Read, End> {
    loop {
        let announced = tokio::select! {
            announced = incoming.announced() => announced?,
            _ = stopping.wait_for(|stopping| *stopping) => return Ok(Read::UntilStopped),
        };
        let Some(announced) = announced else { return Ok(Read::All) };
        let mut share = budget.take(announced.memory_max()).await?;
        let Arrived { batch, memory } = incoming.batch(announced).await?;
        share.shrink(memory);
        if decoded.send((batch, share)).await.is_err() {
            // Whoever applies has failed, and knows why.
            return std::future::pending().await;
        }
    }
}

async fn apply(
    shared: &Shared,
    mut batches: Receiver<(Batch, Share)>,
    mut outlet: Box<dyn Outlet>,
    window: Budget,
    unanswered: UnboundedSender<Share>,
) -> Result<(), End> {
    while let Some((batch, memory)) = batches.recv().await {
        let commands = outlet.commands(&batch);
        shared.throttle.admit(batch.bytes(), commands).await;
        let on_its_way = window.take(batch.size()).await?;
        if unanswered.send(on_its_way).is_err() {
            return std::future::pending().await;
        }
        outlet.send(&batch).await?;
        shared.status.commands.fetch_add(commands as u64, Ordering::Relaxed);
        drop((batch, memory));
    }
    Ok(())
}

/// How far the target has come, and where that is told.
struct Landed<'a> {
    writer: &'a mut Writer,
    job: u64,
    sequence: u64,
    /// What all batches up to there have done to the number of keys.
    counts: KeyCounts,
}

impl Landed<'_> {
    async fn follow(
        &mut self,
        shared: &Shared,
        mut answers: Box<dyn Answers>,
        mut sent: UnboundedReceiver<Share>,
    ) -> Result<(), End> {
        loop {
            let received = self.alive_until(sent.recv()).await?;
            let Some(_on_its_way) = received else { return Ok(()) };
            let counts = self.alive_until(answers.next()).await??;
            self.counts.add(counts);
            self.sequence += 1;
            shared.status.batches.fetch_add(1, Ordering::Relaxed);
            self.acknowledge().await?;
        }
    }

    /// Waits, and says now and then that it does: a sender takes silence for a broken connection.
    async fn alive_until<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                () = sleep(SIGN_OF_LIFE) => self.acknowledge().await?,
            }
        }
    }

    async fn acknowledge(&mut self) -> Result<(), End> {
        Ok(wire::acknowledge(self.writer, self.job, self.sequence, self.counts).await?)
    }
}

/// Reads and drops what still comes, so that the sender reads why we end before it hears that the connection is gone.
async fn linger(reader: &mut Reader) {
    let mut buffer = vec![0; 16 << 10];
    let drained = async { while let Ok(1..) = reader.read(&mut buffer).await {} };
    // Whoever goes on for longer than that does not listen.
    let _ = timeout(LINGER, drained).await;
}

/// How long TLS may take to agree.
const GREETING: Duration = Duration::from_secs(5);

/// A sender hears something of us this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

const LINGER: Duration = Duration::from_secs(2);
