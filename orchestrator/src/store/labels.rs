//! Which labels there are, for whoever types one.

use super::{Store, StoreError};

// Of a label that a million sagas have only the first row is read, and then the first of the next one.
const NAMES: &str = "with recursive found (name) as (
        (select split_part(label, ':', 1) from saga_label where label >= $1 order by label limit 1)
    union all
        select (select split_part(l.label, ':', 1) from saga_label l where l.label >= found.name || ';' order by l.label limit 1)
        from found where starts_with(found.name, $1)
    ) select name from found where starts_with(name, $1) limit $2";
const LABELS: &str = "with recursive found (label) as (
        (select label from saga_label where label >= $1 order by label limit 1)
    union all
        select (select l.label from saga_label l where l.label > found.label order by l.label limit 1)
        from found where starts_with(found.label, $1)
    ) select label from found where starts_with(label, $1) limit $2";

impl Store {
    /// The names of labels that begin so, in their order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn label_names(&self, begin: &str, limit: i64) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(NAMES).bind(begin).bind(limit).fetch_all(self.reads()).await?)
    }

    /// The labels, `name:value`, that begin so, in their order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn labels(&self, begin: &str, limit: i64) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(LABELS).bind(begin).bind(limit).fetch_all(self.reads()).await?)
    }
}
