-- +goose Up
-- audit: what is reckoned, read and tried again on a schedule, what came of it, and what was alarmed.

-- When a sealed item's bytes were last read again. A damaged item keeps the time at which it was last whole.
alter table evidence
  add column verified_at timestamptz,                               -- last time that the bytes agreed
  add column sm3 bytea check (octet_length(sm3) = 32),              -- of the bytes that agreed
  add column damage text not null default ''                        -- why it is damaged
    check (damage in ('', 'differs', 'short', 'long', 'missing', 'record')),
  add column reread_at timestamptz,                                 -- last try, whatever came of it
  add column reread_run text not null default '',                   -- the run that last read it: where a run that was killed goes on
  add constraint evidence_damage_named check ((status = 'damaged') = (damage <> '')),
  add constraint evidence_verified_whole check ((verified_at is null) = (sm3 is null));
create index evidence_to_reread on evidence (reread_at nulls first, id) where status <> 'pending';

-- One row a run. Runs are swept after a while; their leaves stay.
create table audit_run (
  id text primary key,
  kind text not null check (kind in ('log', 'reread', 'canary', 'drill')),
  state text not null default 'running' check (state in ('running', 'ok', 'findings', 'failed', 'interrupted')),
  paused boolean not null default false,
  actor text not null,                -- user id or "system"
  started_at timestamptz not null,
  ended_at timestamptz,
  total_objects bigint not null default 0 check (total_objects >= 0),
  total_bytes bigint not null default 0 check (total_bytes >= 0),
  done_objects bigint not null default 0 check (done_objects >= 0),
  done_bytes bigint not null default 0 check (done_bytes >= 0),
  damaged bigint not null default 0 check (damaged >= 0),
  missing bigint not null default 0 check (missing >= 0),
  cursor text not null default '',    -- the object that was done last
  findings jsonb not null default '[]',
  finding_count bigint not null default 0 check (finding_count >= 0),
  steps jsonb not null default '[]',  -- transcript of what was tried
  text text not null default '',      -- one line for people
  log_key text not null default '',   -- idempotency key of its leaf, '' while or when there is none
  check ((state = 'running') = (ended_at is null)),
  check (not paused or state = 'running')
);
create unique index audit_run_one on audit_run (kind) where state = 'running'; -- two of a kind never run at once
create index audit_run_newest on audit_run (id desc);
create index audit_run_kind on audit_run (kind, id desc);

-- What somebody has to look at. Rows are never deleted; looking at one is noted on it.
create table audit_alarm (
  id text primary key,
  at timestamptz not null,
  kind text not null check (kind in ('damaged', 'missing', 'unreadable', 'canary', 'log-audit', 'drill')),
  about text not null,                -- evidence id, name of a store, "log": two open alarms of a kind about the same are one
  run_id text not null default '',
  evidence_id text not null default '',
  township text not null default '',
  case_ids text[] not null default '{}',
  text text not null,
  acknowledged_at timestamptz,
  acknowledged_by text,
  acknowledge_reason text,
  check ((acknowledged_at is null) = (acknowledged_by is null)),
  check ((acknowledged_at is null) = (acknowledge_reason is null))
);
create unique index audit_alarm_open on audit_alarm (kind, about) where acknowledged_at is null;

-- The canary of each store: one locked object that is tried again and again.
create table audit_canary (
  store text primary key,             -- name of the configured store
  object_key text not null,
  version_id text not null,
  sha256 bytea not null check (octet_length(sha256) = 32),
  lock_until timestamptz not null,
  outcome text not null default '',   -- of the last try, as a fingerprint of its steps
  logged_at timestamptz               -- when a leaf last told it
);

grant select, insert, update, delete on audit_run to zhizheng_app;
grant select, insert, update on audit_alarm, audit_canary to zhizheng_app;
