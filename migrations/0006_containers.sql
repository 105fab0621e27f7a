-- Containers and volumes. What was asked, and what became of it; the kernel and the run folder tell the rest.
create table containers (
    id text primary key,
    tenant integer not null references tenants (id),
    name text not null,
    created integer not null, -- milliseconds since the epoch
    created_by text not null,
    -- Everything that does not change after create: spec, image configuration, mounts (JSON).
    fixed text not null,
    -- What update, rename, connect and disconnect change (JSON).
    mutable text not null,
    -- The life (JSON): state, restarts, failure, the facts of the running process.
    life text not null,
    unique (tenant, name)
) strict;

create table volumes (
    tenant integer not null references tenants (id),
    name text not null,
    -- Its folder's name under volumes/: random, so that no name of a tenant becomes a path.
    folder text not null unique,
    created integer not null,
    anonymous integer not null,
    -- Whether an image's content was already copied into it, or it was empty when first used.
    initialised integer not null default 0,
    options text not null, -- JSON
    labels text not null, -- JSON
    primary key (tenant, name)
) strict;
