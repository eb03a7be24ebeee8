//! Finding sagas: lists and counts by any filter, each by an index, keyset-paged.
//!
//! A filter chooses where the page's ids come from: the key's table, the projection, the index of definition and
//! status, or the primary key, which is the time of the start. Every count stops at a bound.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use saga_protocol::SagaId;
use sqlx::postgres::PgRow;
use sqlx::{Postgres, QueryBuilder, Row};
use uuid::Uuid;

use super::projection::before;
use super::read::{Summary, summary};
use super::standing::SENT;
use super::{Store, StoreError};
use crate::projection::row::started_ms;

/// Sagas that a label leaves are read before the others' conditions, up to here; a label of more is so frequent that it
/// is soon met when looking through what else is asked for.
const LABELLED_MAX: i64 = 20_000;

/// Sagas of one owner that are looked at.
const OWNED_MAX: i64 = 10_000;

/// Where a count stops.
pub const COUNT_MAX: i64 = 10_000;

/// How a running saga does; its number is what the SQL below yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// As usual.
    OnTime,
    /// Beyond its step's usual time.
    Late,
    /// Its worker has not reached its command yet.
    Queued,
    /// For time, a signal, a child saga or the end of a hold.
    Waiting,
    /// Not for the first time, or silent.
    Retrying,
    /// It needs a human.
    Parked,
}

impl Health {
    /// Every health, the worst last.
    pub const ALL: [Self; 6] =
        [Self::OnTime, Self::Late, Self::Queued, Self::Waiting, Self::Retrying, Self::Parked];

    /// The health as the API spells it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::OnTime => "on_time",
            Self::Late => "late",
            Self::Queued => "queued",
            Self::Waiting => "waiting",
            Self::Retrying => "retrying",
            Self::Parked => "parked",
        }
    }
}

/// How far a partition of a command topic has been worked off, in ms since 1970 UTC.
#[derive(Clone, Debug)]
pub struct Reached {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Up to here.
    pub ms: i64,
}

/// Which sagas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// With this coarse status, by its number.
    pub status: Option<i16>,
    /// That do so.
    pub health: Option<Health>,
    /// Of this definition.
    pub definition: Option<String>,
    /// Of the version that begins so.
    pub version: Option<String>,
    /// That stand, or failed, at this step.
    pub step: Option<String>,
    /// That failed with this code.
    pub error_code: Option<String>,
    /// That stand at this worker.
    pub worker: Option<String>,
    /// Of this group of failures.
    pub failure: Option<String>,
    /// With this business key.
    pub key: Option<String>,
    /// Whose id, key, error or notes have this in them.
    pub text: Option<String>,
    /// That this person looks after.
    pub owner: Option<String>,
    /// With this label, `name:value`.
    pub label: Option<String>,
    /// Not started before.
    pub started_after: Option<DateTime<Utc>>,
    /// Started before.
    pub started_before: Option<DateTime<Utc>>,
    /// Started at least this long ago, in s.
    pub older_than_s: Option<u32>,
    /// Not ended, and sent at least so many times in the round that they stand at.
    pub attempts_min: Option<u16>,
    /// That repeat this one.
    pub replay_of: Option<SagaId>,
    /// That this principal started.
    pub principal: Option<String>,
    /// Older than this one.
    pub after: Option<SagaId>,
}

impl Filter {
    pub(crate) const fn needs_projection(&self) -> bool {
        self.health.is_some()
            || self.step.is_some()
            || self.error_code.is_some()
            || self.worker.is_some()
            || self.failure.is_some()
            || self.attempts_min.is_some()
    }

    /// Whether it asks for a label's sagas, from some time on or all of them.
    const fn is_label(&self) -> bool {
        self.status.is_none()
            && self.definition.is_none()
            && self.version.is_none()
            && self.key.is_none()
            && self.text.is_none()
            && self.owner.is_none()
            && !self.needs_projection()
    }

    /// Whether it asks for nothing but where sagas stand.
    const fn is_place(&self) -> bool {
        self.key.is_none()
            && self.text.is_none()
            && self.owner.is_none()
            && self.label.is_none()
            && self.started_after.is_none()
            && self.started_before.is_none()
            && self.older_than_s.is_none()
            && self.attempts_min.is_none()
            && self.replay_of.is_none()
            && self.principal.is_none()
            && self.after.is_none()
    }

