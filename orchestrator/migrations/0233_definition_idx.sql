-- Sagas of a definition that stand somehow: by an index of their own.
create index projection_definition_idx on projection (definition, status, saga_id);
