-- Holds: starts, a definition, or a worker's action pauses while compensations flow.
create table hold (
    id uuid not null,
    kind text not null,
    definition text,
    worker text,
    action text,
    by text not null,
    why text not null,
    at timestamptz not null default now(),
    until timestamptz,
    released_at timestamptz,
    released_by text,
    constraint hold_pk primary key (id)
);
create index hold_active_idx on hold (at) where released_at is null;

-- Bulk jobs: a frozen set, worked off by whichever process holds the lease.
create table job (
    id uuid not null,
    name text,
    kind text not null,
    request text not null,
    by text not null,
    roles text[] not null,
    why text not null,
    created_at timestamptz not null default now(),
    ended_at timestamptz,
    state text not null,
    stopped_because text,
    canary integer not null,
    rate_per_s integer not null,
    stop_after_same integer not null,
    total integer not null,
    -- How often the newest failure came in a row.
    last_reason text,
    last_count integer not null default 0,
    lease_by text,
    lease_until timestamptz,
    constraint job_pk primary key (id)
);
create index job_open_idx on job (created_at) where ended_at is null;

create table job_item (
    job uuid not null,
    number integer not null,
    saga_id uuid not null,
    -- The revision that the set was frozen at.
    revision integer not null,
    outcome text not null default 'waiting',
    words text,
    new_saga uuid,
    acted_at timestamptz,
    at timestamptz,
    constraint job_item_pk primary key (job, number)
);
create index job_item_outcome_idx on job_item (job, outcome, number);
