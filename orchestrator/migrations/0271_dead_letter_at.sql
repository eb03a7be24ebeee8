-- Old dead letters of sagas that are gone are looked for by their age.

create index dead_letter_at_idx on dead_letter (at);
