-- Notices that were accepted and are not yet in the feed; a row is gone once it is there.
create table amends_notify.outbox (
    seq bigint generated always as identity,
    effect_key text collate "C" not null,
    saga uuid not null,
    order_id text not null,
    kind text not null,
    data text not null,
    noticed_at timestamptz not null default now(),
    constraint outbox_pk primary key (seq),
    constraint outbox_effect_key unique (effect_key)
);

-- What the relay is handing over: fixed before it is sent, so that it can be sent again as the same
-- batch, which the feed knows by its token. One row; locking it makes one relay work at a time.
create table amends_notify.relay (
    one int not null default 1,
    token uuid,
    taken bigint[] not null default '{}',
    constraint relay_pk primary key (one),
    constraint relay_has_one_row check (one = 1),
    constraint relay_batch_has_token check ((token is null) = (taken = '{}'))
);

insert into amends_notify.relay default values;
