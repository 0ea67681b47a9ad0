//! A model of several cores, a disk and a sidecar that die at any moment, against the ledger.

use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Connect(usize),
    Send { core: usize, growth: u64, records: u64, snapshot: bool },
    Resend(usize),
    LoseStream(usize),
    Goodbye(usize),
    KillCore(usize),
    Bury,
    BeginCommit,
    FinishCommit,
    FailCommit,
    KillSidecar { written: bool },
    Pass(u64),
}

const CORES: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let core = 0..CORES;
    let send = (core.clone(), 0u64..5, 0u64..4, any::<bool>());
    let send = send.prop_map(|(core, growth, records, snapshot)| Step::Send { core, growth, records, snapshot });
    prop_oneof![
        4 => core.clone().prop_map(Step::Connect),
        10 => send,
        2 => core.clone().prop_map(Step::Resend),
        2 => core.clone().prop_map(Step::LoseStream),
        1 => core.clone().prop_map(Step::Goodbye),
        2 => core.prop_map(Step::KillCore),
        3 => Just(Step::Bury),
        6 => Just(Step::BeginCommit),
        6 => Just(Step::FinishCommit),
        1 => Just(Step::FailCommit),
        2 => any::<bool>().prop_map(|written| Step::KillSidecar { written }),
        2 => prop_oneof![0u64..8, 3000u64..4000].prop_map(Step::Pass),
    ]
}

/// What one life of a core counted, as the ledger should know it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Known {
    sequence: u64,
    value: u64,
    sent: u64,
}

#[derive(Default)]
struct Core {
    epoch: u64,
    value: u64,
    sent: u64,
    sequence: u64,
    unacknowledged: VecDeque<v1::Batch>,
    link: Option<Link>,
}

