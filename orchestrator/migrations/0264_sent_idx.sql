-- Those whose command is on its way: whether they are late or queued is a matter of time, and is asked anew each time.
create index projection_sent_idx on projection (saga_id) include (sent_ms, late_ms, topic, partition)
    where status = 0 and coalesce(run, 0) = 0;
