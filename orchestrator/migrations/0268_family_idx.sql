-- Erasing looks for a saga's children.
create index saga_parent_idx on saga (parent) where parent is not null;
-- Who erases looks for the jobs that a saga was part of; retention for the mail that no audit names.
create index job_item_of_saga_idx on job_item (saga_id);
create index audit_mail_idx on audit (mail) where mail is not null;
-- A group's newest job.
alter table job add column failure text;
update job set failure = substring(request from 'failure=([^&"]+)');
create index job_failure_idx on job (failure, created_at) where failure is not null;
create index mailbox_saga_idx on mailbox (saga_id);