    /// Where they stand, by the projection's columns.
    pub(super) fn places(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("step", &self.step),
            ("error_code", &self.error_code),
            ("worker", &self.worker),
            ("failure", &self.failure),
        ]
        .into_iter()
        .filter_map(|(column, text)| Some((column, text.as_deref()?)))
    }
}

/// What a filter's words mean.
#[derive(Clone, Debug, Default)]
struct Among {
    /// The only sagas that can fit, when a key, text or owner says so.
    ids: Option<Vec<Uuid>>,
    /// Not all that the text is in, or that the owner has, were looked at.
    bounded: bool,
    /// The versions of the definition.
    versions: Option<Vec<i32>>,
    /// A label that too many have to be read first.
    label: Option<String>,
    /// The statuses in which sagas stand that may fit.
    statuses: Option<Vec<i16>>,
}

/// How many there are, each at most [`COUNT_MAX`] and one more.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// By the status's number.
    pub by_status: [i64; 5],
    /// By health, as [`Health::ALL`] has them.
    pub by_health: [i64; 6],
    /// There may be more: of a text or an owner only the newest sagas are looked at.
    pub bounded: bool,
}

/// Where a saga stands, as the projection has it.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as the API has them")]
pub struct Stand {
    pub health: Option<Health>,
    pub held: bool,
    pub step: Option<String>,
    pub item: Option<i32>,
    pub direction: Option<i16>,
    pub worker: Option<String>,
    pub why: Option<String>,
    pub error_step: Option<String>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub failure: Option<String>,
    pub since_ms: i64,
    pub due_ms: Option<i64>,
    pub attempt: Option<i32>,
    pub attempts_max: Option<i32>,
    pub revision: i32,
}

/// A saga in a list.
#[derive(Clone, Debug)]
pub struct Found {
    /// The coarse row.
    pub summary: Summary,
    /// Where it stands, when the projection knows.
    pub stand: Option<Stand>,
    /// Who looks after it.
    pub owner: Option<String>,
    /// The newest note.
    pub note: Option<String>,
    /// Open anomalies.
    pub anomalies: i64,
}

/// The health in SQL, of projection `p`, with `r` the partitions' progress.
const HEALTH: &str = "case when p.status = 1 then 5 when p.status > 1 then null when p.run in (1, 2) then 4
    when p.run in (3, 4) then 3 when p.run = 0 and p.sent_ms > r.ms then 2
    when p.late_ms < (extract(epoch from now()) * 1000)::bigint then 1 else 0 end";

/// The same of those whose command is on its way.
pub(super) const HEALTH_SENT: &str = "case when p.sent_ms > r.ms then 2
    when p.late_ms < (extract(epoch from now()) * 1000)::bigint then 1 else 0 end";

pub(super) fn with_reached(query: &mut QueryBuilder<Postgres>, reached: &[Reached]) {
    query
        .push("with reached as (select * from unnest(")
        .push_bind(reached.iter().map(|it| it.topic.clone()).collect::<Vec<_>>())
        .push("::text[], ")
        .push_bind(reached.iter().map(|it| it.partition).collect::<Vec<_>>())
        .push("::int[], ")
        .push_bind(reached.iter().map(|it| it.ms).collect::<Vec<_>>())
        .push("::bigint[]) as r (topic, partition, ms)) ");
}

pub(super) const REACHED: &str = " left join reached r on r.topic = p.topic and r.partition = p.partition";

/// What the API shows beside a coarse row.
const DETAILS: &str =
    "p.run, p.step, p.item, p.direction, p.worker, p.why, p.error_step, p.error_code, p.error_message,
    p.failure, p.since_ms, p.due_ms, p.attempt, p.attempts_max, p.revision, c.owner,
    (select n.body from note n where n.saga_id = s.id order by n.id desc limit 1),
    (select count(*) from anomaly a where a.saga_id = s.id and a.resolved_at is null)";

