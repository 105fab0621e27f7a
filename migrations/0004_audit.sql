-- Who did what, as a hash chain: each row's hash covers the row and the hash before it. Autoincrement, so that rows cut off at the end are missed
-- too (sqlite_sequence remembers the last number).
create table audit (
    seq integer primary key autoincrement,
    time integer not null, -- milliseconds since the epoch
    kind text not null check (kind in ('intent', 'denied', 'outcome')),
    intent integer references audit (seq), -- an outcome's intent
    actor text not null,
    user integer,
    via text not null,
    ip text,
    tenant integer,
    tenant_name text not null,
    action text not null,
    object text not null,
    spec_hash blob,
    rule text not null,
    outcome text, -- '' succeeded, else the error's text; null where kind is not 'outcome'
    hash blob not null
) strict;
create unique index audit_intent on audit (intent) where intent is not null;
create index audit_time on audit (time);
create index audit_tenant on audit (tenant, seq);
