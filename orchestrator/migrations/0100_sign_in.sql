-- API keys, by their hashes.
create table api_key (
    id uuid not null,
    name text not null,
    prefix text not null,
    hash bytea not null,
    roles text[] not null,
    created_by text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    constraint api_key_pk primary key (id),
    constraint api_key_hash_key unique (hash)
);
-- A name is a principal: only one key of a name works at a time.
create unique index api_key_name_key on api_key (name) where revoked_at is null;

-- Who did what, why and from where. Only ever added to.
create table audit (
    id bigint generated always as identity,
    at timestamptz not null default now(),
    who text not null,
    roles text[] not null,
    address text not null,
    what text not null,
    target text not null,
    why text,
    before text,
    after text,
    -- The piece of mail that asks for it, whose result is the outcome.
    mail uuid,
    constraint audit_pk primary key (id)
);
create index audit_target_idx on audit (target, id);
create index audit_who_idx on audit (who, id);

create function audit_is_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'the audit is append-only';
end $$;
create trigger audit_append_only before update or delete or truncate on audit
    for each statement execute function audit_is_append_only();
