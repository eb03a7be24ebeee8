-- Orders that a run could not ask for; what people have settled by hand; findings of the run that counts.
alter table reconciliation add column unasked bigint not null default 0;
create table reconciliation_settled (
    kind text not null,
    order_id text not null,
    -- A finding of another amount is another one.
    amount bigint not null,
    by text not null,
    why text not null,
    at timestamptz not null default now(),
    constraint reconciliation_settled_pk primary key (kind, order_id, amount)
);
-- Up to when a run has judged; the payments that a finding was seen by; orders that the next run must ask for.
alter table reconciliation add column until timestamptz not null default now();
alter table reconciliation_finding add column payments text[] not null default '{}';
create table reconciliation_unasked (
    order_id text not null,
    constraint reconciliation_unasked_pk primary key (order_id)
);
-- Who has ended since: rows move when their saga ends, so that a summary of pages is all that is needed.
create index saga_ended_brin on saga using brin (ended_at) with (pages_per_range = 32, autosummarize = on);
