-- What the worker's business needs. Safe to run again.

create table if not exists account (
    customer text   not null,
    points   bigint not null,
    constraint account_pkey primary key (customer),
    constraint account_never_overdrawn check (points >= 0)
);

create table if not exists spending (
    saga     uuid    not null,
    step     text    not null,
    item     integer not null,
    round    integer not null,
    customer text    not null,
    points   bigint  not null,
    refunded boolean not null default false,
    constraint spending_pkey primary key (saga, step, item, round),
    constraint spending_customer foreign key (customer) references account (customer)
);
