-- The barrier: one row per (saga, step, item, execute round), holding both directions.
--
-- Partitioned by the saga's id, a UUIDv7, so that a week of sagas is dropped whole when retention
-- has passed. The primary key is the only index, and no column that changes is in it: every update
-- can be HOT. Wide columns come first, so that no row carries padding.
create table saga_inbox.barrier (
    saga                    uuid     not null,
    -- the newest first sending of a round that the row has answered; retention counts from here
    kept_from_ms            bigint   not null,
    -- until when calls of unknown fate may have begun; null when there are none
    execute_not_after_ms    bigint,
    compensate_not_after_ms bigint,
    -- -1 outside of a foreach
    item                    integer  not null,
    round                   integer  not null,
    -- counts the row's changes; a writer names the version that it has read
    version                 integer  not null,
    execute_calls           integer  not null,
    compensate_calls        integer  not null,
    -- the compensate round that the compensate columns speak of; 0 before the first
    compensate_round        integer  not null,
    -- 0 never ran, 1 open (an intent without a result), 2 succeeded, 3 rejected
    execute                 smallint not null,
    compensate              smallint not null,
    -- a compensate has met an open execute: no call begins any more
    marked                  boolean  not null,
    step                    text collate "C" not null,
    -- the output (JSON) when succeeded, the fault (JSON) when rejected; never jsonb, which refuses \u0000
    execute_reply           text,
    compensate_reply        text,
    constraint barrier_pkey primary key (saga, step, item, round),
    constraint barrier_execute_known check (execute between 0 and 3),
    constraint barrier_compensate_known check (compensate between 0 and 3),
    constraint barrier_execute_open check (execute <> 1 or execute_not_after_ms is not null),
    constraint barrier_compensate_open check (compensate <> 1 or compensate_not_after_ms is not null)
) partition by range (saga);

-- Rows of sagas whose week has no partition: very old ones that are still running.
create table saga_inbox.barrier_rest partition of saga_inbox.barrier default;

-- Functions, because a function carries the planner's settings with it: these plans must not depend
-- on statistics (a table that was empty when a plan was cached is read whole, for ever), and the
-- handlers' own statements in the same transaction must not be touched.
create function saga_inbox.probe(sagas uuid[], steps text[], items integer[], rounds integer[])
returns setof saga_inbox.barrier
language plpgsql stable
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
begin
    return query
        select b.*
        from unnest(sagas, steps, items, rounds) as k (saga, step, item, round)
        join saga_inbox.barrier b
            on b.saga = k.saga and b.step = k.step and b.item = k.item and b.round = k.round;
end
$$;

-- The same, locked in the order of the key: two writers of the same rows wait, and never deadlock.
create function saga_inbox.probe_locked(sagas uuid[], steps text[], items integer[], rounds integer[])
returns setof saga_inbox.barrier
language plpgsql volatile
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
begin
    return query
        select b.*
        from unnest(sagas, steps, items, rounds) as k (saga, step, item, round)
        join saga_inbox.barrier b
            on b.saga = k.saga and b.step = k.step and b.item = k.item and b.round = k.round
        order by b.saga, b.step, b.item, b.round
        for update of b;
end
$$;

-- Changes rows of a known version; answers how many it found so.
create function saga_inbox.change(
    sagas uuid[], steps text[], items integer[], rounds integer[], versions integer[],
    kept_froms_ms bigint[],
    executes smallint[], execute_replies text[], execute_not_afters_ms bigint[], executes_calls integer[],
    compensates smallint[], compensate_replies text[], compensate_not_afters_ms bigint[],
    compensates_calls integer[], compensate_rounds integer[], marks boolean[]
)
returns bigint
language plpgsql volatile
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
declare
    changed bigint;
begin
    update saga_inbox.barrier b
    set version = k.version + 1,
        kept_from_ms = k.kept_from_ms,
        execute = k.execute,
        execute_reply = k.execute_reply,
        execute_not_after_ms = k.execute_not_after_ms,
        execute_calls = k.execute_calls,
        compensate = k.compensate,
        compensate_reply = k.compensate_reply,
        compensate_not_after_ms = k.compensate_not_after_ms,
        compensate_calls = k.compensate_calls,
        compensate_round = k.compensate_round,
        marked = k.marked
    from unnest(
        sagas, steps, items, rounds, versions, kept_froms_ms,
        executes, execute_replies, execute_not_afters_ms, executes_calls,
        compensates, compensate_replies, compensate_not_afters_ms, compensates_calls,
        compensate_rounds, marks
    ) as k (
        saga, step, item, round, version, kept_from_ms,
        execute, execute_reply, execute_not_after_ms, execute_calls,
        compensate, compensate_reply, compensate_not_after_ms, compensate_calls,
        compensate_round, marked
    )
    where b.saga = k.saga and b.step = k.step and b.item = k.item and b.round = k.round
        and b.version = k.version;
    get diagnostics changed = row_count;
    return changed;
end
$$;
