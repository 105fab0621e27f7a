-- Steps that the classic builder's images stand for. There, what is remembered of a build goes with its image: after
-- `docker rmi`, a RUN runs again. What BuildKit's door uses is remembered until it is pruned, and is in no row here.
create table image_steps (
    tenant integer not null,
    image text not null,
    key text not null,
    primary key (tenant, image, key),
    foreign key (tenant, key) references build_steps (tenant, key) on delete cascade
) strict, without rowid;
create index image_steps_key on image_steps (tenant, key);