impl Store {
    /// A page of sagas, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find(
        &self,
        filter: &Filter,
        reached: &[Reached],
        limit: u16,
    ) -> Result<Vec<Found>, StoreError> {
        let among = self.among_these(filter).await?;
        let mut query = QueryBuilder::new("");
        with_reached(&mut query, reached);
        query.push(", page as (");
        push_ids(&mut query, filter, &among, i64::from(limit), true);
        query.push(") select ").push(super::read::SUMMARY).push(", ").push(HEALTH).push(", ").push(DETAILS);
        query
            .push(
                " from page join saga s on s.id = page.id join definition d on d.id = s.definition
                 left join projection p on p.saga_id = s.id left join care c on c.saga_id = s.id",
            )
            .push(REACHED)
            .push(" order by s.id desc");
        let rows = query.build().fetch_all(self.reads()).await?;
        rows.iter().map(found).collect()
    }

    /// The ids alone, newest first. `None` when there may be more than were looked at: a text or an owner leaves too
    /// many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_ids(
        &self,
        filter: &Filter,
        reached: &[Reached],
        limit: i64,
    ) -> Result<Option<Vec<SagaId>>, StoreError> {
        let among = self.among_these(filter).await?;
        if among.bounded {
            return Ok(None);
        }
        let mut query = QueryBuilder::new("");
        with_reached(&mut query, reached);
        query.push("select id from (");
        push_ids(&mut query, filter, &among, limit, true);
        query.push(") page");
        let rows = query.build().fetch_all(self.reads()).await?;
        rows.iter().map(|row| Ok(SagaId(row.try_get(0)?))).collect::<Result<_, _>>().map(Some)
    }

    /// The revisions at which the projection has seen these sagas; those that it shows no more are absent.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn seen_at(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, i64>, StoreError> {
        let rows: Vec<(Uuid, i32)> =
            sqlx::query_as("select saga_id, revision from projection where saga_id = any($1)")
                .bind(ids)
                .fetch_all(self.reads())
                .await?;
        Ok(rows.into_iter().map(|(id, revision)| (id, i64::from(revision))).collect())
    }

    /// How many there are by status, and how many of those that run or are parked do how; each at most [`COUNT_MAX`]
    /// and one more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count(&self, filter: &Filter, reached: &[Reached]) -> Result<Counted, StoreError> {
        let among = self.among(filter).await?;
        if let Some(ids) = &among.ids {
            return self.count_these(ids, filter, &among, reached).await;
        }
        let mut counted = Counted { bounded: among.bounded, ..Counted::default() };
        let mut stood = [0; 5];
        if filter.is_place() {
            let standing = self.count_standing(filter, among.versions.as_deref(), reached).await?;
            if filter.needs_projection() {
                return Ok(standing);
            }
            counted.by_health = standing.by_health;
            stood = standing.by_status;
        }
        for (status, (count, stood)) in (0..).zip(counted.by_status.iter_mut().zip(stood)) {
            if filter.status.is_some_and(|it| it != status) {
                continue;
            }
            // Beyond the bound, that there are more is all that is said: however little the sums lag, that is so already.
            if stood > COUNT_MAX * 2 {
                *count = stood;
                continue;
            }
            let filter = Filter { status: Some(status), ..filter.clone() };
            let mut query = QueryBuilder::new("");
            with_reached(&mut query, reached);
            query.push("select count(*) from (");
            push_ids(&mut query, &filter, &among, COUNT_MAX + 1, false);
            query.push(") page");
            *count = query.build().fetch_one(self.reads()).await?.try_get(0)?;
        }
        if filter.is_place() {
            return Ok(counted);
        }
        let mut query = QueryBuilder::new("");
        with_reached(&mut query, reached);
        query.push("select health, count(*) from (select ").push(HEALTH).push(" as health from (");
        // Who has ended has no health.
        let statuses = shown_statuses(filter).into_iter().filter(|it| *it < 2).collect();
        push_from_projection(&mut query, filter, &among, statuses, COUNT_MAX * 3, false);
        query
            .push(") page join projection p on p.saga_id = page.id")
            .push(REACHED)
            .push(") it where health is not null group by 1");
        let rows: Vec<(i32, i64)> = query.build_query_as().fetch_all(self.reads()).await?;
        for (at, count) in rows {
            if let Some(place) = usize::try_from(at).ok().and_then(|at| counted.by_health.get_mut(at)) {
                *place = count;
            }
        }
        Ok(counted)
    }

    /// The same of sagas that are known already, in one look at each.
    async fn count_these(
        &self,
        ids: &[Uuid],
        filter: &Filter,
        among: &Among,
        reached: &[Reached],
    ) -> Result<Counted, StoreError> {
        let mut query = QueryBuilder::new("");
        with_reached(&mut query, reached);
        // Whom the projection does not show yet has no health.
        query
            .push("select s.status, case when p.saga_id is not null then ")
            .push(HEALTH)
            .push(" end, count(*) ");
        push_these(&mut query, ids, filter, among);
        query.push(" group by 1, 2");
        let rows: Vec<(i16, Option<i32>, i64)> = query.build_query_as().fetch_all(self.reads()).await?;
        let mut counted = Counted { bounded: among.bounded, ..Counted::default() };
        for (status, health, count) in rows {
            if let Some(place) = usize::try_from(status).ok().and_then(|at| counted.by_status.get_mut(at)) {
                *place += count;
            }
            let health = health.and_then(|at| usize::try_from(at).ok());
            if let Some(place) = health.and_then(|at| counted.by_health.get_mut(at)) {
                *place += count;
            }
        }
        Ok(counted)
    }

    /// The same for a list, with the statuses in which there is anything at all: where nothing stands, an index would
    /// be read to its end for nothing.
    async fn among_these(&self, filter: &Filter) -> Result<Among, StoreError> {
        // Alone, the label's own index has the newest first, however many there are. Counts ask with each status besides.
        if filter.label.is_some() && filter.is_label() {
            return Ok(Among { label: filter.label.clone(), ..Among::default() });
        }
        let mut among = self.among(filter).await?;
        if among.ids.is_none() && filter.needs_projection() {
            among.statuses = Some(self.stood_statuses(filter, among.versions.as_deref()).await?);
        }
        Ok(among)
    }

    /// What a filter's words mean, asked once.
    async fn among(&self, filter: &Filter) -> Result<Among, StoreError> {
        let mut among = Among::default();
        if filter.definition.is_some() || filter.version.is_some() {
            among.versions = Some(self.versions_of(filter).await?);
        }
        let mut left: Option<HashSet<Uuid>> = None;
        let mut narrow = |found: Vec<Uuid>| {
            let found: HashSet<Uuid> = found.into_iter().collect();
            left = Some(match left.take() {
                None => found,
                Some(before) => before.intersection(&found).copied().collect(),
            });
        };
        if let Some(key) = &filter.key {
            narrow(self.by_key(key, None).await?);
        }
        if let Some(owner) = &filter.owner {
            let rows: Vec<(Uuid,)> =
                sqlx::query_as("select saga_id from care where owner = $1 order by saga_id desc limit $2")
                    .bind(owner)
                    .bind(OWNED_MAX)
                    .fetch_all(self.reads())
                    .await?;
            among.bounded |= i64::try_from(rows.len()).is_ok_and(|len| len >= OWNED_MAX);
            narrow(rows.into_iter().map(|row| row.0).collect());
        }
        if let Some(text) = &filter.text {
            let (found, bounded) = self.by_text(text.trim(), filter, among.versions.as_deref()).await?;
            among.bounded |= bounded;
            narrow(found);
        }
        if let Some(label) = &filter.label {
            let mut query = QueryBuilder::new("select l.saga_id from saga_label l where l.label = ");
            query.push_bind(label.clone());
            push_range(&mut query, filter, "l.saga_id");
            query.push(" order by l.saga_id desc limit ").push_bind(LABELLED_MAX + 1);
            let rows: Vec<(Uuid,)> = query.build_query_as().fetch_all(self.reads()).await?;
            if i64::try_from(rows.len()).is_ok_and(|len| len <= LABELLED_MAX) {
                narrow(rows.into_iter().map(|row| row.0).collect());
            } else {
                among.label = Some(label.clone());
            }
        }
        among.ids = left.map(|ids| ids.into_iter().collect());
        Ok(among)
    }

    async fn versions_of(&self, filter: &Filter) -> Result<Vec<i32>, StoreError> {
        let rows: Vec<(i32,)> = sqlx::query_as(
            "select id from definition where ($1::text is null or name = $1) and ($2::text is null or starts_with(version, $2))",
        )
        .bind(&filter.definition)
        .bind(&filter.version)
        .fetch_all(self.reads())
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }
}

