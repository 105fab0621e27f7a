-- Removed volumes that can still be restored. Their folders stay where they are: only the row moves, in one transaction.
create table volume_trash (
    id integer primary key autoincrement, -- never reused: pages and programs hold it
    tenant integer not null references tenants (id),
    name text not null, -- as it was; may be there several times, and in use again
    folder text not null unique,
    created integer not null,
    anonymous integer not null,
    initialised integer not null,
    options text not null, -- JSON
    labels text not null, -- JSON
    removed integer not null, -- milliseconds since the epoch
    removed_by text not null,
    size integer -- bytes, once they were counted: nobody writes to it any more
) strict;
create index volume_trash_tenant on volume_trash (tenant, removed);
