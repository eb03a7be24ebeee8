//! The audit: who did what to what, why, when and from where. Append-only, also for this code: a trigger refuses
//! the rest.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{Postgres, QueryBuilder, Row};
use uuid::Uuid;

use super::{Store, StoreError};

/// Who acts, as the audit keeps it.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The principal.
    pub who: String,
    /// What they may be.
    pub roles: Vec<String>,
    /// The other end of the connection.
    pub address: String,
}

/// A deed.
#[derive(Clone, Debug)]
pub struct Deed<'a> {
    /// What was done, such as `hold.set`.
    pub what: &'a str,
    /// To what: an id or a name.
    pub target: String,
    /// Why.
    pub why: Option<&'a str>,
    /// How it was.
    pub before: Option<Value>,
    /// How it is.
    pub after: Option<Value>,
    /// The mail that asks a saga's owner for it.
    pub mail: Option<Uuid>,
}

impl<'a> Deed<'a> {
    /// A deed without details.
    pub fn new(what: &'a str, target: impl Into<String>) -> Self {
        Self { what, target: target.into(), why: None, before: None, after: None, mail: None }
    }
}

/// A row of the audit.
#[derive(Clone, Debug)]
pub struct AuditRow {
    /// Orders the audit.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: Actor,
    /// What.
    pub what: String,
    /// To what.
    pub target: String,
    /// Why.
    pub why: Option<String>,
    /// How it was.
    pub before: Option<String>,
    /// How it is; for what a saga's owner was asked for, what it made of it.
    pub after: Option<String>,
}

/// Which rows.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only by this principal.
    pub who: Option<String>,
    /// Only this deed, or those whose word begins so when it ends with a dot.
    pub what: Option<String>,
    /// Only to this.
    pub target: Option<String>,
    /// Not before.
    pub after_at: Option<DateTime<Utc>>,
    /// Only before.
    pub before_at: Option<DateTime<Utc>>,
    /// Only older than this row.
    pub after: Option<i64>,
}

/// Keeps a deed, in the transaction that does it.
///
/// # Errors
/// When the database fails.
pub async fn keep(connection: &mut PgConnection, actor: &Actor, deed: Deed<'_>) -> Result<(), StoreError> {
    let clean = |text: &str| text.replace('\0', "\u{fffd}");
    sqlx::query(
        "insert into audit (who, roles, address, what, target, why, before, after, mail)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(clean(&actor.who))
    .bind(&actor.roles)
    .bind(&actor.address)
    .bind(deed.what)
    .bind(clean(&deed.target))
    .bind(deed.why.map(clean))
    .bind(deed.before.map(|it| it.to_string()))
    .bind(deed.after.map(|it| it.to_string()))
    .bind(deed.mail)
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// Keeps a deed that stands for itself.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_deed(&self, actor: &Actor, deed: Deed<'_>) -> Result<(), StoreError> {
        let mut connection = self.reads().acquire().await?;
        keep(&mut connection, actor, deed).await
    }

    /// What came of a deed of this kind on this target that names `about` in it.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn deed_about(
        &self,
        what: &str,
        target: &str,
        about: &str,
    ) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar(
            "select after from audit where target = $1 and what = $2 and strpos(after, $3) > 0 limit 1",
        )
        .bind(target)
        .bind(what)
        .bind(about)
        .fetch_optional(self.reads())
        .await?)
    }

    /// Keeps a deed unless there is one of the same kind on the same target that names `about` in what came of it.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn keep_deed_once(
        &self,
        actor: &Actor,
        deed: Deed<'_>,
        about: &str,
    ) -> Result<(), StoreError> {
        let kept = self.deed_about(deed.what, &deed.target, about).await?;
        if kept.is_some() { Ok(()) } else { self.keep_deed(actor, deed).await }
    }

    /// A page of the audit, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit(&self, filter: &AuditFilter, limit: u16) -> Result<Vec<AuditRow>, StoreError> {
        let mut query = QueryBuilder::<Postgres>::new(
            "select a.id, a.at, a.who, a.roles, a.address, a.what, a.target, a.why, a.before,
                coalesce(a.after, case when m.stands is not null
                    then (jsonb_build_object('result', m.result) || m.stands::jsonb)::text
                    when m.result is not null then json_build_object('result', m.result)::text end)
             from audit a left join mailbox m on m.id = a.mail where true",
        );
        if let Some(who) = &filter.who {
            query.push(" and a.who = ").push_bind(who);
        }
        match filter.what.as_deref() {
            Some(what) if what.ends_with('.') => {
                // A slash follows the dot: the range of every word that begins so.
                let beyond = format!("{}/", what.trim_end_matches('.'));
                query.push(" and a.what collate \"C\" >= ").push_bind(what);
                query.push(" and a.what collate \"C\" < ").push_bind(beyond);
            }
            Some(what) => {
                query.push(" and a.what collate \"C\" = ").push_bind(what);
            }
            None => {}
        }
        if let Some(target) = &filter.target {
            query.push(" and a.target = ").push_bind(target);
        }
        if let Some(at) = filter.after_at {
            query.push(" and a.at >= ").push_bind(at);
        }
        if let Some(at) = filter.before_at {
            query.push(" and a.at < ").push_bind(at);
        }
        if let Some(after) = filter.after {
            query.push(" and a.id < ").push_bind(after);
        }
        query.push(" order by a.id desc limit ").push_bind(i64::from(limit));
        let rows = query.build().fetch_all(self.reads()).await?;
        rows.iter()
            .map(|row| {
                Ok(AuditRow {
                    id: row.try_get(0)?,
                    at: row.try_get(1)?,
                    actor: Actor { who: row.try_get(2)?, roles: row.try_get(3)?, address: row.try_get(4)? },
                    what: row.try_get(5)?,
                    target: row.try_get(6)?,
                    why: row.try_get(7)?,
                    before: row.try_get(8)?,
                    after: row.try_get(9)?,
                })
            })
            .collect()
    }
}