/// The page's ids, as a query; newest first, unless they are only counted.
fn push_ids(query: &mut QueryBuilder<Postgres>, filter: &Filter, among: &Among, limit: i64, newest: bool) {
    if let Some(ids) = &among.ids {
        query.push("select s.id ");
        push_these(query, ids, filter, among);
        return push_end(query, "s.id", limit, newest);
    }
    if filter.needs_projection() {
        let statuses = among.statuses.clone().unwrap_or_else(|| shown_statuses(filter));
        return push_from_projection(query, filter, among, statuses, limit, newest);
    }
    if filter.status.is_none() && among.versions.is_none() {
        if let Some(label) = &among.label {
            // One by one in the label's order: merged, the newer sagas without the label would all be read.
            query.push("select l.saga_id as id from saga_label l cross join lateral (select * from saga s where s.id = l.saga_id offset 0) s where l.label = ");
            query.push_bind(label.clone());
            push_started_by(query, filter);
            push_range(query, filter, "l.saga_id");
            return push_end(query, "l.saga_id", limit, newest);
        }
        query.push("select s.id from saga s where true");
        push_coarse(query, filter, among);
        return push_end(query, "s.id", limit, newest);
    }
    // Each version and status by itself: the index has the newest of each first.
    let statuses = filter.status.map_or_else(|| vec![0, 1, 2, 3, 4], |status| vec![status]);
    query.push("select l.id from ");
    match &among.versions {
        Some(versions) => query.push("unnest(").push_bind(versions.clone()).push("::int[]) as v (id)"),
        None => query.push("definition v"),
    };
    query.push(" cross join unnest(").push_bind(statuses);
    query.push("::smallint[]) as w (status) cross join lateral (select s.id from saga s where s.definition = v.id and s.status = w.status");
    push_coarse(query, filter, among);
    push_end(query, "s.id", limit, newest);
    query.push(") l");
    push_end(query, "l.id", limit, newest);
}

