-- Payments as the shop knows them. The vendor's own books decide; these follow them.
create table amends_payment.payment (
    payment_key     text        not null,
    order_id        text        not null,
    saga            uuid        not null,
    step            text        not null,
    amount          bigint      not null,
    currency        text        not null,
    captured_amount bigint      not null default 0,
    refunded_amount bigint      not null default 0,
    status          text        not null,
    method          text,
    receipt_url     text,
    approved_at     timestamptz,
    -- Why a confirm was refused, or why a refund waits for a human.
    fault_code      text,
    fault_message   text,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    constraint payment_pk primary key (payment_key),
    constraint payment_amount_positive check (amount > 0),
    constraint payment_refund_within_capture check (refunded_amount between 0 and captured_amount)
);

create index payment_by_order on amends_payment.payment (order_id, created_at desc);

-- What the vendor told, kept before it is answered. The transmission's id makes repeats harmless.
create table amends_payment.webhook (
    transmission_id text        not null,
    body            text        not null,
    received_at     timestamptz not null default now(),
    deliveries      integer     not null default 1,
    -- How often it was looked into, and when it may be again: a lease and a backoff in one.
    tries           integer     not null default 0,
    next_try_at     timestamptz not null default now(),
    outcome         text,
    detail          text,
    payment_key     text,
    order_id        text,
    saga            uuid,
    finished_at     timestamptz,
    constraint webhook_pk primary key (transmission_id),
    constraint webhook_outcome_known
        check (outcome in ('applied', 'forged', 'unknown_payment', 'not_ours', 'ignored', 'given_up')),
    constraint webhook_finished check ((outcome is null) = (finished_at is null))
);

create index webhook_open on amends_payment.webhook (next_try_at) where outcome is null;
create index webhook_by_payment on amends_payment.webhook (payment_key) where payment_key is not null;

-- Payments that are decided here, without a vendor.
create table amends_payment.decision (
    saga       uuid        not null,
    step       text        not null,
    item       integer     not null,
    round      integer     not null,
    order_id   text        not null,
    amount     bigint      not null,
    decided_at timestamptz not null default now(),
    undone_at  timestamptz,
    constraint decision_pk primary key (saga, step, item, round)
);
