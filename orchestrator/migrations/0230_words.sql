-- Texts are found by their words; what joins words parts them, so that the number in `order-4711` is one.
-- A column, not only an index: a frequent word is looked for from the newest row on. Filled by a trigger, because a
-- generated column would write the whole table anew while nobody can read it, and because processes of the version
-- before write rows as well.
alter table projection add column words tsvector;
create function projection_words() returns trigger language plpgsql as $$
begin
    new.words := to_tsvector('simple', translate(coalesce(new.error_code, '') || ' ' || coalesce(new.error_message, ''),
        '-_./:@#=+', '         '));
    return new;
end
$$;
create trigger projection_words before insert or update of error_code, error_message on projection
    for each row execute function projection_words();
