-- +goose Up
-- ingest: what a signing key's own chain shows. Every counter up to an epoch's top either arrived (manifest) or lies in one gap.

-- What of a manifest is compared with its neighbours. Null in rows from before: then nothing is said about clocks.
alter table manifest
  add column recorder text not null default '',
  add column signed_ms bigint,
  add column monotonic_ms bigint,
  add column checkpoint bytea not null default '';
update manifest m set recorder = e.recorder from evidence e where e.id = m.evidence_id;
create index manifest_recorder on manifest (recorder, key_id) where recorder <> '';
create index manifest_evidence on manifest (evidence_id);

-- One row a boot epoch of a key; its lock orders those who add to the epoch.
create table chain_epoch (
  key_id bytea not null references signing_key,
  epoch bigint not null,
  top bigint not null check (top >= 0),         -- highest counter that arrived or was stated
  arrived bigint not null check (arrived >= 0),
  first_ms bigint,                              -- earliest and latest wall clock of its manifests
  last_ms bigint,
  primary key (key_id, epoch),
  check (arrived <= top)
) with (fillfactor = 70);

-- Counters that were skipped. A gap stays as it was opened; missing counts down as late ones arrive, at 0 it is closed.
create table chain_gap (
  key_id bytea not null,
  epoch bigint not null,
  first bigint not null check (first >= 1),
  last bigint not null,
  missing bigint not null,
  opened_at timestamptz not null,
  closed_at timestamptz,
  reason text,
  explained_by text,
  explained_at timestamptz,
  reason_key text,                              -- idempotency key of the reason's leaf
  primary key (key_id, epoch, first),
  foreign key (key_id, epoch) references chain_epoch,
  check (last >= first),
  check (missing between 0 and last - first + 1),
  check ((missing = 0) = (closed_at is not null)),
  check ((reason is null) = (explained_by is null) and (reason is null) = (explained_at is null) and (reason is null) = (reason_key is null))
);
create index chain_gap_open on chain_gap (key_id) where missing > 0;

-- A key's own signed statements of how far it has counted.
create table device_chain_state (
  log_key text primary key,
  key_id bytea not null references signing_key,
  epoch bigint not null,
  counter bigint not null check (counter >= 0),
  hash bytea not null,                          -- of the last manifest, '' before the first
  signed_ms bigint not null,
  monotonic_ms bigint not null,
  checkpoint bytea not null default '',
  closing boolean not null,
  recorder text not null default '',
  received_at timestamptz not null,
  check (octet_length(hash) = case when counter = 0 then 0 else 32 end)
);
create index device_chain_state_newest on device_chain_state (key_id, epoch, signed_ms);

-- What was odd, once each; the leaf has the same key.
create table chain_anomaly (
  log_key text primary key,
  key_id bytea not null references signing_key,
  what text not null,
  epoch bigint not null,
  first bigint not null,
  last bigint not null,
  detail text not null default '',
  at timestamptz not null
);
create index chain_anomaly_of on chain_anomaly (key_id, at);

-- Checkpoints that stations were handed: a manifest that names one was signed after the leaves under it.
create table seen_checkpoint (
  hash bytea primary key check (octet_length(hash) = 32), -- SHA-256 of the signed note
  size bigint not null check (size > 0),
  note text not null
);

insert into chain_epoch (key_id, epoch, top, arrived)
select key_id, epoch, max(counter), count(*) from manifest group by key_id, epoch;
insert into chain_gap (key_id, epoch, first, last, missing, opened_at)
select key_id, epoch, before + 1, counter - 1, counter - 1 - before, received_at
from (select *, lag(counter, 1, 0::bigint) over (partition by key_id, epoch order by counter) as before from manifest) m
where counter > before + 1;

grant select, insert, update on chain_epoch, chain_gap to zhizheng_app;
grant select, insert on device_chain_state, chain_anomaly, seen_checkpoint to zhizheng_app;
