//! Which sagas a job is about, frozen: those that fit what is to be done, and why the others do not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use saga_core::definition::fresh_pointers;
use saga_core::{Phase, State, Status};
use saga_protocol::SagaId;

use super::{Doing, JobRequest, SET_MAX};
use crate::api::words;
use crate::engine::Engine;
use crate::projection::row::Read;
use crate::store::StoreError;
use crate::store::definitions::Published;
use crate::store::find::{Filter, Reached};
use crate::store::jobs::Frozen;
use crate::store::queues::AtRisk;

/// Why what is not any more as it was found is left out.
const MOVED: &str = "it has moved since it was found: look again";
/// Sagas that are read at once.
const CHUNK: usize = 1_000;

/// Which sagas are meant.
#[derive(Clone, Debug)]
pub enum Meant {
    /// Those that a filter finds.
    Filter(Box<Filter>),
    /// These.
    These(Vec<SagaId>),
}

/// A set, and what an operator wants to know of it before.
#[derive(Clone, Debug, Default)]
pub struct Selected {
    /// The sagas, the oldest first.
    pub set: Vec<Frozen>,
    /// How many are left out, by reason.
    pub excluded: BTreeMap<&'static str, i64>,
    /// The money behind the set.
    pub amount: Vec<AtRisk>,
    /// Where they stand.
    pub by_step: BTreeMap<String, i64>,
    /// For abandoning: what would stay undone, by step.
    pub uncompensated: BTreeMap<String, i64>,
    /// Where a replay needs fresh inputs.
    pub needs_fresh: BTreeSet<String>,
    /// How many need a second person.
    pub approval: i64,
    /// There are more than a job takes.
    pub too_many: bool,
    /// A text or an owner leaves more than can be looked at.
    pub bounded: bool,
}

/// Looks at the sagas that are meant. Nothing is changed.
///
/// # Errors
/// When the database fails.
pub async fn select(
    engine: &Engine,
    request: &JobRequest,
    doing: Doing,
    meant: &Meant,
    reached: &[Reached],
) -> Result<Selected, StoreError> {
    let mut ids = match meant {
        Meant::Filter(filter) => {
            let limit = i64::try_from(SET_MAX).unwrap_or(i64::MAX).saturating_add(1);
            match engine.store.find_ids(filter, reached, limit).await? {
                Some(ids) => ids,
                None => return Ok(Selected { bounded: true, ..Selected::default() }),
            }
        }
        Meant::These(ids) => ids.clone(),
    };
    ids.sort_unstable_by_key(|id| id.0);
    ids.dedup();
    let mut selected = Selected { too_many: ids.len() > SET_MAX, ..Selected::default() };
    ids.truncate(SET_MAX);
    let mut taken = Taken { version: request.version.as_deref(), of: HashMap::new() };
    let mut money: BTreeMap<Option<String>, (i64, i64)> = BTreeMap::new();
    for chunk in ids.chunks(CHUNK) {
        let uuids: Vec<uuid::Uuid> = chunk.iter().map(|id| id.0).collect();
        let replayed = match doing {
            Doing::Replay => engine.store.replayed(&uuids).await?,
            _ => BTreeSet::new(),
        };
        // Found by what a copy says of them, which may be some seconds old. What has ended stays where it is.
        let seen = match meant {
            Meant::Filter(filter) if filter.needs_projection() && doing != Doing::Replay => {
                Some(engine.store.seen_at(&uuids).await?)
            }
            _ => None,
        };
        let mut read = engine.store.read_for_projection(&uuids).await?;
        let missing = chunk.len().saturating_sub(read.len());
        if missing > 0 {
            *selected.excluded.entry("there is no such saga").or_default() +=
                i64::try_from(missing).unwrap_or(0);
        }
        read.sort_unstable_by_key(|it| it.id);
        for it in read {
            if replayed.contains(&it.id) {
                *selected.excluded.entry("it was replayed already").or_default() += 1;
                continue;
            }
            let as_found = |frozen: Frozen| match &seen {
                Some(seen) if seen.get(&it.id) != Some(&i64::from(frozen.revision)) => Err(MOVED),
                _ => Ok(frozen),
            };
            match fits(doing, &it).and_then(as_found) {
                Err(reason) => *selected.excluded.entry(reason).or_default() += 1,
                Ok(frozen) => {
                    look(engine, request, doing, &it, &mut taken, &mut selected).await?;
                    let sum = money.entry(it.currency.clone()).or_default();
                    sum.0 = sum.0.saturating_add(it.amount.unwrap_or(0));
                    sum.1 += 1;
                    selected.set.push(frozen);
                }
            }
        }
    }
    selected.amount =
        money.into_iter().map(|(currency, (amount, sagas))| AtRisk { currency, amount, sagas }).collect();
    Ok(selected)
}

