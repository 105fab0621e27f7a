-- Networks of tenants, and containers' places in them.
create table networks (
    id text primary key,
    tenant integer not null references tenants (id),
    name text not null,
    -- The bridge's name in the host; empty for `host` and `none`.
    ifname text not null,
    predefined integer not null,
    -- NetworkSpec as JSON, with subnets and gateways filled in.
    spec text not null,
    -- Whether its owner chose the subnets: only then may containers choose addresses.
    chosen integer not null,
    created integer not null, -- milliseconds since the epoch
    unique (tenant, name)
) strict;

-- Only containers that are up have rows here.
create table endpoints (
    id text primary key,
    network text not null references networks (id),
    container text not null,
    -- Attachment as JSON.
    attachment text not null
) strict;

create index endpoints_container on endpoints (container);