struct World {
    now: Instant,
    ledger: Ledger,
    disk: Persisted,
    cores: Vec<Core>,
    // What killed cores left behind.
    graves: Vec<Remains>,
    epochs: u64,
    taken: HashMap<u64, Known>,
    durable: HashMap<u64, Known>,
    // A commit that is being written, and what it will make durable.
    writing: Option<(Changes, HashMap<u64, Known>)>,
    shown: (u64, u64),
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let mut world = Self {
            now,
            ledger: Ledger::restore(Persisted::default(), now),
            disk: Persisted::default(),
            cores: Vec::new(),
            graves: Vec::new(),
            epochs: 0,
            taken: HashMap::new(),
            durable: HashMap::new(),
            writing: None,
            shown: (0, 0),
        };
        world.cores = (0..CORES).map(|_| world.new_core()).collect();
        world
    }

    fn new_core(&mut self) -> Core {
        self.epochs += 1;
        Core { epoch: self.epochs, ..Core::default() }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Connect(core) => self.connect(core),
            Step::Send { core, growth, records, snapshot } => self.send(core, growth, records, snapshot),
            Step::Resend(core) => {
                let again: Vec<_> = self.cores[core].unacknowledged.iter().cloned().collect();
                again.iter().for_each(|batch| self.deliver(core, batch));
            }
            Step::LoseStream(core) => {
                if let Some(link) = self.cores[core].link.take() {
                    self.ledger.lost(&link, true, self.now);
                }
            }
            Step::Goodbye(core) => {
                if let Some(link) = self.cores[core].link.take() {
                    self.ledger.goodbye(&link);
                    self.cores[core] = self.new_core();
                }
            }
            Step::KillCore(core) => {
                // The stream's end may be seen after the death.
                let link = self.cores[core].link.take();
                let core = std::mem::take(&mut self.cores[core]);
                self.graves.push(remains(core.epoch, core.value + 3, core.sent + 2));
                self.bury();
                if let Some(link) = link {
                    self.ledger.lost(&link, true, self.now);
                }
                let new = self.new_core();
                *self.cores.iter_mut().find(|core| core.epoch == 0).unwrap() = new;
            }
            Step::Bury => self.bury(),
            Step::BeginCommit => {
                if self.writing.is_none() {
                    self.writing = self.ledger.changes().map(|changes| (changes, self.taken.clone()));
                }
            }
            Step::FinishCommit => self.finish_commit(),
            Step::FailCommit => {
                if let Some((changes, _)) = self.writing.take() {
                    self.ledger.failed(changes);
                }
            }
            Step::KillSidecar { written } => {
                if let Some((changes, durable)) = self.writing.take().filter(|_| written) {
                    self.write(&changes, durable);
                }
                self.ledger = Ledger::restore(self.disk.clone(), self.now);
                self.taken = self.durable.clone();
                self.cores.iter_mut().for_each(|core| core.link = None);
            }
            Step::Pass(seconds) => {
                self.now += Duration::from_secs(seconds);
                self.ledger.tick(self.now);
            }
        }
    }

    fn bury(&mut self) {
        let mut graves = std::mem::take(&mut self.graves);
        graves.retain(|grave| {
            let closed = self.ledger.ended.contains(&grave.epoch);
            match self.ledger.bury(grave, SystemTime::UNIX_EPOCH, self.now) {
                Burial::Connected => true,
                Burial::Taken => {
                    // One that stayed away too long was closed without its last word.
                    if !closed {
                        self.taken.entry(grave.epoch).or_default().value = grave.cells[cell()];
                    }
                    true
                }
                Burial::Done => {
                    let settled = self.ledger.settled.contains(&grave.epoch);
                    let told = self.durable.get(&grave.epoch).map_or(0, |known| known.value);
                    assert!(settled || told == grave.cells[cell()], "removed before it was on disk");
                    false
                }
            }
        });
        self.graves = graves;
    }

    fn connect(&mut self, core: usize) {
        let epoch = self.cores[core].epoch;
        match self.ledger.connect(epoch, serving(), self.now) {
            Ok(link) => {
                let durable = link.last_durable();
                assert!(durable <= self.durable.get(&epoch).map_or(0, |known| known.sequence));
                self.cores[core].unacknowledged.retain(|batch| batch.sequence > durable);
                self.cores[core].link = Some(link);
                self.step(Step::Resend(core));
            }
            // It was away for too long; its counts are closed, and only a new life counts on.
            Err(ConnectError::Ended(_)) => self.cores[core] = self.new_core(),
            Err(ConnectError::TooMany) => panic!("three cores are not too many"),
        }
    }

    fn send(&mut self, core: usize, growth: u64, records: u64, snapshot: bool) {
        let core_state = &mut self.cores[core];
        if core_state.link.is_none() || !core_state.unacknowledged.iter().all(|b| b.sequence <= core_state.sequence) {
            return;
        }
        core_state.value += growth;
        core_state.sent += records;
        core_state.sequence += 1;
        let value = snapshot.then_some(core_state.value);
        let batch = batch(core_state.sequence, records, core_state.sent, value);
        core_state.unacknowledged.push_back(batch.clone());
        self.deliver(core, &batch);
    }

    fn deliver(&mut self, core: usize, batch: &v1::Batch) {
        let Some(link) = &self.cores[core].link else { return };
        let outcome = take(&mut self.ledger, link, batch).expect("a good batch is never refused");
        if outcome == Taken::New {
            let known = self.taken.entry(link.epoch).or_default();
            known.sequence = batch.sequence;
            known.sent = batch.accounting.as_ref().unwrap().sent[1];
            if let Some(snapshot) = &batch.snapshot {
                known.value = snapshot.values.first().copied().unwrap_or(0);
            }
        }
    }

    fn write(&mut self, changes: &Changes, durable: HashMap<u64, Known>) {
        if let Some(base) = &changes.writes.base {
            self.disk.base = base.clone();
        }
        self.disk.rows.extend(changes.writes.rows.iter().cloned());
        for epoch in &changes.writes.ended {
            self.disk.rows.remove(epoch);
            self.disk.ended.insert(*epoch);
        }
        self.durable = durable;
    }

    fn finish_commit(&mut self) {
        let Some((changes, durable)) = self.writing.take() else { return };
        self.write(&changes, durable);
        self.ledger.committed(changes);
        for core in &mut self.cores {
            if let Some(link) = &core.link {
                let acknowledged = link.progress.borrow().sequence;
                core.unacknowledged.retain(|batch| batch.sequence > acknowledged);
            }
        }
    }

    fn check(&mut self) {
        let shown = (self.ledger.visible()[cell()], self.ledger.visible()[SENT + 1]);
        let value: u64 = self.durable.values().map(|known| known.value).sum();
        let sent: u64 = self.durable.values().map(|known| known.sent).sum();
        assert_eq!(shown, (value, sent), "what is shown is what is on disk of every life of every core");
        assert!(shown.0 >= self.shown.0 && shown.1 >= self.shown.1, "{shown:?} after {:?}", self.shown);
        self.shown = shown;
        for link in self.cores.iter().filter_map(|core| core.link.as_ref()) {
            let durable = self.durable.get(&link.epoch).map_or(0, |known| known.sequence);
            assert!(link.progress.borrow().sequence <= durable, "acknowledged before it was on disk");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn totals_equal_the_model_and_never_fall(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            world.check();
        }
        // In the end every core comes back and says everything: nothing of a living core is missing.
        for core in 0..CORES {
            world.connect(core);
            world.connect(core);
            world.send(core, 1, 1, true);
        }
        for step in [Step::FinishCommit, Step::BeginCommit, Step::FinishCommit] {
            world.step(step);
            world.check();
        }
        // And every dead one is buried.
        for _ in 0..3 {
            for step in [Step::Bury, Step::Pass(6), Step::BeginCommit, Step::FinishCommit] {
                world.step(step);
                world.check();
            }
        }
        prop_assert!(world.graves.is_empty(), "{:?}", world.graves);
        for core in &world.cores {
            prop_assert_eq!(world.durable[&core.epoch], Known { sequence: core.sequence, value: core.value, sent: core.sent });
        }
    }
}
