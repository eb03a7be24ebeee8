//! How many sagas stand where, without looking at each: what the projection's rows add up to.
//!
//! Triggers of the projection write differences in the transaction that changes its rows, so the sums are always true;
//! [`Store::sum_standing`] adds them up, so that they stay few.

use sqlx::{Postgres, QueryBuilder};

use super::find::{Counted, Filter, HEALTH_SENT, Health, REACHED, Reached, shown_statuses, with_reached};
use super::{Store, StoreError};

/// Held while differences are added up; any number that nobody else uses in this database.
const STANDING_LOCK: i64 = 0x616d_656e_6473_0004;

/// The rows whose command is on its way, as the index of them has it.
pub(super) const SENT: &str = "p.status = 0 and coalesce(p.run, 0) = 0";

impl Store {
    /// Adds up the differences when there are at least so many, unless another process does.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sum_standing(&self, changes_min: i64) -> Result<(), StoreError> {
        let few: bool =
            sqlx::query_scalar("select count(*) < $1 from (select from standing_change limit $1) it")
                .bind(changes_min)
                .fetch_one(self.reads())
                .await?;
        if few {
            return Ok(());
        }
        let mut tx = self.reads().begin().await?;
        let mine: bool = sqlx::query_scalar("select pg_try_advisory_xact_lock($1)")
            .bind(STANDING_LOCK)
            .fetch_one(&mut *tx)
            .await?;
        if !mine {
            return Ok(());
        }
        sqlx::query(
            "with gone as (delete from standing_change returning *)
             insert into standing as s (definition, status, run, step, direction, worker, error_code, failure, currency, sagas, amount)
             select definition, status, run, step, direction, worker, error_code, failure, currency, sum(sagas), sum(amount)
             from gone group by 1, 2, 3, 4, 5, 6, 7, 8, 9
             on conflict on constraint standing_key do update
                set sagas = s.sagas + excluded.sagas, amount = s.amount + excluded.amount",
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query("delete from standing where sagas = 0 and amount = 0").execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The statuses in which sagas stand that may fit the filter, of those that the projection has.
    pub(super) async fn stood_statuses(
        &self,
        filter: &Filter,
        versions: Option<&[i32]>,
    ) -> Result<Vec<i16>, StoreError> {
        let mut query = QueryBuilder::new("select t.status from standing_now t where t.status = any(");
        query.push_bind(shown_statuses(filter)).push(")");
        push_place(&mut query, "t", filter, versions);
        query.push(" group by 1 having sum(t.sagas) > 0 order by 1");
        let rows: Vec<(i16,)> = query.build_query_as().fetch_all(self.reads()).await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    /// How many sagas of the projection fit a filter that asks for nothing but where they stand.
    pub(super) async fn count_standing(
        &self,
        filter: &Filter,
        versions: Option<&[i32]>,
        reached: &[Reached],
    ) -> Result<Counted, StoreError> {
        let mut counted = Counted::default();
        let mut query = QueryBuilder::new(
            "select t.status, t.run, sum(t.sagas)::bigint from standing_now t where t.status = any(",
        );
        query.push_bind(shown_statuses(filter)).push(")");
        push_place(&mut query, "t", filter, versions);
        query.push(" group by 1, 2");
        let rows: Vec<(i16, Option<i16>, i64)> = query.build_query_as().fetch_all(self.reads()).await?;
        for (status, run, sagas) in rows {
            let health = match (status, run) {
                (1, _) => Some(Health::Parked),
                (0, Some(1 | 2)) => Some(Health::Retrying),
                (0, Some(3 | 4)) => Some(Health::Waiting),
                // Late, queued or on time: below.
                _ => None,
            };
            if let Some(health) = health {
                counted.by_health[health as usize] += sagas;
            }
            if let Some(count) = usize::try_from(status).ok().and_then(|at| counted.by_status.get_mut(at)) {
                *count += sagas;
            }
        }
        if shown_statuses(filter).contains(&0) {
            let mut query = QueryBuilder::new("");
            with_reached(&mut query, reached);
            query.push("select ").push(HEALTH_SENT).push(", count(*) from projection p").push(REACHED);
            query.push(" where ").push(SENT);
            push_place(&mut query, "p", filter, versions);
            query.push(" group by 1");
            let rows: Vec<(i32, i64)> = query.build_query_as().fetch_all(self.reads()).await?;
            for (at, sagas) in rows {
                if let Some(count) = usize::try_from(at).ok().and_then(|at| counted.by_health.get_mut(at)) {
                    *count = sagas;
                }
            }
        }
        if let Some(health) = filter.health {
            let sagas = counted.by_health[health as usize];
            counted.by_health = [0; 6];
            counted.by_health[health as usize] = sagas;
            counted.by_status[usize::from(health == Health::Parked)] = sagas;
        }
        Ok(counted)
    }
}

/// Conditions on where a saga stands, of which `standing` has the sums.
fn push_place(query: &mut QueryBuilder<Postgres>, of: &str, filter: &Filter, versions: Option<&[i32]>) {
    if let Some(versions) = versions {
        query.push(format!(" and {of}.definition = any(")).push_bind(versions.to_vec()).push(")");
    }
    for (column, text) in filter.places() {
        query.push(format!(" and {of}.{column} = ")).push_bind(text.to_owned());
    }
}
