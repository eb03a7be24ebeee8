-- Every finding, a row each; nothing at all when the books balance.
select 'order ' || order_id || ' is ' || o.status || ', its payment ' || coalesce(d.amount::text, 'absent')
    || ', its reservation ' || coalesce(r.status, 'absent')
from orders.orders o
full join payment.decisions d using (order_id)
full join stock.reservations r using (order_id)
where (o.status, r.status, d.amount is null) is distinct from ('created', 'reserved', false)
  and (o.status, r.status, d.amount is null) is distinct from ('cancelled', 'released', true)
   or d.amount <> o.amount
union all
select 'order ' || order_id || ' has lines of ' || sum(l.quantity * l.unit_price) || ', and is of ' || o.amount
from orders.orders o join orders.order_lines l using (order_id)
group by order_id, o.amount having sum(l.quantity * l.unit_price) <> o.amount
union all
select 'SKU ' || s.sku || ' has ' || s.reserved || ' reserved, and reservations hold ' || coalesce(h.held, 0)
from stock.stock s
left join (
    select l.sku, sum(l.quantity) as held
    from stock.reservations r join stock.reservation_lines l using (order_id)
    where r.status = 'reserved' group by l.sku
) h using (sku)
where s.reserved <> coalesce(h.held, 0)
union all
select 'order ' || order_id || ' has a reservation without lines'
from stock.reservations r where not exists (select from stock.reservation_lines l where l.order_id = r.order_id)
union all
select 'order ' || order_id || ' has no lines'
from orders.orders o where not exists (select from orders.order_lines l where l.order_id = o.order_id);
