-- +goose Up
-- evidence log: entries, their erasable payloads, full tiles, the head, checkpoints. See docs of evidence/evlog.

-- The role every pooled connection of the server runs as. Two databases of one cluster may migrate at once, so a role that
-- appears between the look and the act is no error.
-- +goose StatementBegin
do $$
begin
  if not exists (select 1 from pg_roles where rolname = 'zhizheng_app') then
    create role zhizheng_app nologin;
  end if;
exception when duplicate_object or unique_violation then
  null;
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
do $$
begin
  -- An owner that is no superuser has to be a member before it can SET ROLE.
  if not pg_has_role(current_user, 'zhizheng_app', 'member') then
    execute format('grant zhizheng_app to %I', current_user);
  end if;
end $$;
-- +goose StatementEnd

-- One row. Its lock is the fence between all who append, in whatever process.
create table log_head (
  one boolean primary key default true check (one),
  size bigint not null check (size >= 0),
  -- roots of the complete subtrees that make up the tree, largest first, 32 bytes each
  edge bytea not null check (octet_length(edge) % 32 = 0)
) with (fillfactor = 10);
insert into log_head (size, edge) values (0, '');

-- One row a leaf. Not partitioned: both unique constraints must hold over the whole log.
create table log_entry (
  seq bigint primary key check (seq >= 0),
  key text collate "C" not null unique check (octet_length(key) between 1 and 200),
  -- binds the key to the leaf, whose bytes don't hold it: the first 8 bytes of SHA-256(leaf_hash, key)
  key_sum bytea not null check (octet_length(key_sum) = 8),
  subject bytea not null check (octet_length(subject) = 16),
  counter bigint not null check (counter >= 1),
  leaf_hash bytea not null check (octet_length(leaf_hash) = 32),
  bytes bytea not null check (octet_length(bytes) between 1 and 4096),
  unique (subject, counter)
);

-- What a leaf commits to. Deleting a row here erases its content and breaks no proof. No foreign key: both rows are written by one
-- statement pair in one transaction, the check would cost as much as the insert, and an audit counts both.
create table log_payload (
  seq bigint primary key,
  salt bytea not null check (octet_length(salt) = 32),
  payload bytea not null
);

-- Full tiles only; partial ones are derived from leaf hashes and from the roots of the level below.
create table log_tile (
  level smallint not null check (level between 0 and 7),
  idx bigint not null check (idx >= 0),
  root bytea not null check (octet_length(root) = 32),
  hashes bytea not null check (octet_length(hashes) = 8192),
  primary key (level, idx)
);
alter table log_tile alter column hashes set storage external; -- hashes don't compress

-- One row: the latest checkpoint. Its lock says which replica builds the next one; log_head is never locked for that.
create table log_publisher (
  one boolean primary key default true check (one),
  size bigint not null check (size >= 0),
  root bytea,
  note text,
  at timestamptz
) with (fillfactor = 10);
insert into log_publisher (size) values (0);

-- Checkpoints kept for good, at most one a minute.
create table log_checkpoint (
  size bigint primary key check (size > 0),
  root bytea not null check (octet_length(root) = 32),
  note text not null,
  at timestamptz not null
);

grant select, update on log_head, log_publisher to zhizheng_app;
grant select, insert on log_entry, log_payload, log_tile, log_checkpoint to zhizheng_app;
