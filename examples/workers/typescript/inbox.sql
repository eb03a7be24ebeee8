-- The inbox, in the worker's own database. Safe to run again.
--
-- The barrier: one row per (saga, step, item, execute round) holds both directions. It changes in
-- the same transaction as the business tables, which is what makes a command take effect once.
create table if not exists inbox (
    saga             uuid    not null,
    step             text    not null,
    item             integer not null,           -- -1 outside of a foreach
    round            integer not null,           -- the execute's round, also in a compensate
    kept_from_ms     bigint  not null,           -- the newest first sending; retention counts from here
    execute          text,                       -- null: never ran
    execute_reply    text,                       -- output or error (JSON); text, because jsonb refuses \u0000
    compensate_round integer not null default 0, -- 0: never asked
    compensate       text,
    compensate_reply text,
    constraint inbox_pkey primary key (saga, step, item, round),
    constraint inbox_execute_final check (execute in ('succeeded', 'rejected')),
    constraint inbox_compensate_final check (compensate in ('succeeded', 'rejected'))
);
create index if not exists inbox_kept_from on inbox (kept_from_ms);
