-- What the worker's business needs. Safe to run again.

-- A booking is named by the execute that made it, which is what its compensation names.
create table if not exists booking (
    saga      uuid    not null,
    step      text    not null,
    item      integer not null, -- -1 outside of a foreach
    round     integer not null,
    subject   text    not null,
    cancelled boolean not null default false,
    constraint booking_pkey primary key (saga, step, item, round)
);
