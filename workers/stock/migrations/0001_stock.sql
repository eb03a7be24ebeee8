-- The books, a row a SKU, as double entry: what came in is on hand or sold, and what is on hand is
-- available or reserved. The constraints hold whatever the code does. No index but the key, and room
-- on the page, so that every change is a HOT update.
create table amends_stock.stock (
    sku text collate "C" not null,
    received bigint not null,
    on_hand bigint not null,
    available bigint not null,
    reserved bigint not null,
    sold bigint not null,
    updated_at timestamptz not null default now(),
    constraint stock_pk primary key (sku),
    constraint stock_sku_spelling check (sku ~ '^[A-Za-z0-9._-]{1,64}$'),
    constraint stock_available_not_negative check (available >= 0),
    constraint stock_reserved_not_negative check (reserved >= 0),
    constraint stock_sold_not_negative check (sold >= 0),
    constraint stock_on_hand_is_available_or_reserved check (on_hand = available + reserved),
    constraint stock_received_is_on_hand_or_sold check (received = on_hand + sold)
) with (fillfactor = 50);

-- A reservation is named by the execute that made it (saga, step, item, round), which is what its
-- compensation names; `item` is -1 outside a `foreach`. The saga stands first, so that `commit` finds
-- all reservations of its order by the key as well.
create table amends_stock.reservations (
    saga uuid not null,
    step text collate "C" not null,
    item int not null,
    round int not null,
    order_id text collate "C" not null,
    status text not null default 'reserved',
    reserved_at timestamptz not null default now(),
    settled_at timestamptz,
    constraint reservations_pk primary key (saga, step, item, round),
    constraint reservations_status_known check (status in ('reserved', 'sold', 'released')),
    constraint reservations_settled_has_instant check ((status <> 'reserved') = (settled_at is not null))
) with (fillfactor = 80);

-- Written by the statement that writes its reservation, after the books' rows were locked. No foreign
-- keys: their triggers would run for every line, and lock the books' hottest rows once more.
create table amends_stock.reservation_lines (
    saga uuid not null,
    step text collate "C" not null,
    item int not null,
    round int not null,
    sku text collate "C" not null,
    quantity bigint not null,
    constraint reservation_lines_pk primary key (saga, step, item, round, sku),
    constraint reservation_lines_quantity_positive check (quantity > 0)
);