/// Sagas that are known by their ids already, as `s`, and their projection, as `p`.
fn push_these(query: &mut QueryBuilder<Postgres>, ids: &[Uuid], filter: &Filter, among: &Among) {
    query.push("from saga s left join projection p on p.saga_id = s.id").push(REACHED);
    query.push(" where s.id = any(").push_bind(ids.to_vec()).push(")");
    if let Some(status) = filter.status {
        query.push(" and s.status = ").push_bind(status);
    }
    if let Some(versions) = &among.versions {
        query.push(" and s.definition = any(").push_bind(versions.clone()).push(")");
    }
    push_coarse(query, filter, among);
    push_fine(query, filter);
}

/// The same from the projection: each status by itself, so that whichever index begins with what is asked for has the
/// newest of it first.
fn push_from_projection(
    query: &mut QueryBuilder<Postgres>,
    filter: &Filter,
    among: &Among,
    statuses: Vec<i16>,
    limit: i64,
    newest: bool,
) {
    query.push("select l.id from (");
    // Written out, so that each is planned for what is known of it.
    for (at, status) in statuses.iter().enumerate() {
        query
            .push(if at == 0 { "(" } else { " union all (" })
            .push("select p.saga_id as id from projection p");
        if filter.principal.is_some() || filter.replay_of.is_some() {
            query.push(" join saga s on s.id = p.saga_id");
        }
        query.push(REACHED).push(format!(" where p.status = {status}"));
        if let Some(versions) = &among.versions {
            query.push(" and p.definition = any(").push_bind(versions.clone()).push(")");
        }
        push_started_by(query, filter);
        push_label(query, among.label.as_deref(), "p.saga_id");
        push_range(query, filter, "p.saga_id");
        push_fine(query, filter);
        push_end(query, "p.saga_id", limit, newest);
        query.push(")");
    }
    if statuses.is_empty() {
        query.push("select null::uuid as id where false");
    }
    query.push(") l");
    push_end(query, "l.id", limit, newest);
}

/// The order and the bound. What is only counted needs no order, and stops at the bound.
fn push_end(query: &mut QueryBuilder<Postgres>, id: &str, limit: i64, newest: bool) {
    if newest {
        query.push(" order by ").push(id).push(" desc");
    }
    query.push(" limit ").push_bind(limit);
}

