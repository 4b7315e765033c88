-- +goose Up
-- What is made out of footage and may be made anew at any time: it is evidence of nothing by itself.

-- Positions and frame times, too long for a record's facts. Written with them, by the same job.
create table evidence_timeline (
  evidence_id text primary key references evidence on delete cascade,
  track json,                         -- media.Track, null when the file has no positions
  frames json,                        -- media.Frames, null when it has no index of frames
  made_at timestamptz not null
);

-- Sidecars are found beside footage by their names without extension.
create index evidence_sidecar on evidence (township, station, recorder, lower(regexp_replace(file_name, '\.[^./\\]*$', ''))) where verdict = 'sidecar';

-- Previews and contact sheets: asked for, made by a job, kept in the store without a lock.
create table evidence_derived (
  evidence_id text not null references evidence on delete cascade,
  kind text not null check (kind in ('preview', 'contact-sheet')),
  township text not null,             -- the record's: turns are taken by it
  from_ms bigint not null default 0 check (from_ms >= 0),
  state text not null default 'queued' check (state in ('queued', 'running', 'ready', 'failed')),
  percent smallint not null default 0 check (percent between 0 and 100),
  attempts integer not null default 0,
  lease text not null default '',     -- whose turn it is; a worker that lost it writes nothing more
  lease_until timestamptz,            -- a running one whose worker was killed is taken over after it
  failure text not null default '',
  asked_by text not null,
  asked_at timestamptz not null,
  made_at timestamptz,
  object_key text not null default '',
  content_type text not null default '',
  size bigint not null default 0,
  sha256 bytea,
  primary key (evidence_id, kind),
  check (state <> 'ready' or (object_key <> '' and sha256 is not null and made_at is not null))
);
create index evidence_derived_open on evidence_derived (asked_at) where state in ('queued', 'running');

grant select, insert, update on evidence_timeline, evidence_derived to zhizheng_app;
