// SPDX-License-Identifier: Apache-2.0
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use replication::{Renames, SlotCount, SlotSet};

use crate::dialect::HyperLogLogPolicy;
use crate::endpoint::{Endpoint, Password};
use crate::flow::{CommandRate, Kindness, Limits, Rate};
use crate::job::{Cleanup, Job, JobOptions, ReverseWindow, VerifyMode};
use crate::routing::RoutingControl;
use crate::sink::ReceiverOptions;
use crate::{Error, Result, Side};

/// A [`Job`] in the making. [`build`](Self::build) is there once [`source`](Self::source), [`target`](Self::target) and
/// [`routing`](Self::routing) have been said; everything else has a usual value.
#[derive(Clone, Debug)]
pub struct JobBuilder<S = NoSource, T = NoTarget, R = NoRouting> {
    source: S,
    target: T,
    routing: R,
    source_password: Option<Password>,
    target_password: Option<Password>,
    options: JobOptions,
    window: Option<ReverseWindow>,
}

/// The address of the source is still to be said, with [`JobBuilder::source`].
#[derive(Clone, Copy, Debug)]
pub struct NoSource;

/// The address of the target is still to be said, with [`JobBuilder::target`].
#[derive(Clone, Copy, Debug)]
pub struct NoTarget;

/// Who routes the clients is still to be said, with [`JobBuilder::routing`].
#[derive(Clone, Copy, Debug)]
pub struct NoRouting;

impl Job {
    /// Begins a job that moves `slots`.
    pub fn builder(slots: SlotSet) -> JobBuilder {
        JobBuilder {
            source: NoSource,
            target: NoTarget,
            routing: NoRouting,
            source_password: None,
            target_password: None,
            options: JobOptions::new(slots),
            window: None,
        }
    }
}

impl<T, R> JobBuilder<NoSource, T, R> {
    /// The Pika node that the slots leave, on this machine, as `HOST:PORT`; an IPv6 address stands in brackets.
    pub fn source(self, address: impl ToString) -> JobBuilder<String, T, R> {
        let Self { target, routing, source_password, target_password, options, window, .. } = self;
        JobBuilder { source: address.to_string(), target, routing, source_password, target_password, options, window }
    }
}

impl<S, R> JobBuilder<S, NoTarget, R> {
    /// The Redis (6 or newer) or Pika (4.0) that the slots go to, as `HOST:PORT`; an IPv6 address stands in brackets.
    pub fn target(self, address: impl ToString) -> JobBuilder<S, String, R> {
        let Self { source, routing, source_password, target_password, options, window, .. } = self;
        JobBuilder { source, target: address.to_string(), routing, source_password, target_password, options, window }
    }
}

impl<S, T> JobBuilder<S, T, NoRouting> {
    /// Who holds the slots' clients and sends them to the target.
    pub fn routing(self, routing: Arc<dyn RoutingControl>) -> JobBuilder<S, T, Arc<dyn RoutingControl>> {
        let Self { source, target, source_password, target_password, options, window, .. } = self;
        JobBuilder { source, target, routing, source_password, target_password, options, window }
    }
}

impl<S, T, R> JobBuilder<S, T, R> {
    /// What the source wants as AUTH.
    pub fn source_password(mut self, password: impl Into<String>) -> Self {
        self.source_password = Some(Password::new(password));
        self
    }

    /// What the target wants as AUTH.
    pub fn target_password(mut self, password: impl Into<String>) -> Self {
        self.target_password = Some(Password::new(password));
        self
    }

    /// Into how many slots the key space is cut, Pika's `default-slot-num`; usually the 1,024 of Codis.
    pub fn slot_count(mut self, count: SlotCount) -> Self {
        self.options.slot_count = count;
        self
    }

    /// The database at both sides, Codis' number and Pika's `db<n>`; usually 0.
    pub fn database(mut self, number: u32) -> Self {
        self.options.database = number;
        self
    }

