-- Since when a group fails without a break; null in rows of a build that did not know it: since it was seen first.
alter table failure add column since timestamptz;

-- What people have undone on purpose is no failure, and was counted as one.
update projection set failure = null, failure_revision = null
where error_code in ('operator', 'parent') and error_step is null and failure is not null;
delete from failure_window where failure in (select id from failure where code in ('operator', 'parent') and step is null);
delete from failure where code in ('operator', 'parent') and step is null;
