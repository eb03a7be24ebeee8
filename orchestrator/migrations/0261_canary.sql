-- A version beside the current one that takes a share of the starts, until it is promoted or withdrawn.
create table canary (
    name text not null,
    definition integer not null,
    percent smallint not null,
    since timestamptz not null default now(),
    by text not null,
    constraint canary_pk primary key (name),
    constraint canary_definition_fk foreign key (definition) references definition (id),
    constraint canary_percent_is_a_share check (percent between 1 and 99)
);
