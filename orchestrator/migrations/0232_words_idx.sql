-- While an index is made, rows are read and not written; each by itself, so that it is not for long.
create index projection_words_idx on projection using gin (words);
