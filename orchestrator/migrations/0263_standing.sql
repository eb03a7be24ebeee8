-- How many sagas stand where: what the projection's rows add up to, so that nobody has to look at each of a million. Writers
-- only add differences; one process at a time adds them up.
create table standing (
    definition integer not null,
    status smallint not null,
    run smallint,
    step text,
    direction smallint,
    worker text,
    error_code text,
    failure text,
    currency text,
    sagas bigint not null,
    amount numeric not null,
    constraint standing_key unique nulls not distinct
        (definition, status, run, step, direction, worker, error_code, failure, currency)
) with (fillfactor = 50);
create table standing_change (
    definition integer not null,
    status smallint not null,
    run smallint,
    step text,
    direction smallint,
    worker text,
    error_code text,
    failure text,
    currency text,
    sagas bigint not null,
    amount numeric not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
create view standing_now as select * from standing union all select * from standing_change;

create function projection_stands() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into standing_change
        select definition, status, run, step, direction, worker, error_code, failure, currency, count(*), coalesce(sum(amount), 0)
        from new_rows group by 1, 2, 3, 4, 5, 6, 7, 8, 9;
    elsif tg_op = 'DELETE' then
        insert into standing_change
        select definition, status, run, step, direction, worker, error_code, failure, currency, -count(*), -coalesce(sum(amount), 0)
        from old_rows group by 1, 2, 3, 4, 5, 6, 7, 8, 9;
    else
        insert into standing_change
        select definition, status, run, step, direction, worker, error_code, failure, currency, sum(sagas), coalesce(sum(amount), 0)
        from (select definition, status, run, step, direction, worker, error_code, failure, currency, 1 as sagas, amount from new_rows
              union all
              select definition, status, run, step, direction, worker, error_code, failure, currency, -1, -amount from old_rows) it
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9 having sum(sagas) <> 0 or coalesce(sum(amount), 0) <> 0;
    end if;
    return null;
end $$;
create trigger projection_came after insert on projection referencing new table as new_rows
    for each statement execute function projection_stands();
create trigger projection_went after delete on projection referencing old table as old_rows
    for each statement execute function projection_stands();
create trigger projection_moved after update on projection referencing old table as old_rows new table as new_rows
    for each statement execute function projection_stands();
-- The triggers' lock keeps writers out until this is committed.
insert into standing
select definition, status, run, step, direction, worker, error_code, failure, currency, count(*), coalesce(sum(amount), 0)
from projection group by 1, 2, 3, 4, 5, 6, 7, 8, 9;
