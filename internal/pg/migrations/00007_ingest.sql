-- +goose Up
-- ingest: who docks, what they stated, what is on its way, what was refused.

create table station (
  id text primary key,
  township text not null,
  name text not null,
  created_at timestamptz not null
);

-- Keys that sign manifests: a station's own, or a recorder's. Never deleted; a revoked key keeps its history verifiable.
create table signing_key (
  key_id bytea primary key check (octet_length(key_id) = 32), -- SHA-256 of the SubjectPublicKeyInfo
  station text references station,
  device_id text not null default '',
  public_key bytea not null check (octet_length(public_key) = 32),
  cert_hash bytea not null check (octet_length(cert_hash) = 32),
  enrolled_at timestamptz not null,
  revoked_at timestamptz,
  revoke_reason text,
  check ((revoked_at is null) = (revoke_reason is null))
);

-- One row a manifest that was taken: the signer's own chain.
create table manifest (
  key_id bytea not null references signing_key,
  epoch bigint not null,
  counter bigint not null check (counter >= 1),
  hash bytea not null check (octet_length(hash) = 32),
  prev bytea not null,
  evidence_id text not null references evidence,
  log_key text not null,
  received_at timestamptz not null,
  primary key (key_id, epoch, counter)
);

create table upload (
  id text primary key,
  evidence_id text not null unique references evidence,
  store_id text not null,             -- the store's upload id; '' for an empty file, which is put at once
  parts bytea not null check (octet_length(parts) % 32 = 0), -- the parts' SHA-256, in order
  state text not null default 'open' check (state in ('open', 'sealed')),
  begun_at timestamptz not null,
  updated_at timestamptz not null
);

-- What was refused, with the bytes exactly as they came.
create table dead_letter (
  id text primary key,
  at timestamptz not null,
  source text not null,               -- 'manifest', 'mqtt'
  origin text not null default '',    -- station, or topic
  reason text not null,
  raw bytea not null
);
create index dead_letter_newest on dead_letter (at desc, id desc);

grant select, insert, update on station, signing_key, manifest, upload to zhizheng_app;
grant select, insert on dead_letter to zhizheng_app;
