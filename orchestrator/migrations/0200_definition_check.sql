-- What `check` said of a version when it was published, and why it was published all the same.
alter table definition
    add column verdict text,
    add column waiver text,
    add constraint definition_verdict_known check (verdict in ('proved', 'refuted', 'unproved'));
