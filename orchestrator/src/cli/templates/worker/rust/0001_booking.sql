-- A booking is named by the execute that made it, which is what its compensation names. `item` is -1 outside of a
-- `foreach`.
create table booking (
    saga      uuid    not null,
    step      text    not null,
    item      integer not null,
    round     integer not null,
    subject   text    not null,
    cancelled boolean not null default false,
    constraint booking_pkey primary key (saga, step, item, round)
);
