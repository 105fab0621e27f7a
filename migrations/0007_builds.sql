-- What builds remember. A tenant's own: nothing here is ever looked up for another.

create table build_steps (
    tenant integer not null references tenants (id),
    -- SHA-256 of everything the step read.
    key text not null,
    -- What it made; null: nothing changed on disk.
    layer integer references layers (id),
    blob text references blobs (digest),
    description text not null,
    created integer not null, -- milliseconds since the epoch
    last_used integer not null,
    uses integer not null default 0,
    primary key (tenant, key)
) strict, without rowid;
create index build_steps_layer on build_steps (layer);
create index build_steps_blob on build_steps (blob);

-- Folders of RUN --mount=type=cache.
create table build_mounts (
    tenant integer not null references tenants (id),
    -- SHA-256 of the id in the Dockerfile: no name of a tenant becomes a path.
    key text not null,
    folder text not null unique,
    description text not null,
    created integer not null,
    last_used integer not null,
    primary key (tenant, key)
) strict, without rowid;
