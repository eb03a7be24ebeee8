-- What a job shows to a second person, what a repetition of its request is compared with, and why it does not come along.
alter table job add column asked bytea;
alter table job add column amount text;
alter table job add column stalled text;
-- What was tried, and failed, before its canary began anew.
alter table job add column canary_tried integer not null default 0;
alter table job add column canary_failed integer not null default 0;
-- Counts and reasons of a job that is done.
alter table job add column summary text;
