-- What operators search by, beside the hot tables.

-- One index for lists by definition and status; by status alone it is asked once a definition.
create index saga_definition_idx on saga (definition, status, id);
drop index saga_status_idx;

-- Replays are few.
create index saga_replay_idx on saga (replay_of) where replay_of is not null;

-- Keys compare by their bytes: the beginning of one is a range of the index.
alter table start_key alter column scope type text collate "C", alter column key type text collate "C";

-- Where each saga stands that runs for longer than a moment, is parked, or ended otherwise than completed.
-- Written outside of the hot transaction, from states and histories.
create table projection (
    saga_id uuid not null,
    shard integer not null,
    definition integer not null,
    revision integer not null,
    status smallint not null,
    -- 0 sent, 1 unknown, 2 pausing between tries, 3 waiting, 4 held; null when it does not run.
    run smallint,
    step text,
    item integer,
    direction smallint,
    worker text,
    action text,
    sent_ms bigint,
    late_ms bigint,
    due_ms bigint,
    since_ms bigint not null,
    attempt integer,
    attempts_max integer,
    topic text,
    partition integer,
    why text,
    error_step text,
    error_code text,
    error_message text,
    failure text,
    failure_revision integer,
    amount bigint,
    currency text,
    constraint projection_pk primary key (saga_id)
) with (fillfactor = 70);
create index projection_status_idx on projection (status, saga_id);
create index projection_failure_idx on projection (failure, status, saga_id) where failure is not null;
create index projection_step_idx on projection (step, status, saga_id);
create index projection_code_idx on projection (error_code, saga_id) where error_code is not null;
create index projection_worker_idx on projection (worker, status, saga_id);
create index projection_held_idx on projection (saga_id) where run = 4;

-- Failures by definition version, step, direction, code and normalised message.
create table failure (
    id text not null,
    definition integer not null,
    step text,
    direction smallint,
    code text not null,
    message text not null,
    first_seen timestamptz not null,
    last_seen timestamptz not null,
    count bigint not null,
    recovered bigint not null default 0,
    sample uuid not null,
    constraint failure_pk primary key (id)
) with (fillfactor = 70);
create index failure_seen_idx on failure (last_seen, id);
create table failure_window (
    failure text not null,
    at timestamptz not null,
    count bigint not null,
    constraint failure_window_pk primary key (failure, at)
);

-- What each process counted in each minute; a process writes its own rows only.
create table minute_stat (
    at timestamptz not null,
    node text not null,
    started bigint not null,
    completed bigint not null,
    compensated bigint not null,
    parked bigint not null,
    abandoned bigint not null,
    -- Times to the end, in buckets of a quarter of a power of two of ms.
    took bigint[] not null,
    constraint minute_stat_pk primary key (at, node)
);

-- How long steps take, sampled, in the same buckets.
create table step_stat (
    definition integer not null,
    step text not null,
    direction smallint not null,
    at timestamptz not null,
    node text not null,
    took bigint[] not null,
    constraint step_stat_pk primary key (definition, step, direction, at, node)
);

-- Who looks after a saga, and what people wrote about it.
create table care (
    saga_id uuid not null,
    owner text not null,
    by text not null,
    at timestamptz not null default now(),
    constraint care_pk primary key (saga_id)
);
create index care_owner_idx on care (owner, saga_id);
create table note (
    id bigint generated always as identity,
    saga_id uuid not null,
    at timestamptz not null default now(),
    who text not null,
    body text not null,
    constraint note_pk primary key (id)
);
create index note_saga_idx on note (saga_id, id);

create table saved_filter (
    owner text not null,
    name text not null,
    query text not null,
    shared boolean not null,
    at timestamptz not null default now(),
    constraint saved_filter_pk primary key (owner, name)
);

alter table anomaly add column resolved_by text, add column resolution text;
create index anomaly_open_idx on anomaly (at_ms, saga_id) where resolved_at is null;

alter table dead_letter add column settled_at timestamptz, add column settled_by text, add column settled_how text,
    add column settled_why text;
create index dead_letter_kept_idx on dead_letter (id) where settled_at is null;
