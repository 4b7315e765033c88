-- +goose Up
-- witnesses: cosignatures over checkpoints, as their witnesses gave them. The checkpoint of each size lies in log_checkpoint.

create table log_cosignature (
  size bigint not null check (size > 0),
  witness text collate "C" not null check (octet_length(witness) between 1 and 200), -- name of the key
  key_hash bytea not null check (octet_length(key_hash) = 4),
  line text not null check (octet_length(line) between 1 and 1000), -- with its end of line
  at timestamptz not null, -- as the cosignature states it
  primary key (witness, key_hash, size)
);
create index log_cosignature_size on log_cosignature (size);

grant select, insert on log_cosignature to zhizheng_app;
