-- Images. `scope` says who may see a blob or a layer: 0 everybody (it came from an anonymous pull), else that tenant.

create table blobs (
    digest text primary key,
    -- Digest of the uncompressed tar inside, as a worker found it.
    diff_id text not null,
    size integer not null
) strict;

create table blob_scopes (
    digest text not null references blobs (digest) on delete cascade,
    scope integer not null,
    primary key (digest, scope)
) strict, without rowid;

-- Unpacked layers: a folder under layers/ each.
create table layers (
    id integer primary key,
    diff_id text not null,
    scope integer not null,
    folder text not null unique,
    size integer not null,
    unique (diff_id, scope)
) strict;

create table images (
    tenant integer not null references tenants (id),
    id text not null, -- digest of config
    config text not null, -- the raw bytes: their digest is the id
    manifest text, -- the raw manifest it was pulled or pushed with
    parent text,
    added integer not null, -- milliseconds
    last_tagged integer,
    -- Removed by force while a container used it: kept for the container, shown to nobody.
    hidden integer not null default 0,
    primary key (tenant, id)
) strict, without rowid;

create table image_layers (
    tenant integer not null,
    image text not null,
    position integer not null,
    layer integer not null references layers (id),
    blob text not null references blobs (digest),
    primary key (tenant, image, position),
    foreign key (tenant, image) references images (tenant, id) on delete cascade
) strict, without rowid;
create index image_layers_layer on image_layers (layer);
create index image_layers_blob on image_layers (blob);

create table image_names (
    tenant integer not null,
    repository text not null, -- whole: docker.io/library/alpine
    tag text not null,
    image text not null,
    primary key (tenant, repository, tag),
    foreign key (tenant, image) references images (tenant, id) on delete cascade
) strict, without rowid;
create index image_names_image on image_names (tenant, image);

create table image_digests (
    tenant integer not null,
    repository text not null,
    digest text not null,
    image text not null,
    primary key (tenant, repository, digest),
    foreign key (tenant, image) references images (tenant, id) on delete cascade
) strict, without rowid;
create index image_digests_image on image_digests (tenant, image);
