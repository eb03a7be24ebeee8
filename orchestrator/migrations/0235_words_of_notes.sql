create index note_text_idx on note using gin (to_tsvector('simple', translate(body, '-_./:@#=+', '         ')));
