-- People and what they prove themselves with. Secrets are kept as hashes only.
create table users (
    -- autoincrement: an id in an old audit row never comes to mean somebody else.
    id integer primary key autoincrement,
    name text not null unique,
    admin integer not null check (admin in (0, 1)),
    -- 1: the host's root, row 0: cannot be removed, and does not count as a first administrator.
    builtin integer not null default 0 check (builtin in (0, 1)),
    -- PHC string of argon2id; null: no sign-in by password.
    password text,
    -- The Unix account that the socket takes for this user.
    unix_uid integer unique,
    unix_gid integer,
    disabled integer not null default 0 check (disabled in (0, 1)),
    created integer not null -- milliseconds since the epoch
) strict;
insert into users (id, name, admin, builtin, unix_uid, unix_gid, created)
values (0, 'root', 1, 1, 0, 0, cast(unixepoch('subsec') * 1000 as integer));

create table sessions (
    id integer primary key autoincrement,
    hash blob not null unique, -- SHA-256 of the cookie's value
    user integer not null references users (id) on delete cascade,
    created integer not null,
    seen integer not null,
    address text not null,
    agent text not null
) strict;

create table tokens (
    id integer primary key autoincrement,
    hash blob not null unique, -- SHA-256 of the token
    user integer not null references users (id) on delete cascade,
    tenant integer, -- null: the tenant is chosen per request
    name text not null,
    scope text not null check (scope in ('read', 'write', 'admin')),
    created integer not null,
    expires integer not null,
    used integer -- last use; null: never
) strict;

create table certificates (
    id integer primary key autoincrement,
    fingerprint blob not null unique, -- SHA-256 of the DER
    user integer not null references users (id) on delete cascade,
    tenant integer not null,
    name text not null,
    scope text not null check (scope in ('read', 'write', 'admin')),
    created integer not null,
    expires integer not null,
    used integer
) strict;

-- What is set at run time: one row per key.
create table settings (
    key text primary key,
    value text not null
) strict;