    /// The most that goes to the target, in bytes of user data per second; usually there is no limit.
    /// [`Control::set_limits`](crate::Control::set_limits) changes it while the job runs.
    pub fn rate(mut self, rate: Rate) -> Self {
        self.options.rate = Some(rate);
        self
    }

    /// Sends batches through a receiver on the target's machine: compressed, checked, and in the clear only without TLS. The
    /// target is asked by its own address all the same.
    pub fn receiver(mut self, receiver: ReceiverOptions) -> Self {
        self.options.receiver = Some(receiver);
        self
    }

    /// The most that goes to the target, in commands per second; usually there is no limit.
    pub fn command_rate(mut self, rate: CommandRate) -> Self {
        self.options.command_rate = Some(rate);
        self
    }

    /// How much the job gives way to clients; usually [`Kindness::Normal`].
    pub fn kind(mut self, kind: Kindness) -> Self {
        self.options.kind = kind;
        self
    }

    /// Limits that hold for several jobs together: that of the agent and that of this job's target.
    pub fn shared_limits(mut self, limits: &Limits) -> Self {
        self.options.shared_limits = Some(limits.clone());
        self
    }

    /// Connections to each side; usually 4.
    pub fn lanes(mut self, lanes: NonZeroUsize) -> Self {
        self.options.lanes = lanes.get();
        self
    }

    /// The memory that the process may take for the job, about; usually 256 MB. What is on its way is bounded by it, not the
    /// size of keys.
    pub fn memory(mut self, memory: ByteSize) -> Self {
        self.options.memory = memory;
        self
    }

    /// The most of the source's log that is kept for the job, from its checkpoint to its end, which costs the disk that
    /// much; usually 20 GB. A job that needs more stops.
    pub fn spool_max(mut self, size: ByteSize) -> Self {
        self.options.spool_max = size;
        self
    }

    /// What becomes of HyperLogLogs on a Redis, which cannot read Pika's; usually they stop the job before its switch.
    pub fn hyperloglog(mut self, policy: HyperLogLogPolicy) -> Self {
        self.options.hyperloglog = policy;
        self
    }

    /// Deletes keys of these slots that the target already holds. Otherwise they stop the job.
    pub fn replace(mut self, replace: bool) -> Self {
        self.options.replace = replace;
        self
    }

    /// Leaves keys behind whose names Pika itself has corrupted. Otherwise they stop the job before its switch.
    pub fn leave_corrupt_names(mut self, leave: bool) -> Self {
        self.options.leave_corrupt_names = leave;
        self
    }

    /// What becomes of the moved keys at the source; usually they stay.
    pub fn cleanup(mut self, cleanup: Cleanup) -> Self {
        self.options.cleanup = cleanup;
        self
    }

    /// Has the job be one that can be rolled back for so long after its last switch; usually it cannot be. `routing` is who
    /// sends the clients back: a control of the same clients for which this job's target is the source, and its source the
    /// target. It takes a Pika target whose files are on this machine; [`Status::undo`](crate::Status::undo) tells where it
    /// is otherwise.
    pub fn reverse_window(mut self, length: Duration, routing: Arc<dyn RoutingControl>) -> Self {
        self.window = Some(ReverseWindow { length, routing });
        self
    }

