-- The engine's own tables. Hot ones carry one index each, and none on a column that changes at every step.
-- Foreign keys stand only between cold tables: on hot ones their triggers would run for every row.

create table definition (
    id integer generated always as identity,
    name text not null,
    version text not null,
    source text not null,
    published_at timestamptz not null default now(),
    constraint definition_pk primary key (id),
    constraint definition_version_key unique (name, version)
);

-- Which version new sagas take. Only publish moves it.
create table active_definition (
    name text not null,
    definition integer not null,
    constraint active_definition_pk primary key (name),
    constraint active_definition_fk foreign key (definition) references definition (id)
);

-- One row a partition of the inbox topic: the fence, and how far the log was taken in.
create table shard (
    id integer not null,
    epoch bigint not null default 0,
    token uuid,
    seq bigint not null default 0,
    next_offset bigint not null default 0,
    cluster_id text,
    topic_id text,
    owner text,
    backend_pid integer,
    claimed_at timestamptz,
    constraint shard_pk primary key (id)
) with (fillfactor = 10, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);

-- Coarse, for operators: status changes at most four times.
-- 0 running, 1 parked, 2 completed, 3 compensated, 4 abandoned.
create table saga (
    id uuid not null,
    shard integer not null,
    definition integer not null,
    status smallint not null default 0,
    started_at timestamptz not null,
    ended_at timestamptz,
    key text,
    principal text,
    amount bigint,
    currency text,
    parent uuid,
    replay_of uuid,
    -- Written once, at the end; until then the state is in saga_state.
    final_schema smallint,
    final_state text,
    constraint saga_pk primary key (id)
) with (fillfactor = 85);
create index saga_status_idx on saga (status, id);

-- Hot: only sagas that have not ended. One index serves loading and the takeover of a shard.
create table saga_state (
    shard integer not null,
    id uuid not null,
    definition integer not null,
    revision integer not null,
    schema smallint not null,
    -- When the owner's timer is due, in ms since 1970 UTC.
    due bigint,
    state text not null,
    constraint saga_state_pk primary key (shard, id)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- One row a transition, written once. Partitioned by the saga's id, which is a UUIDv7: that is by the time
-- of the saga's start, so that a week is dropped whole.
create table history (
    saga_id uuid not null,
    revision integer not null,
    event text not null,
    payload text,
    inputs text,
    constraint history_pk primary key (saga_id, revision)
) partition by range (saga_id);
create table history_default partition of history default;

-- Thin: what is to be published. The bytes are rebuilt from state and history.
create table outbox (
    shard integer not null,
    saga_id uuid not null,
    command text not null,
    created_at timestamptz not null default now(),
    constraint outbox_pk primary key (shard, saga_id, command)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);

-- What was accepted from outside and not yet taken in.
create table mailbox (
    id uuid not null,
    shard integer not null,
    saga_id uuid not null,
    kind text not null,
    body text not null,
    payload text,
    at timestamptz not null default now(),
    taken_at timestamptz,
    result text,
    constraint mailbox_pk primary key (id)
);
create index mailbox_unread_idx on mailbox (shard, at) where taken_at is null;

-- (scope, key) to newest saga. Outlives archiving.
create table start_key (
    scope text not null,
    key text not null,
    saga_id uuid not null,
    body_hash bytea not null,
    principal text not null,
    constraint start_key_pk primary key (scope, key)
);

-- What changed nothing, with its reason. Bounded a saga by the owner.
create table ignored (
    id bigint generated always as identity,
    saga_id uuid not null,
    at_ms bigint not null,
    reason text not null,
    event text not null,
    constraint ignored_pk primary key (id)
);
create index ignored_saga_idx on ignored (saga_id);

-- Proof of an effect that nobody undoes.
create table anomaly (
    saga_id uuid not null,
    effect_key text not null,
    kind text not null,
    at_ms bigint not null,
    amount bigint,
    currency text,
    output text,
    resolved_at timestamptz,
    constraint anomaly_pk primary key (saga_id, effect_key, kind)
);

-- What could not be understood or answered.
create table dead_letter (
    id bigint generated always as identity,
    at timestamptz not null default now(),
    source text not null,
    reason text not null,
    headers text not null,
    data bytea,
    saga_id uuid,
    constraint dead_letter_pk primary key (id),
    constraint dead_letter_source_key unique (source)
);
create index dead_letter_saga_idx on dead_letter (saga_id) where saga_id is not null;
