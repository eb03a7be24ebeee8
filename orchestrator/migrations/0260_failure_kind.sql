-- What kind of failure a group is: what the workers answered, or what the engine says itself. Null in rows of a build that
-- did not know it, until they are seen again.
alter table failure add column kind text;
