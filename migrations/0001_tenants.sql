-- Tenants, the unit of isolation and ownership; who belongs to them, what they may do beyond the default and how much they may use.
create table tenants (
    id integer primary key autoincrement, -- never reused: folders and cgroups carry it
    name text not null,
    kind text not null check (kind in ('personal', 'team')),
    owner integer, -- the user of a personal tenant (0: the host's root); null for teams
    created integer not null, -- milliseconds since the epoch
    removed integer, -- when it ended; the row stays while data exists
    check ((kind = 'personal') = (owner is not null))
) strict;
create unique index tenants_name on tenants (name) where removed is null;
create unique index tenants_owner on tenants (owner) where removed is null;

create table members (
    tenant integer not null references tenants (id),
    user integer not null,
    role text not null check (role in ('owner', 'member', 'viewer')),
    primary key (tenant, user)
) strict, without rowid;

-- 65,536 host uids each, never shared. A released block is not handed out again until its row is gone, which is when its data is gone.
create table uid_blocks (
    base integer primary key,
    purpose text not null check (purpose in ('tenant', 'container', 'layers')),
    tenant integer references tenants (id),
    container text,
    released integer,
    check ((purpose = 'layers') = (tenant is null)),
    check ((purpose = 'container') = (container is not null))
) strict;
create unique index uid_blocks_tenant on uid_blocks (tenant) where purpose = 'tenant';
create unique index uid_blocks_container on uid_blocks (container) where container is not null;
create unique index uid_blocks_layers on uid_blocks (purpose) where purpose = 'layers';

create table grants (
    id integer primary key autoincrement,
    tenant integer not null references tenants (id),
    grant text not null, -- KIND[=VALUE]
    expires integer, -- milliseconds since the epoch
    created integer not null,
    created_by text not null
) strict;
create unique index grants_once on grants (tenant, "grant");

-- Null: no limit.
create table quotas (
    tenant integer primary key references tenants (id),
    nano_cpus integer,
    memory integer, -- bytes
    memory_swap integer, -- bytes, memory and swap together
    pids integer,
    disk integer, -- bytes
    containers integer,
    images integer,
    volumes integer,
    networks integer,
    ports integer
) strict;
