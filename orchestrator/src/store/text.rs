//! Finding sagas by a key or a text: what either leaves to look at. Bounded, and each by an index.

use sqlx::QueryBuilder;
use uuid::Uuid;

use super::find::{Filter, push_fine, push_label, push_range, shown_statuses};
use super::{Store, StoreError};

/// Sagas that a text leaves, by each of its meanings; the newest, as far as they are known.
pub(super) const TEXT_MAX: i64 = 2_000;

/// The words of a note, and those that are asked for: as the column of errors and the index of notes have them.
const NOTE_WORDS: &str = "to_tsvector('simple', translate(body, '-_./:@#=+', '         '))";
const WORDS: &str = "select plainto_tsquery('simple', translate($1, '-_./:@#=+', '         '))::text";

impl Store {
    /// Sagas of a key, also those that newer ones repeat; or of keys that begin so, up to `beyond`, from its end.
    pub(super) async fn by_key(&self, key: &str, beyond: Option<String>) -> Result<Vec<Uuid>, StoreError> {
        let rows: Vec<(Uuid,)> = sqlx::query_as(
            "with recursive newest as (
                select k.saga_id as id from (select distinct 'key:' || name as scope from definition) d
                cross join lateral (
                    select k.saga_id from start_key k
                    where k.scope = d.scope and k.key >= $1 and k.key < coalesce($2, $1 || chr(1))
                        and ($2 is not null or k.key = $1)
                    order by k.key desc limit $3) k
             ), line as (
                select s.id, s.replay_of from newest n join saga s on s.id = n.id
                union select s.id, s.replay_of from line l join saga s on s.id = l.replay_of
             ) select id from line limit $3",
        )
        .bind(key)
        .bind(beyond)
        .bind(TEXT_MAX)
        .fetch_all(self.reads())
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    /// Sagas with this id, whose key begins so, or with these words, the last of which may be unfinished, in their
    /// error or in a note; and whether there may be more. What else the filter says of errors is looked at here, so that
    /// it narrows all of them and not only the newest.
    pub(super) async fn by_text(
        &self,
        text: &str,
        filter: &Filter,
        versions: Option<&[i32]>,
    ) -> Result<(Vec<Uuid>, bool), StoreError> {
        if let Ok(id) = text.parse::<Uuid>() {
            return Ok((vec![id], false));
        }
        let full = |rows: usize| i64::try_from(rows).is_ok_and(|rows| rows >= TEXT_MAX);
        let mut found = self.by_key(text, Some(format!("{text}\u{10ffff}"))).await?;
        let mut bounded = full(found.len());
        let words: String = sqlx::query_scalar(WORDS).bind(text).fetch_one(self.reads()).await?;
        if words.is_empty() {
            return Ok((found, bounded));
        }
        // Nothing behind it says that the last word has ended: `no-` means no `not`.
        let unfinished = text.ends_with(char::is_alphanumeric);
        let words = if unfinished { format!("{words}:*") } else { words };
        let notes: Vec<(Uuid,)> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "select saga_id from note where {NOTE_WORDS} @@ $1::tsquery order by id desc limit $2"
        )))
        .bind(&words)
        .bind(TEXT_MAX)
        .fetch_all(self.reads())
        .await?;
        bounded |= full(notes.len());
        found.extend(notes.into_iter().map(|row| row.0));
        let mut query = QueryBuilder::new("select l.id from (");
        // Written out, so that each is planned for what is known of its status.
        for (at, status) in shown_statuses(filter).into_iter().enumerate() {
            query.push(if at == 0 { "(" } else { " union all (" });
            query.push(format!(
                "select p.saga_id as id from projection p where p.status = {status} and p.words @@ "
            ));
            query.push_bind(words.clone()).push("::tsquery");
            if let Some(versions) = versions {
                query.push(" and p.definition = any(").push_bind(versions.to_vec()).push(")");
            }
            push_label(&mut query, filter.label.as_deref(), "p.saga_id");
            push_range(&mut query, filter, "p.saga_id");
            // Health needs the partitions' progress; it is looked at among what is found here.
            push_fine(&mut query, &Filter { health: None, ..filter.clone() });
            query.push(" order by p.saga_id desc limit ").push_bind(TEXT_MAX).push(")");
        }
        if shown_statuses(filter).is_empty() {
            query.push("select null::uuid as id where false");
        }
        query.push(") l order by l.id desc limit ").push_bind(TEXT_MAX);
        let errors: Vec<(Uuid,)> = query.build_query_as().fetch_all(self.reads()).await?;
        bounded |= full(errors.len());
        found.extend(errors.into_iter().map(|row| row.0));
        Ok((found, bounded))
    }
}
