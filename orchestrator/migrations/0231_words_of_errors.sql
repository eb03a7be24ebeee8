-- no-transaction
-- The rows of before, a batch at a time: nobody waits for more than one. Begun anew, it goes on.
do $$
declare
    reached uuid := '00000000-0000-0000-0000-000000000000';
begin
    loop
        with batch as (
            select saga_id, error_code is not null and words is null as missing from projection
            where saga_id > reached order by saga_id limit 2000
        ), filled as (
            -- The trigger does it.
            update projection p set error_code = p.error_code from batch b where p.saga_id = b.saga_id and b.missing
        )
        select saga_id into reached from batch order by saga_id desc limit 1;
        exit when not found;
        commit;
    end loop;
end
$$;