/// The versions that replays take, by the definition's name.
struct Taken<'r> {
    version: Option<&'r str>,
    of: HashMap<String, Option<Arc<Published>>>,
}

impl Taken<'_> {
    /// The version that a saga of this one is repeated on.
    async fn instead_of(
        &mut self,
        engine: &Engine,
        old: &Arc<Published>,
    ) -> Result<Option<Arc<Published>>, StoreError> {
        let Some(version) = self.version else { return Ok(Some(Arc::clone(old))) };
        let name = &old.definition.name;
        if let Some(known) = self.of.get(name) {
            return Ok(known.clone());
        }
        let id = engine.store.version_id(name, version).await?;
        let found = match id {
            Some(id) => engine.definitions.get(&engine.store, id).await?,
            None => None,
        };
        self.of.insert(name.clone(), found.clone());
        Ok(found)
    }
}

async fn look(
    engine: &Engine,
    request: &JobRequest,
    doing: Doing,
    it: &Read,
    taken: &mut Taken<'_>,
    selected: &mut Selected,
) -> Result<(), StoreError> {
    let Some(published) = engine.definitions.get(&engine.store, it.definition).await? else { return Ok(()) };
    let definition = &published.definition;
    let mut approvals = vec![definition.about.approval.clone()];
    if doing == Doing::Replay
        && let Some(on) = taken.instead_of(engine, &published).await?
    {
        selected.needs_fresh.extend(fresh_pointers(&on.definition.input_schema));
        approvals.push(on.definition.about.approval.clone());
    }
    let word = doing.action(true).map_or("replay", |action| words::action(&action).0);
    // An edited input may be about any amount.
    let amount = it.amount.filter(|_| request.merge.is_none());
    selected.approval += i64::from(approvals.iter().flatten().any(|approval| approval.needed(word, amount)));
    if let (Doing::Abandon, Ok(state)) = (doing, &it.state) {
        let steps: BTreeSet<String> = words::uncompensated(definition, state).into_iter().collect();
        for step in steps {
            *selected.uncompensated.entry(step).or_default() += 1;
        }
    }
    let at = match it.state.as_ref().map(|state| &state.status) {
        Ok(Status::Parked(parked)) => parked.cell.and_then(|cell| words::step_name(definition, cell.step)),
        _ => None,
    };
    *selected.by_step.entry(at.unwrap_or_else(|| "-".to_owned())).or_default() += 1;
    Ok(())
}

/// Whether a saga fits what is to be done, and what it is to become.
fn fits(doing: Doing, it: &Read) -> Result<Frozen, &'static str> {
    let state = it.state.as_ref().map_err(|_| "its state cannot be read")?;
    if doing == Doing::Replay && it.child {
        return Err("it is a part of another saga: replay the one at the top");
    }
    let goal = goal(doing, state)?;
    Ok(Frozen { saga: SagaId(it.id), revision: state.revision, goal })
}

fn goal(doing: Doing, state: &State) -> Result<i16, &'static str> {
    let unwinding = matches!(state.phase, Phase::Unwinding { .. });
    let parked = matches!(state.status, Status::Parked(_));
    match (doing, &state.status) {
        (Doing::Replay, Status::Compensated | Status::Abandoned) => Ok(2),
        (Doing::Replay, Status::Completed) => Err("it completed"),
        (Doing::Replay, _) => Err("it has not ended: retry it instead"),
        (_, Status::Completed | Status::Compensated | Status::Abandoned) => Err("it has ended"),
        (Doing::Abandon, _) => Ok(4),
        (Doing::Retry, _) => Ok(if unwinding { 3 } else { 2 }),
        (Doing::Compensate, _) if unwinding => Err("it is being undone already"),
        (Doing::Compensate, _) if matches!(state.phase, Phase::Committed) => {
            Err("its pivot has succeeded: it only goes forward")
        }
        (Doing::Compensate, _) => Ok(3),
        (Doing::ResumeCompensation, _) if !unwinding => Err("it is not being undone"),
        (Doing::ResumeCompensation, _) if !parked => Err("it is being undone by itself"),
        (Doing::ResumeCompensation, _) => Ok(3),
    }
}
