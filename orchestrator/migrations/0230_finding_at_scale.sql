-- What a list of ten million sagas needs. Texts are found by their words; what joins words parts them,
-- so that the number in `order-4711` is one. Sagas of a definition that stand somehow: by an index of their own.
-- A column, not only an index: a frequent word is looked for from the newest row on.
alter table projection add column words tsvector generated always as (
    to_tsvector('simple', translate(coalesce(error_code, '') || ' ' || coalesce(error_message, ''), '-_./:@#=+', '         '))
) stored;
create index projection_words_idx on projection using gin (words);
create index note_text_idx on note using gin (to_tsvector('simple', translate(body, '-_./:@#=+', '         ')));
create index projection_definition_idx on projection (definition, status, saga_id);

-- The parked queue, by what is at stake and by age.
create index projection_parked_amount_idx on projection ((-coalesce(amount, -1)), since_ms, saga_id) where status = 1;
create index projection_parked_since_idx on projection (since_ms, saga_id) where status = 1;

-- The audit by deed and by time; a deed's group by the beginning of its word.
create index audit_what_idx on audit (what collate "C", id);
create index audit_at_idx on audit (at);
