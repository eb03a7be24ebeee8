-- A saga that waits for a transfer is told when the money has come.
alter table amends_payment.payment
    -- The saga waits for the deposit; without it, a payment is confirmed or it is not.
    add column virtual_account boolean     not null default false,
    -- How often the vendor was asked about an open account, and when it may be again: a lease and a backoff in one.
    add column looks           integer     not null default 0,
    add column next_look_at    timestamptz not null default now();

update amends_payment.payment set virtual_account = true where status = 'WAITING_FOR_DEPOSIT';

create index payment_awaits_deposit on amends_payment.payment (next_look_at)
    where virtual_account and status = 'WAITING_FOR_DEPOSIT';

-- Deposits that the engine is to be told of, written with what the vendor proved. The id travels as the
-- Idempotency-Key: whoever does not know whether it was told tells it again.
create table amends_payment.deposit (
    id          uuid        not null default gen_random_uuid(),
    payment_key text        not null,
    saga        uuid        not null,
    order_id    text        not null,
    amount      bigint      not null,
    currency    text        not null,
    approved_at timestamptz,
    kept_at     timestamptz not null default now(),
    tries       integer     not null default 0,
    next_try_at timestamptz not null default now(),
    outcome     text,
    detail      text,
    finished_at timestamptz,
    constraint deposit_pk primary key (id),
    constraint deposit_once unique (payment_key, saga),
    constraint deposit_outcome_known check (outcome in ('told', 'refused', 'withdrawn', 'taken_back')),
    constraint deposit_finished check ((outcome is null) = (finished_at is null))
);

create index deposit_open on amends_payment.deposit (next_try_at) where outcome is null;
