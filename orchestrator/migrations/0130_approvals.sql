-- Actions that wait for a second person.
create table approval (
    -- Also the id of the mail that it becomes.
    id uuid not null,
    saga_id uuid not null,
    -- The action as it was asked for, for people; the event and its payload, for the saga's owner.
    request text not null,
    event text not null,
    payload text,
    asked_by text not null,
    asked_at timestamptz not null default now(),
    why text not null,
    state text not null default 'open',
    decided_by text,
    decided_at timestamptz,
    decision_why text,
    constraint approval_pk primary key (id)
);
create index approval_open_idx on approval (asked_at) where state = 'open';
create index approval_saga_idx on approval (saga_id);
create index job_item_saga_idx on job_item (job, saga_id);
