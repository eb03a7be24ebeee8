-- The audit by deed and by time; a deed's group by the beginning of its word.
create index audit_what_idx on audit (what collate "C", id);
create index audit_at_idx on audit (at);
