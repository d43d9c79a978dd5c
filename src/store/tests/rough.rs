//! A sink in memory, for the batcher's tests: it fails, refuses and goes back as databases do.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use super::super::batcher::batch::Batch;
use super::super::batcher::sift::{self, Trial};
use super::super::journal::JournalId;
use super::super::sink::{AbsentIds, Gone, Past, SiftHints, Sifted, Sink, SinkError, Sought};
use super::Dice;
use crate::wire::record::Record;
use crate::wire::{Id, SpaceId};

/// What a database would hold.
pub(super) struct Model {
    positions: HashMap<JournalId, u64>,
    /// Space and id, in the order of commits.
    pub(super) rows: Vec<(i32, u128)>,
    pub(super) poison: BTreeSet<u128>,
    /// A space that is not there.
    pub(super) absent: Option<SpaceId>,
    /// Whether it can be asked who is not there.
    pub(super) tells_absent: bool,
    /// Rows that it refuses, whatever they hold.
    pub(super) refuses: fn(&Record<'_>) -> bool,
    dice: Dice,
    /// How many of 100 calls fail.
    faults: u64,
    /// Transactions and trials.
    pub(super) calls: u64,
    /// The next call is a bug.
    pub(super) panics: bool,
    /// The next batch is a bug: before it is committed, or behind that.
    pub(super) bug: Option<Bug>,
    /// Before how many of 100 calls it becomes what it was.
    pub(super) returns: u64,
    /// The highest id of journals that it has forgotten.
    forgotten: u128,
    /// What it was after each change: positions, rows, and the highest id forgotten.
    past: Vec<(HashMap<JournalId, u64>, usize, u128)>,
}

/// When a bug is met.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    Before,
    Behind,
}

#[derive(Clone)]
pub(super) struct Rough(Arc<Mutex<Model>>);

impl Rough {
    pub(super) fn new(seed: u64, faults: u64) -> Rough {
        let dice = Dice::new(seed);
        let model = Model {
            positions: HashMap::new(),
            rows: Vec::new(),
            poison: BTreeSet::new(),
            absent: None,
            tells_absent: true,
            refuses: |_| false,
            dice,
            faults,
            calls: 0,
            panics: false,
            bug: None,
            returns: 0,
            forgotten: 0,
            past: Vec::new(),
        };
        Rough(Arc::new(Mutex::new(model)))
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Model) -> T) -> T {
        look(&mut self.0.lock().expect("no test has panicked"))
    }
}

impl Model {
    pub(super) fn fails(&mut self) -> bool {
        if self.returns > 0 && self.dice.below(100) < self.returns && !self.past.is_empty() {
            let changes = self.dice.below(self.past.len().min(30) as u64) as usize;
            self.past.truncate(self.past.len() - changes);
            let (positions, rows, forgotten) = self.past.last().expect("the first").clone();
            self.rows.truncate(rows);
            (self.positions, self.forgotten) = (positions, forgotten);
        }
        self.dice.below(100) < self.faults
    }

    pub(super) fn changed(&mut self) {
        self.past.push((self.positions.clone(), self.rows.len(), self.forgotten));
    }

    fn append(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.calls += 1;
        if self.fails() {
            return Err(match self.dice.below(4) {
                0 => SinkError::Retry("busy".into()),
                1 => SinkError::Refused("read-only".into()),
                2 => SinkError::Unclear("lost before the commit".into()),
                _ => {
                    self.commit(batch)?;
                    SinkError::Unclear("lost behind the commit".into())
                }
            });
        }
        self.commit(batch)
    }

    pub(super) fn commit(&mut self, batch: &Batch) -> Result<(), SinkError> {
        for advance in batch.advances() {
            // As PostgreSQL has it: a row that was never asked for, or is gone, is not moved.
            if self.positions.get(&advance.journal) != Some(&advance.last) {
                return Err(SinkError::Unclear("moved".into()));
            }
        }
        batch.records().try_for_each(|record| self.judge(&record))?;
        self.rows.extend(batch.records().map(|record| (record.space.0, record.id.0)));
        for advance in batch.advances() {
            self.positions.insert(advance.journal, advance.next);
        }
        self.changed();
        Ok(())
    }
}

