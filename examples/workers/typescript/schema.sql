-- What the worker's business needs. Safe to run again.

create table if not exists coupon (
    code     text   not null,
    discount bigint not null,
    minimum  bigint not null default 0,
    -- The effect that holds it; null while it is free.
    saga     uuid,
    step     text,
    item     integer,
    round    integer,
    order_id text,
    constraint coupon_pkey primary key (code),
    constraint coupon_discount check (discount > 0)
);
