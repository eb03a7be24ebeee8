-- What a job's item is to become: 2 completed, 3 compensated, 4 abandoned.
alter table job_item add column goal smallint not null default 2;
