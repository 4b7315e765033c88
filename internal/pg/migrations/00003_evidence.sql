-- +goose Up
-- evidence: what is kept. A record appears with its fingerprint (pending, 影像待传) and is sealed when its bytes are in the store.
-- Records are never deleted; names of files may hold personal data and stay here, out of the log and of object keys.

create table evidence (
  id text primary key,
  township text not null,
  station text not null,              -- docking station that registered it
  recorder text not null default '',  -- serial as claimed by the manifest, '' when unknown
  device_id text not null default '',
  file_name text not null,            -- shown; invalid UTF-8 replaced
  file_name_bytes bytea not null,     -- exactly as on the card
  size bigint not null check (size >= 0),
  sha256 bytea not null check (octet_length(sha256) = 32),
  part_size bigint not null check (part_size > 0),
  composite bytea not null check (octet_length(composite) = 32), -- SHA-256 of the concatenated part digests
  manifest_key text not null unique,  -- idempotency key of the manifest's leaf
  modified_at timestamptz,            -- the file's own time, as claimed
  recorded_at timestamptz not null,   -- best known start: container, else file time, else registration
  registered_at timestamptz not null,
  status text not null default 'pending' check (status in ('pending', 'sealed', 'damaged')),
  object_key text not null unique,
  version_id text not null default '',
  checked text not null default '' check (checked in ('', 'attested', 're-read')),
  sealed_at timestamptz,
  retain_until timestamptz,
  restricted boolean not null default false,
  hold_state text not null default 'none' check (hold_state in ('none', 'pending', 'active', 'lifting')),
  verdict text not null default '',   -- of the media probe, '' until it ran
  media jsonb not null default '{}',
  poster_key text not null default '',
  check ((status = 'pending') = (sealed_at is null)),
  unique (sha256, size)               -- the same bytes are the same evidence, whoever docks them
);
create index evidence_newest on evidence (recorded_at desc, id desc);
create index evidence_township on evidence (township, recorded_at desc, id desc);
create index evidence_recorder on evidence (recorder, recorded_at desc) where recorder <> '';
create index evidence_device on evidence (device_id) where device_id <> '';

-- Chain of custody as people read it. Each row has its leaf in the log under log_key.
create table custody (
  id text primary key,
  evidence_id text not null references evidence,
  at timestamptz not null,
  kind smallint not null,
  actor text not null,                -- user id, station or "system"
  session text not null default '',
  case_id text not null default '',
  reason text not null default '',
  until timestamptz,
  log_key text not null unique
);
create index custody_of on custody (evidence_id, at, id);

-- A reason to keep an item beyond its retention. The store's lock is on while any is open.
create table evidence_hold (
  id text primary key,
  evidence_id text not null references evidence,
  case_id text not null default '',   -- '' when set by hand
  reason text not null,
  set_by text not null,
  set_at timestamptz not null,
  lifted_by text,
  lifted_at timestamptz,
  lift_reason text,
  check ((lifted_at is null) = (lifted_by is null))
);
create unique index evidence_hold_open on evidence_hold (evidence_id, case_id) where lifted_at is null;

grant select, insert, update on evidence, evidence_hold to zhizheng_app;
grant select, insert on custody to zhizheng_app;
