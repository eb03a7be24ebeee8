-- Mail whose retention may be over and that nobody has looked at for that yet. What the audit refers to stays, without its
-- words, and leaves the index.

create index mailbox_goes_idx on mailbox (taken_at) where taken_at is not null and (body <> '{}' or payload is not null);
