-- What a completed order is to be paid by money. Null: its amount; less where coupon or points paid a part.
alter table amends_order.orders
    add column due bigint,
    add constraint orders_due_within_amount check (due between 0 and amount);

-- What customers send back. A return id names one return; a closed one is opened again by the saga that tries again.
create table amends_order.returns (
    return_id text collate "C" not null,
    -- The order's row.
    id bigint not null,
    saga uuid not null,
    status text not null default 'open',
    -- What was granted.
    refund_amount bigint,
    opened_at timestamptz not null default now(),
    decided_at timestamptz,
    closed_at timestamptz,
    constraint returns_pk primary key (return_id),
    constraint returns_return_id_spelling check (return_id ~ '^[A-Za-z0-9_-]{6,64}$'),
    constraint returns_status_known check (status in ('open', 'decided', 'closed')),
    constraint returns_refund_not_negative check (refund_amount >= 0),
    constraint returns_decided_has_amount check ((status = 'decided') = (refund_amount is not null)),
    constraint returns_decided_has_instant check ((status = 'decided') = (decided_at is not null)),
    constraint returns_closed_has_instant check ((status = 'closed') = (closed_at is not null))
);

create index returns_by_order on amends_order.returns (id);

create table amends_order.return_lines (
    return_id text collate "C" not null,
    sku text not null,
    quantity bigint not null,
    constraint return_lines_pk primary key (return_id, sku),
    constraint return_lines_quantity_positive check (quantity > 0)
);