    /// How long a server that is gone is waited for, once the job has begun; usually an hour.
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.options.retry_for = time;
        self
    }

    /// How much of the slots is compared on both sides before they are switched; usually every key.
    pub fn verify(mut self, mode: VerifyMode) -> Self {
        self.options.verify = mode;
        self
    }

    /// Where checkpoint and spool go, on the file system of the source's data; usually beside the source's own.
    pub fn work_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.options.work_dir = Some(dir.into());
        self
    }

    /// The commands that the Pikas of the move know by other names (`rename-command` of `pika.conf`): the source, and the
    /// target if it is a Pika. An entry of a log under a name that is not known costs a new checkpoint.
    pub fn renames(mut self, renames: Renames) -> Self {
        self.options.renames = renames;
        self
    }

    /// The commands that the target knows by other names: a Redis, or a Pika with another configuration than the source's.
    pub fn target_renames(mut self, renames: Renames) -> Self {
        self.options.target_renames = Some(renames);
        self
    }

    /// The longest that clients are held before they go on at the source; usually 200 ms. `None` sets no end to it, for
    /// a person who switches.
    pub fn max_lock(mut self, cap: impl Into<Option<Duration>>) -> Self {
        self.options.cutover.max_lock = cap.into();
        self
    }

    /// Slots that are held and switched at once; usually one by one.
    pub fn cutover_group(mut self, slots: NonZeroUsize) -> Self {
        self.options.cutover.group = slots;
        self
    }

    /// How often a slot that was not switched is tried again before the job gives up; usually it never does.
    pub fn cutover_retries(mut self, retries: u32) -> Self {
        self.options.cutover.retries = Some(retries);
        self
    }

    /// Whether slots are switched although the target's replicas have not got them; usually it waits for them, for
    /// clients may read there.
    pub fn ignore_replicas(mut self, ignore: bool) -> Self {
        self.options.cutover.ignore_replicas = ignore;
        self
    }

    /// A flag file: while it exists no fence is raised. [`Control::postpone_cutover`](crate::flow::Control) does the same
    /// without a file.
    pub fn postpone_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.cutover.postpone_file = Some(path.into());
        self
    }
}

