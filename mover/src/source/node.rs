// SPDX-License-Identifier: Apache-2.0
//! A Pika node that slots may leave, as it answers.

use std::time::Duration;

use replication::SlotCount;
use snapshot::UnixMillis;

use crate::endpoint::{Client, Endpoint, Identity, Info, READS, check_no_raft};
use crate::{Error, Result};

/// A master that logs what it does.
#[derive(Clone)]
pub struct Node {
    client: Client,
    info: Info,
    database: u32,
    run: String,
    identity: Identity,
}

impl Node {
    /// Connects and checks all that can be asked before anything is done. `slot_count` is what the operator believes its
    /// `default-slot-num` to be.
    ///
    /// # Errors
    /// [`Error::Connect`](crate::Error::Connect), [`Error::Unfit`](crate::Error::Unfit) with what must be changed.
    pub async fn connect(endpoint: &Endpoint, slot_count: SlotCount) -> Result<Self> {
        let mut client = endpoint.connect().await?;
        let info = client.info("server").await?;
        let identity = match Identity::of_pika(&info) {
            Some(Ok(identity)) => identity,
            Some(Err((what, help))) => return Err(endpoint.unfit(what, help)),
            None => return Err(endpoint.unfit("it is no Pika", "name a Pika 4.0 node as the source")),
        };
        check_transactions(endpoint)?;
        client.check_commands(&COMMANDS).await?;
        client.check_commands(&READS).await?;
        client.check_user().await?;
        client.check_master("on a replica the log runs ahead of the data").await?;
        check_no_raft(&mut client).await?;
        check_settings(&mut client, slot_count).await?;
        check_clock(&mut client).await?;
        let run = info.get("run_id").unwrap_or_default().to_owned();
        Ok(Self { client, info, database: endpoint.database, run, identity })
    }

    /// A connection for questions.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// A connection for questions that nobody else has.
    ///
    /// # Errors
    /// [`Error::Connect`](crate::Error::Connect).
    pub async fn another(&self) -> Result<Client> {
        self.client.another().await
    }

    /// The server.
    pub fn endpoint(&self) -> &Endpoint {
        self.client.endpoint()
    }

    /// The process that it is: another one after a restart.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// That it is what it was: the same process, a master, and one that logs what it does.
    ///
    /// # Errors
    /// [`Error::Lost`](crate::Error::Lost) after a restart, [`Error::Unfit`](crate::Error::Unfit) for a replica,
    /// [`Error::Unlogged`](crate::Error::Unlogged).
    pub async fn check(&mut self) -> Result<()> {
        self.client.check_same(&self.run).await?;
        if self.client.setting("write-binlog").await? != "yes" {
            let Endpoint { side, .. } = *self.client.endpoint();
            return Err(Error::Unlogged { side, address: self.client.endpoint().address() });
        }
        Ok(())
    }

    /// What it says it is, and what it was taken for.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Checks that a move may change what it must at the node: it deletes moved keys there.
    ///
    /// # Errors
    /// [`Error::Unfit`](crate::Error::Unfit) with the command that it does not know.
    pub(crate) async fn check_writes(&self) -> Result<()> {
        self.client().check_commands(&WRITES).await
    }

    /// The number of the database that is moved.
    pub(super) fn database(&self) -> u32 {
        self.database
    }

    /// What it said of itself.
    pub(super) fn info(&self) -> &Info {
        &self.info
    }
}

/// A Pika looks for EXEC by its usual name before it ends a transaction, and puts any other command into it.
fn check_transactions(endpoint: &Endpoint) -> Result<()> {
    if endpoint.names.of("EXEC") == "EXEC" {
        return Ok(());
    }
    Err(endpoint.unfit("its EXEC is renamed, so no transaction ends", "give EXEC its usual name"))
}

async fn check_settings(client: &mut Client, slot_count: SlotCount) -> Result<()> {
    if client.setting("write-binlog").await? != "yes" {
        let help = "say `CONFIG SET write-binlog yes`: without the log no write after the checkpoint would be seen";
        return Err(client.endpoint().unfit("write-binlog is off", help));
    }
    let slots = client.setting("default-slot-num").await?;
    if slots != slot_count.to_string() {
        let what = format!("it has {slots} slots, not {slot_count}");
        return Err(client.endpoint().unfit(what, "say `--slot-count` as its default-slot-num says"));
    }
    let (databases, database) = (client.setting("databases").await?, client.endpoint().database);
    if databases.parse::<u32>().is_ok_and(|databases| databases <= database) {
        let what = format!("it has {databases} databases, none of the number {database}");
        return Err(client.endpoint().unfit(what, "choose another `--database`"));
    }
    Ok(())
}

/// Expiries are absolute times, so both clocks must agree.
async fn check_clock(client: &mut Client) -> Result<()> {
    let reply = client.ask(&redis::cmd("TIME")).await?;
    let parts: Option<Vec<u64>> = match &reply {
        redis::Value::Array(parts) => parts.iter().map(|part| redis::from_redis_value_ref(part).ok()).collect(),
        _ => None,
    };
    let Some([seconds, micros]) = parts.as_deref() else {
        return Err(client.endpoint().answered("TIME", format!("{reply:?}")));
    };
    let theirs = UnixMillis(seconds * 1000 + micros / 1000);
    let ours = UnixMillis::now();
    let apart = theirs.since(ours).max(ours.since(theirs));
    match apart > CLOCKS_APART_MAX {
        true => Err(client.endpoint().unfit(format!("its clock is {apart:?} from ours"), "set the clocks")),
        false => Ok(()),
    }
}

/// What a source is asked and told besides reads of keys.
const COMMANDS: [&str; 7] = ["ACL", "BGSAVE", "CONFIG", "ECHO", "EXEC", "MULTI", "TIME"];

/// What changes keys at a source.
const WRITES: [&str; 2] = ["DEL", "HDEL"];

const CLOCKS_APART_MAX: Duration = Duration::from_secs(1);
