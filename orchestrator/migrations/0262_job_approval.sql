-- A second person's approval of a whole job.
alter table job add column approved_by text;
alter table job add column approved_at timestamptz;
alter table job add column approval_why text;