/// The statuses that rows of the projection can have and still fit.
pub(super) fn shown_statuses(filter: &Filter) -> Vec<i16> {
    let of_health = filter.health.map(|it| if it == Health::Parked { 1 } else { 0 });
    [0, 1, 3, 4]
        .into_iter()
        .filter(|status| {
            filter.status.is_none_or(|it| it == *status) && of_health.is_none_or(|it| it == *status)
        })
        .collect()
}

/// Conditions on `s`, but for definition and status, which may be the source.
fn push_coarse(query: &mut QueryBuilder<Postgres>, filter: &Filter, among: &Among) {
    push_started_by(query, filter);
    push_label(query, among.label.as_deref(), "s.id");
    push_range(query, filter, "s.id");
}

fn push_started_by(query: &mut QueryBuilder<Postgres>, filter: &Filter) {
    if let Some(principal) = &filter.principal {
        query.push(" and s.principal = ").push_bind(principal.clone());
    }
    if let Some(saga) = filter.replay_of {
        query.push(" and s.replay_of = ").push_bind(saga.0);
    }
}

pub(super) fn push_label(query: &mut QueryBuilder<Postgres>, label: Option<&str>, id: &str) {
    if let Some(label) = label {
        query.push(" and exists (select from saga_label l where l.label = ").push_bind(label.to_owned());
        query.push(" and l.saga_id = ").push(id).push(")");
    }
}

/// A saga's id is the time of its start.
pub(super) fn push_range(query: &mut QueryBuilder<Postgres>, filter: &Filter, id: &str) {
    let age = filter.older_than_s.map(|s| before(Utc::now() - TimeDelta::seconds(i64::from(s))));
    let below = [age, filter.started_before.map(before), filter.after.map(|it| it.0)];
    if let Some(below) = below.into_iter().flatten().min() {
        query.push(" and ").push(id).push(" < ").push_bind(below);
    }
    // A replay cannot be older than what it repeats.
    let from = [filter.started_after.map(before), filter.replay_of.map(|it| it.0)];
    if let Some(from) = from.into_iter().flatten().max() {
        query.push(" and ").push(id).push(" >= ").push_bind(from);
    }
}

/// Conditions on `p`.
pub(super) fn push_fine(query: &mut QueryBuilder<Postgres>, filter: &Filter) {
    for (column, text) in filter.places() {
        query.push(" and p.").push(column).push(" = ").push_bind(text.to_owned());
    }
    if let Some(attempts) = filter.attempts_min {
        // The status makes an index of it.
        query.push(" and p.status in (0, 1) and p.attempt >= ").push_bind(i32::from(attempts));
    }
    if let Some(health) = filter.health {
        // The status makes an index of it, and so does what is on its way.
        match health {
            Health::Parked => query.push(" and p.status = 1"),
            Health::OnTime | Health::Late | Health::Queued => query
                .push(" and ")
                .push(SENT)
                .push(" and ")
                .push(HEALTH_SENT)
                .push(" = ")
                .push_bind(health as i32),
            Health::Retrying => query.push(" and p.status = 0 and p.run in (1, 2)"),
            Health::Waiting => query.push(" and p.status = 0 and p.run in (3, 4)"),
        };
    }
}

fn found(row: &PgRow) -> Result<Found, StoreError> {
    // After the summary's 14 columns.
    let health: Option<i32> = row.try_get(14)?;
    let health = health.and_then(|at| Health::ALL.get(usize::try_from(at).ok()?).copied());
    let since_ms: Option<i64> = row.try_get(25)?;
    let summary = summary(row)?;
    let stand = match since_ms {
        Some(since_ms) => Some(Stand {
            health,
            held: row.try_get::<Option<i16>, _>(15)? == Some(4),
            step: row.try_get(16)?,
            item: row.try_get(17)?,
            direction: row.try_get(18)?,
            worker: row.try_get(19)?,
            why: row.try_get(20)?,
            error_step: row.try_get(21)?,
            error_code: row.try_get(22)?,
            error_message: row.try_get(23)?,
            failure: row.try_get(24)?,
            since_ms: since_ms.max(started_ms(summary.saga.0)),
            due_ms: row.try_get(26)?,
            attempt: row.try_get(27)?,
            attempts_max: row.try_get(28)?,
            revision: row.try_get(29)?,
        }),
        None => None,
    };
    Ok(Found { summary, stand, owner: row.try_get(30)?, note: row.try_get(31)?, anomalies: row.try_get(32)? })
}
