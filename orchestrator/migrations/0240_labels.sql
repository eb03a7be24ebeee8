-- What operators find sagas by, beside the key: `name:value`, as the definition says. A saga without labels costs nothing.
-- Newest first by the index of the table itself; the saga's own row says which it has.
alter table saga add column labels text[];
create table saga_label (
    label text collate "C" not null,
    saga_id uuid not null,
    constraint saga_label_pk primary key (label, saga_id)
);
