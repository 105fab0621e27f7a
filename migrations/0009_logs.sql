-- Logs of containers that are gone, until their retention ends. The files lie in logs/<container>, moved there after the row was
-- committed with the container's removal: the next start finishes what a crash left between the two.
create table kept_logs (
    container text primary key,
    tenant integer not null references tenants (id),
    name text not null,
    -- The how manieth container of that name, counted while logs of earlier ones are kept.
    generation integer not null,
    image text not null,
    format text not null check (format in ('local', 'json-file')),
    tty integer not null,
    began integer not null, -- time of the first line, milliseconds since the epoch
    ended integer not null, -- of the last writing
    removed integer not null,
    bytes integer not null,
    unique (tenant, name, generation)
) strict;
create index kept_logs_removed on kept_logs (tenant, removed);
