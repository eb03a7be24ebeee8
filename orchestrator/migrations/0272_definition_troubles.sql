-- How much of the world the check combined: at most so many steps in trouble at once; null for every combination.
alter table definition add column troubles smallint;
