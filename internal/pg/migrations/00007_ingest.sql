-- +goose Up
-- ingest: who may send, what they signed, and how far each upload is. Manifests keep the exact bytes that were signed.

create table ingest_station (
  id text primary key,                -- shown in custody
  name text not null,
  township text not null,
  enrolled_at timestamptz not null
);

create table ingest_key (
  key_id bytea primary key check (octet_length(key_id) = 32), -- SHA-256 of the SubjectPublicKeyInfo
  station_id text not null references ingest_station,
  spki bytea not null,
  cert bytea not null,
  enrolled_at timestamptz not null,
  enrolled_by text not null,
  revoked_at timestamptz,
  revoked_by text not null default '',
  revoke_reason text not null default ''
);
create index ingest_key_station on ingest_key (station_id);

-- One row a signed manifest that was let in. Its lock order: the key's row first, so that a counter can't be given out twice unseen.
create table ingest_manifest (
  key_id bytea not null references ingest_key,
  epoch bigint not null check (epoch >= 0),
  counter bigint not null check (counter >= 1),
  digest bytea not null check (octet_length(digest) = 32), -- SHA-256 of the manifest's bytes: what the next one names as previous
  prev bytea not null check (octet_length(prev) = 32),
  signed bytea not null,
  evidence_id text not null references evidence,
  log_key text not null unique,
  outcome text not null check (outcome in ('accepted', 'duplicate')),
  equivocates boolean not null default false,
  skew_ms bigint not null,            -- the signer's clock minus ours, at receipt
  received_at timestamptz not null,
  primary key (key_id, epoch, counter, digest)
);
create index ingest_manifest_evidence on ingest_manifest (evidence_id);

-- What could not be let in: the bytes as they came, and why.
create table ingest_dead_letter (
  id text primary key,
  at timestamptz not null,
  station_id text not null,           -- who sent it, which is not always who signed it
  code text not null,
  reason text not null,
  digest bytea not null check (octet_length(digest) = 32),
  bytes bytea not null,
  unique (station_id, code, digest)   -- a retry is not another letter
);
create index ingest_dead_letter_newest on ingest_dead_letter (at desc, id desc);

create table ingest_alarm (
  id text primary key,
  at timestamptz not null,
  kind text not null,                 -- 'equivocation', 'clock'
  key_id bytea not null,
  log_key text not null,
  detail text not null,
  unique (kind, log_key)
);
create index ingest_alarm_newest on ingest_alarm (at desc, id desc);

-- One upload a record, whoever carries the bytes.
create table ingest_upload (
  id text primary key,
  evidence_id text not null unique references evidence,
  store_id text not null default '',  -- the store's upload id; '' until begun, and again when the store has dropped it
  part_sha256 bytea not null check (octet_length(part_sha256) % 32 = 0), -- digests of the parts, in order
  status text not null default 'open' check (status in ('open', 'completed', 'sealed')),
  begun_by text not null,
  begun_at timestamptz not null,
  restarts int not null default 0,
  completed_at timestamptz
);

grant select, insert, update on ingest_station, ingest_key, ingest_upload to zhizheng_app;
grant select, insert on ingest_manifest, ingest_dead_letter, ingest_alarm to zhizheng_app;