impl Model {
    pub(super) fn judge(&self, record: &Record<'_>) -> Result<(), SinkError> {
        if self.absent == Some(record.space) {
            return Err(SinkError::Orphan("orphan".into()));
        }
        match self.poison.contains(&record.id.0) || (self.refuses)(record) {
            true => Err(SinkError::Data("poison".into())),
            false => Ok(()),
        }
    }
}

/// Nothing of what is tried depends on other rows.
impl Trial for Rough {
    async fn take(&mut self, rows: &[Record<'_>]) -> Result<(), SinkError> {
        self.with(|model| {
            model.calls += 1;
            rows.iter().try_for_each(|row| model.judge(row))
        })
    }

    async fn probe(&mut self, row: &Record<'_>) -> Result<(), SinkError> {
        self.take(std::slice::from_ref(row)).await
    }
}

impl Sink for Rough {
    const SYSTEM: &'static str = "other_sql";

    async fn sift(&mut self, batch: &Batch, known: &SiftHints) -> Result<Sifted, SinkError> {
        tokio::task::yield_now().await;
        if self.with(Model::fails) {
            return Err(SinkError::Retry("away".into()));
        }
        let rows: Vec<Record<'_>> = batch.records().collect();
        sift::sift(self, &rows, known).await
    }

    async fn positions(&mut self, journals: &[JournalId]) -> Result<Vec<u64>, SinkError> {
        tokio::task::yield_now().await;
        assert!(!self.with(|model| model.panics), "a bug");
        self.with(|model| match model.fails() {
            true => Err(SinkError::Retry("away".into())),
            false => {
                let positions = &mut model.positions;
                let all = journals.iter().map(|it| *positions.entry(*it).or_insert(0)).collect();
                model.changed();
                Ok(all)
            }
        })
    }

    async fn identity(&mut self) -> Result<String, SinkError> {
        Ok("model".into())
    }

    async fn past(&mut self, journals: &[JournalId], _limit: Id) -> Result<Past, SinkError> {
        self.with(|model| {
            let positions = journals.iter().map(|it| model.positions.get(it).copied()).collect();
            let stored = model.rows.iter().map(|row| row.1).max().unwrap_or(0);
            Ok(Past { positions, highest: Id(stored.max(model.forgotten)) })
        })
    }

    async fn stored_ids(&mut self, sought: &[Sought]) -> Result<BTreeSet<Id>, SinkError> {
        self.with(|model| {
            let is_stored = |id: &Id| model.rows.iter().any(|row| row.1 == id.0);
            Ok(sought.iter().map(|sought| sought.id).filter(is_stored).collect())
        })
    }

    async fn absent(&mut self, _batch: &Batch) -> Result<AbsentIds, SinkError> {
        tokio::task::yield_now().await;
        self.with(|model| match model.fails() {
            true => Err(SinkError::Retry("away".into())),
            false if !model.tells_absent => Ok(AbsentIds::default()),
            false => {
                Ok(AbsentIds { spaces: model.absent.into_iter().collect(), ..AbsentIds::default() })
            }
        })
    }

    async fn append(&mut self, batch: &Batch) -> Result<(), SinkError> {
        // Dropped at the first or the second of these, it has not or has committed.
        tokio::task::yield_now().await;
        let bug = self.with(|model| model.bug.take());
        assert!(bug != Some(Bug::Before), "a bug");
        let outcome = self.with(|model| model.append(batch));
        assert!(bug != Some(Bug::Behind), "a bug");
        tokio::task::yield_now().await;
        outcome
    }

    async fn forget(&mut self, gone: &Gone) -> Result<(), SinkError> {
        self.with(|model| match model.fails() {
            true => Err(SinkError::Retry("away".into())),
            false => {
                if model.positions.get(&gone.journal) == Some(&gone.stored) {
                    model.positions.remove(&gone.journal);
                    model.forgotten = model.forgotten.max(gone.highest.0);
                    model.changed();
                }
                Ok(())
            }
        })
    }

    async fn highest_id(&mut self, _limit: Id) -> Result<Id, SinkError> {
        Ok(Id::MIN)
    }
}
