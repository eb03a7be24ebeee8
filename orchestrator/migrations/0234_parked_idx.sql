-- The parked queue, by what is at stake and by age. Few rows.
create index projection_parked_amount_idx on projection ((-coalesce(amount, -1)), since_ms, saga_id) where status = 1;
create index projection_parked_since_idx on projection (since_ms, saga_id) where status = 1;
