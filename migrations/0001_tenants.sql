-- Tenants, the unit of isolation and ownership.
create table tenants (
    id integer primary key,
    name text not null unique,
    -- First host uid of the tenant's 65,536-wide block; never shared, never reused while data exists.
    uid_base integer not null unique,
    created integer not null -- milliseconds since the epoch
) strict;
