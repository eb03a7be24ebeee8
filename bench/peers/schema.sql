-- The workload's tables, and its three steps and two undoings as functions: so each peer does exactly the same work,
-- in one round trip, in a transaction of its own. Every effect happens once, however often its step is repeated.
create schema orders;
create schema stock;
create schema payment;

create table orders.orders (
    order_id text collate "C" not null,
    customer_id text not null,
    amount bigint not null,
    currency text not null,
    status text not null default 'created',
    created_at timestamptz not null default now(),
    cancelled_at timestamptz,
    constraint orders_pk primary key (order_id),
    constraint orders_status_known check (status in ('created', 'cancelled'))
) with (fillfactor = 80);

create table orders.order_lines (
    order_id text collate "C" not null,
    line int not null,
    sku text not null,
    quantity int not null,
    unit_price bigint not null,
    constraint order_lines_pk primary key (order_id, line)
);

create table stock.stock (
    sku text collate "C" not null,
    on_hand bigint not null,
    available bigint not null,
    reserved bigint not null,
    constraint stock_pk primary key (sku),
    constraint stock_available_not_negative check (available >= 0),
    constraint stock_reserved_not_negative check (reserved >= 0),
    constraint stock_on_hand_is_available_or_reserved check (on_hand = available + reserved)
) with (fillfactor = 50);

create table stock.reservations (
    order_id text collate "C" not null,
    status text not null default 'reserved',
    reserved_at timestamptz not null default now(),
    settled_at timestamptz,
    constraint reservations_pk primary key (order_id),
    constraint reservations_status_known check (status in ('reserved', 'released'))
) with (fillfactor = 80);

create table stock.reservation_lines (
    order_id text collate "C" not null,
    sku text collate "C" not null,
    quantity int not null,
    constraint reservation_lines_pk primary key (order_id, sku)
);

create table payment.decisions (
    order_id text collate "C" not null,
    amount bigint not null,
    decided_at timestamptz not null default now(),
    constraint decisions_pk primary key (order_id)
);

create function orders.create_order(_order_id text, _sku text, _quantity int, _unit_price bigint) returns void
language plpgsql as $$
begin
    insert into orders.orders (order_id, customer_id, amount, currency)
    values (_order_id, 'bench', _quantity * _unit_price, 'KRW')
    on conflict do nothing;
    if found then
        insert into orders.order_lines values (_order_id, 1, _sku, _quantity, _unit_price);
    end if;
end $$;

create function orders.cancel_order(_order_id text) returns void
language plpgsql as $$
begin
    update orders.orders set status = 'cancelled', cancelled_at = now()
    where order_id = _order_id and status = 'created';
end $$;

-- The SKU's row comes last: others wait for it until the commit.
create function stock.reserve(_order_id text, _sku text, _quantity int) returns void
language plpgsql as $$
begin
    insert into stock.reservations (order_id) values (_order_id) on conflict do nothing;
    if found then
        insert into stock.reservation_lines values (_order_id, _sku, _quantity);
        update stock.stock set available = available - _quantity, reserved = reserved + _quantity
        where sku = _sku;
    end if;
end $$;

create function stock.release(_order_id text) returns void
language plpgsql as $$
begin
    update stock.reservations set status = 'released', settled_at = now()
    where order_id = _order_id and status = 'reserved';
    if found then
        update stock.stock s set available = s.available + l.quantity, reserved = s.reserved - l.quantity
        from stock.reservation_lines l where l.order_id = _order_id and s.sku = l.sku;
    end if;
end $$;

-- False: rejected.
create function payment.decide(_order_id text, _amount bigint, _reject boolean) returns boolean
language plpgsql as $$
begin
    if _reject then
        return false;
    end if;
    insert into payment.decisions (order_id, amount) values (_order_id, _amount) on conflict do nothing;
    return true;
end $$;