impl JobBuilder<String, String, Arc<dyn RoutingControl>> {
    /// The job, ready to run. Nothing is connected to yet.
    ///
    /// # Errors
    /// [`Error::Options`] names all that cannot be: an address that is none, no slots or slots that do not exist, a
    /// source that is the target, a fence of no time.
    pub fn build(self) -> Result<Job> {
        let mut faults = Vec::new();
        let source = Endpoint::parse(Side::Source, &self.source, self.source_password);
        let target = Endpoint::parse(Side::Target, &self.target, self.target_password);
        if let (Ok(source), Ok(target)) = (&source, &target)
            && source.address() == target.address()
        {
            faults.push(format!("source and target are the same, {}", source.address()));
        }
        let JobOptions { slots, slot_count, cutover, .. } = &self.options;
        match slots.last() {
            None => faults.push("there are no slots to move".to_owned()),
            Some(last) if last.number() >= slot_count.get() => {
                faults.push(format!("there is no slot {last}: the key space has {slot_count}"));
            }
            Some(_) => {}
        }
        if cutover.max_lock == Some(Duration::ZERO) {
            faults.push("clients cannot be held for no time at all (max_lock)".to_owned());
        }
        match (source, target) {
            (Ok(source), Ok(target)) if faults.is_empty() => {
                let job = Job::new(source, target, self.options, self.routing);
                Ok(match self.window {
                    Some(window) => job.with_reverse_window(window),
                    None => job,
                })
            }
            (source, target) => {
                let addresses = [source.err(), target.err()].into_iter().flatten();
                let what = addresses.chain(faults).collect::<Vec<_>>().join("; ");
                Err(Error::Options { what })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BoxFuture;
    use crate::routing::{Owner, Standing};
    use replication::Slot;

    struct Nothing;

    impl RoutingControl for Nothing {
        fn owner(&self, _: Slot) -> BoxFuture<'_, Result<Owner>> {
            Box::pin(async { Ok(Owner::Source) })
        }

        fn raise<'a>(&'a self, _: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
            Box::pin(async { Ok(()) })
        }

        fn holds<'a>(&'a self, _: &'a SlotSet) -> BoxFuture<'a, Result<Standing>> {
            Box::pin(async { Ok(Standing::Holds) })
        }

        fn switch<'a>(&'a self, _: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
            Box::pin(async { Ok(()) })
        }

        fn lower<'a>(&'a self, _: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
            Box::pin(async { Ok(()) })
        }
    }

    fn builder(source: &str, target: &str, slots: SlotSet) -> JobBuilder<String, String, Arc<dyn RoutingControl>> {
        Job::builder(slots).routing(Arc::new(Nothing)).target(target).source(source)
    }

    #[test]
    fn what_was_said_is_what_is_run() {
        let receiver = ReceiverOptions {
            endpoint: Endpoint::parse(Side::Receiver, "b:3", None).unwrap(),
            token: None,
            tls: None,
            compression: "zstd:2".parse().unwrap(),
        };
        let shared = Limits::new();
        let job = builder("[::1]:1", "b:2", "1,5".parse().unwrap())
            .source_password("one")
            .target_password("two")
            .database(3)
            .rate("50MB".parse().unwrap())
            .receiver(receiver)
            .command_rate("20k".parse().unwrap())
            .kind(Kindness::Gentle)
            .shared_limits(&shared)
            .lanes(NonZeroUsize::MIN)
            .replace(true)
            .leave_corrupt_names(true)
            .hyperloglog(HyperLogLogPolicy::Raw)
            .cleanup(Cleanup::Delete)
            .retry_for(Duration::from_secs(7))
            .work_dir("there")
            .renames(Renames::new(["CONFIG=cfg".parse().unwrap()]).unwrap())
            .max_lock(Duration::from_millis(50))
            .cutover_group(NonZeroUsize::MAX)
            .cutover_retries(7)
            .postpone_file("flag")
            .build()
            .unwrap();
        assert_eq!((job.source.address(), job.target.address()), ("[::1]:1".to_owned(), "b:2".to_owned()));
        assert_eq!((job.source.side, job.target.side), (Side::Source, Side::Target));
        assert_eq!((job.source.database, job.target.database), (3, 3));
        let passwords = [&job.source, &job.target].map(|side| side.password.as_ref().map(Password::reveal));
        assert_eq!(passwords, [Some("one"), Some("two")]);
        let options = &job.options;
        assert_eq!((options.lanes, options.replace, options.leave_corrupt_names), (1, true, true));
        assert_eq!(options.rate, Some("50MB".parse().unwrap()));
        let receiver = options.receiver.as_ref().unwrap();
        assert_eq!((receiver.endpoint.address(), receiver.compression.to_string()), ("b:3".into(), "zstd:2".into()));
        assert_eq!(job.control().limits(), options.limits());
        assert_eq!((options.command_rate, options.kind), (Some("20k".parse().unwrap()), Kindness::Gentle));
        assert!(options.shared_limits.is_some());
        assert_eq!(options.hyperloglog, HyperLogLogPolicy::Raw);
        assert_eq!((options.cleanup, options.retry_for), (Cleanup::Delete, Duration::from_secs(7)));
        assert_eq!(options.work_dir, Some(PathBuf::from("there")));
        assert_eq!([&job.source, &job.target].map(|side| side.names.of("CONFIG")), ["cfg"; 2]);
        assert_eq!([&job.source, &job.target].map(|side| side.names.are_only_of_pika()), [false, true]);
        let cutover = &options.cutover;
        assert_eq!((cutover.max_lock, cutover.retries), (Some(Duration::from_millis(50)), Some(7)));
        assert_eq!((cutover.group, cutover.postpone_file.clone()), (NonZeroUsize::MAX, Some(PathBuf::from("flag"))));
        assert_eq!(builder("a:1", "b:2", "1".parse().unwrap()).max_lock(None).options.cutover.max_lock, None);
    }

    #[test]
    fn all_that_cannot_be_is_said_at_once() {
        let job = builder("nowhere", "b:", "1024".parse().unwrap()).max_lock(Duration::ZERO).build();
        let what = job.err().unwrap().to_string();
        for part in ["`nowhere` is no address of the source", "`b:`", "no slot 1024", "max_lock"] {
            assert!(what.contains(part), "{part}: {what}");
        }
        let what = builder("a:1", "a:1", SlotSet::new()).build().err().unwrap().to_string();
        assert!(what.contains("the same, a:1") && what.contains("no slots to move"), "{what}");
        let few = SlotCount::new(4).unwrap();
        assert!(builder("a:1", "b:1", "4".parse().unwrap()).slot_count(few).build().is_err());
        assert!(builder("a:1", "b:1", "3".parse().unwrap()).slot_count(few).build().is_ok());
    }
}
