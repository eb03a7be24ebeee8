//! Approvals: actions that wait for a second person.
//!
//! Asking and deciding each stand in the audit, in their own transaction; an approved action goes to the mailbox in
//! the transaction that approves it.

use chrono::{DateTime, Utc};
use saga_core::{Event, What};
use saga_protocol::SagaId;
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::audit::{self, Actor, Deed};
use super::mail::{self, Asked, Delivery};
use super::{Store, StoreError};
use crate::auth::{ANONYMOUS, keys};
use crate::deeds;

/// For how long an approval may be given, in hours.
pub(super) const OPEN_HOURS: i32 = 24;

/// An action that waits, or waited, for a second person.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as the API has them")]
pub struct Approval {
    pub id: Uuid,
    pub saga: SagaId,
    pub definition: String,
    pub key: Option<String>,
    pub amount: Option<i64>,
    pub currency: Option<String>,
    pub request: Value,
    pub asked_by: String,
    pub asked_at: DateTime<Utc>,
    pub why: String,
    pub state: String,
    pub decided_by: Option<String>,
    pub decided_at: Option<DateTime<Utc>>,
    pub decision_why: Option<String>,
    /// What the saga's owner made of it.
    pub result: Option<String>,
}

/// What came of a decision.
#[derive(Debug)]
pub enum Decided {
    /// It stands; an approved action went to this shard's mailbox.
    Now(i32),
    /// There is no such approval.
    Nothing,
    /// It was decided, or is too old.
    Before(String),
    /// Who asked cannot approve.
    OwnOne,
    /// Its key has named another action meanwhile: nothing was decided.
    Reused,
}

const COLUMNS: &str =
    "a.id, a.saga_id, d.name, s.key, s.amount, s.currency, a.request, a.asked_by, a.asked_at, a.why,
    a.state, a.decided_by, a.decided_at, a.decision_why, m.result
    from approval a join saga s on s.id = a.saga_id join definition d on d.id = s.definition
    left join mailbox m on m.id = a.id and m.taken_at is not null";

fn approval(row: &PgRow) -> Result<Approval, StoreError> {
    let request: &str = row.try_get(6)?;
    Ok(Approval {
        id: row.try_get(0)?,
        saga: SagaId(row.try_get(1)?),
        definition: row.try_get(2)?,
        key: row.try_get(3)?,
        amount: row.try_get(4)?,
        currency: row.try_get(5)?,
        request: serde_json::from_str(request).unwrap_or_default(),
        asked_by: row.try_get(7)?,
        asked_at: row.try_get(8)?,
        why: row.try_get(9)?,
        state: row.try_get(10)?,
        decided_by: row.try_get(11)?,
        decided_at: row.try_get(12)?,
        decision_why: row.try_get(13)?,
        result: row.try_get(14)?,
    })
}

