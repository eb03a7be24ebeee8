-- Runs of the reconciliation, and what each found.
create table reconciliation (
    id uuid not null,
    at timestamptz not null default now(),
    took_ms bigint not null,
    orders bigint not null,
    findings bigint not null,
    error text,
    constraint reconciliation_pk primary key (id)
);
create index reconciliation_at_idx on reconciliation (at);
create table reconciliation_finding (
    run uuid not null,
    number integer not null,
    kind text not null,
    order_id text not null,
    saga uuid,
    amount bigint,
    currency text,
    words text not null,
    suggested text not null,
    since timestamptz not null,
    constraint reconciliation_finding_pk primary key (run, number)
);

-- For how many days ended sagas stay, by definition; `*` is every other one.
create table retention (
    definition text not null,
    days integer not null,
    by text not null,
    at timestamptz not null default now(),
    constraint retention_pk primary key (definition)
);
