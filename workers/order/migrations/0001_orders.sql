-- Orders and their lines.
--
-- An order id names at most one order that stands; a cancelled one keeps its row, and its id is free
-- again (the replay of a failed saga uses the same order id). `voided` does that: 0 while the order
-- stands, the row's own id once it is cancelled. A partial index on `status` would do the same, but
-- then every completed order would be a non-HOT update.
create table amends_order.orders (
    id bigint generated always as identity,
    order_id text collate "C" not null,
    voided bigint not null default 0,
    saga uuid not null,
    customer_id text not null,
    amount bigint not null,
    currency text not null,
    status text not null default 'created',
    created_at timestamptz not null default now(),
    completed_at timestamptz,
    cancelled_at timestamptz,
    constraint orders_pk primary key (id),
    constraint orders_standing unique (order_id, voided),
    constraint orders_order_id_spelling check (order_id ~ '^[A-Za-z0-9_-]{6,64}$'),
    constraint orders_currency_spelling check (currency ~ '^[A-Z]{3}$'),
    constraint orders_amount_not_negative check (amount >= 0),
    constraint orders_status_known check (status in ('created', 'completed', 'cancelled')),
    constraint orders_voided_when_cancelled check (
        case status when 'cancelled' then voided = id else voided = 0 end
    ),
    constraint orders_completed_has_instant check ((status = 'completed') = (completed_at is not null)),
    constraint orders_cancelled_has_instant check ((status = 'cancelled') = (cancelled_at is not null))
) with (fillfactor = 80);

-- Written by the statement that writes its order. No foreign key: its trigger would run for every line.
create table amends_order.order_lines (
    id bigint not null,
    line int not null,
    sku text not null,
    quantity int not null,
    unit_price bigint not null,
    constraint order_lines_pk primary key (id, line),
    constraint order_lines_line_from_1 check (line >= 1),
    constraint order_lines_quantity_positive check (quantity > 0),
    constraint order_lines_unit_price_not_negative check (unit_price >= 0)
);