impl Store {
    /// Keeps an action until a second person decides. A repetition changes nothing. Returns where the approval
    /// stands; `None` when the id was used for another action.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ask_approval(
        &self,
        asked: Asked<'_>,
        request: &Value,
        actor: &Actor,
        who: &str,
        why: &str,
    ) -> Result<Option<String>, StoreError> {
        let unreadable = |error: serde_json::Error| StoreError::Unreadable(error.to_string());
        let event = serde_json::to_string(asked.event).map_err(unreadable)?;
        let mut tx = self.reads().begin().await?;
        let request_text = request.to_string();
        let kept = sqlx::query(
            "insert into approval (id, saga_id, request, event, payload, asked_by, why)
             select $1, $2, $3, $4, $5, $6, $7 where not exists (select from mailbox where id = $1)
             on conflict do nothing",
        )
        .bind(asked.id)
        .bind(asked.saga.0)
        .bind(&request_text)
        .bind(event)
        .bind(asked.payload.map(Value::to_string))
        .bind(who)
        .bind(why)
        .execute(&mut *tx)
        .await?;
        if kept.rows_affected() == 0 {
            let row: Option<(String, String)> =
                sqlx::query_as("select request, state from approval where id = $1")
                    .bind(asked.id)
                    .fetch_optional(&mut *tx)
                    .await?;
            return Ok(row.filter(|(request, _)| *request == request_text).map(|(_, state)| state));
        }
        // What the audit keeps is never erased: nothing of what may be personal. Why has its own place there.
        let mut told = request.clone();
        if let Some(members) = told.as_object_mut() {
            for name in ["input", "output", "evidence", "why"] {
                members.remove(name);
            }
        }
        let deed =
            Deed { why: Some(why), before: Some(told), ..Deed::new("approval.ask", asked.saga.to_string()) };
        audit::keep(&mut tx, actor, deed).await?;
        tx.commit().await?;
        Ok(Some("open".to_owned()))
    }

    /// Approvals, newest first, at most 500.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn approvals(&self, open: bool, saga: Option<SagaId>) -> Result<Vec<Approval>, StoreError> {
        self.expire_approvals().await?;
        let sql = format!(
            "select {COLUMNS} where ($1 = false or a.state = 'open') and ($2::uuid is null or a.saga_id = $2)
             order by a.asked_at desc limit 500"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(open)
            .bind(saga.map(|it| it.0))
            .fetch_all(self.reads())
            .await?;
        rows.iter().map(approval).collect()
    }

    /// One approval.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn approval(&self, id: Uuid) -> Result<Option<Approval>, StoreError> {
        let sql = format!("select {COLUMNS} where a.id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(self.reads()).await?;
        row.as_ref().map(approval).transpose()
    }

    /// How many wait for a decision.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_approvals(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar("select count(*) from approval where state = 'open'")
            .fetch_one(self.reads())
            .await?)
    }

    async fn expire_approvals(&self) -> Result<(), StoreError> {
        sqlx::query(
            "update approval set state = 'expired' where state = 'open' and asked_at < now() - make_interval(hours => $1)",
        )
        .bind(OPEN_HOURS)
        .execute(self.reads())
        .await?;
        Ok(())
    }

    /// Decides. An approved action is in the mailbox when this returns.
    ///
    /// # Errors
    /// When the database fails; nothing was decided then, or all of it.
    pub async fn decide_approval(
        &self,
        actor: &Actor,
        id: Uuid,
        approve: bool,
        why: &str,
        people_sign_in: bool,
    ) -> Result<Decided, StoreError> {
        self.expire_approvals().await?;
        let mut tx = self.hot().begin().await?;
        let row = sqlx::query(
            "select saga_id, event, payload, asked_by, state from approval where id = $1 for update",
        )
        .bind(id)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(Decided::Nothing) };
        let (saga, event, payload): (Uuid, String, Option<String>) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let (asked_by, state): (String, String) = (row.try_get(3)?, row.try_get(4)?);
        if state != "open" {
            return Ok(Decided::Before(state));
        }
        // Whoever asked may take it back, but not wave it through.
        if approve && same_person(&mut tx, &asked_by, &actor.who, people_sign_in).await? {
            return Ok(Decided::OwnOne);
        }
        sqlx::query(
            "update approval set state = $2, decided_by = $3, decided_at = now(), decision_why = $4 where id = $1",
        )
        .bind(id)
        .bind(if approve { "approved" } else { "rejected" })
        .bind(&actor.who)
        .bind(why)
        .execute(&mut *tx)
        .await?;
        let mut shard = 0;
        if approve {
            let mut event: Event =
                serde_json::from_str(&event).map_err(|error| StoreError::Unreadable(error.to_string()))?;
            if let What::Operator(operator) = &mut event.what {
                operator.who = deeds::approved(&asked_by, &actor.who);
            }
            let payload = payload.as_deref().map(serde_json::from_str::<Value>).transpose();
            let payload = payload.map_err(|error| StoreError::Unreadable(error.to_string()))?;
            let (delivery, its_shard) =
                mail::post(&mut tx, id, SagaId(saga), &event, payload.as_ref()).await?;
            if delivery != Delivery::Accepted {
                return Ok(Decided::Reused);
            }
            shard = its_shard;
        }
        let what = if approve { "approval.approve" } else { "approval.reject" };
        let deed = Deed {
            why: Some(why),
            // What came of it is the mail's, once its saga's owner has taken it.
            before: Some(json!({ "approval": id, "asked_by": asked_by })),
            mail: approve.then_some(id),
            ..Deed::new(what, saga.to_string())
        };
        audit::keep(&mut tx, actor, deed).await?;
        tx.commit().await?;
        Ok(Decided::Now(shard))
    }
}

/// Whether two principals may be one person, who cannot approve what they asked for: a key is whoever made it, or ever
/// made one of its name, and so are two keys that somebody has made. The administrator's key is nobody's and approves
/// nothing; nor do the keys that it made, where people sign in, or what it asked for itself. Where nobody can sign in, keys
/// that it made are all the people there are; in development names are.
///
/// # Errors
/// When the database fails.
pub(super) async fn same_person(
    connection: &mut PgConnection,
    one: &str,
    other: &str,
    people_sign_in: bool,
) -> Result<bool, StoreError> {
    if one == other {
        return Ok(true);
    }
    Ok(sqlx::query_scalar(
        "with recursive ones (who) as (
            select $1::text union select k.created_by from ones m join api_key k on 'key:' || k.name = m.who
         ), others (who) as (
            select $2::text union select k.created_by from others m join api_key k on 'key:' || k.name = m.who
         ) select exists (select from ones join others using (who) where who not in ($3, $4)) or $2 = $4
            or exists (select from others where who = $4) and ($1 = $4 or $5)",
    )
    .bind(one)
    .bind(other)
    .bind(ANONYMOUS)
    .bind(keys::ADMIN)
    .bind(people_sign_in)
    .fetch_one(connection)
    .await?)
}
