-- +goose Up
-- cases: enforcement activities (执法活动), which stand between a clip and a case; evidence: the activity that a clip's label names.

create table activity (
  id text primary key,
  plan_key text unique, -- the caller's idempotency key
  township text not null references township,
  kind text not null check (kind in ('patrol', 'inspection', 'persuasion', 'service', 'investigation', 'publicity', 'other')),
  title text not null check (title <> ''),
  place text not null default '',
  day date not null,              -- at +08:00
  starts timestamptz not null,    -- of an activity without hours: the day's own beginning and end
  ends timestamptz not null check (ends > starts),
  all_day boolean not null,
  officers text[] not null check (cardinality(officers) between 1 and 20),
  case_id text references case_file,
  revision int not null default 1 check (revision >= 1), -- who changes it names the one that was seen
  cancelled_at timestamptz,
  cancel_reason text not null default '',
  created_by text not null,
  created_at timestamptz not null,
  check ((cancelled_at is null) = (cancel_reason = ''))
);
create index activity_list on activity (starts, id);
create index activity_township on activity (township, starts, id);
create index activity_case on activity (case_id) where case_id is not null;

-- What was planned, changed and cancelled, each as it stood then. Nothing of it is ever removed.
create table activity_change (
  activity_id text not null references activity,
  n int not null check (n >= 1), -- the revision it made
  at timestamptz not null,
  actor text not null,
  what text not null check (what in ('planned', 'changed', 'cancelled')),
  reason text not null default '',
  body jsonb not null,
  primary key (activity_id, n)
);

alter table evidence drop constraint evidence_activity_check;
alter table evidence add constraint evidence_activity_check
  check (activity in ('', 'patrol', 'inspection', 'persuasion', 'service', 'investigation', 'publicity', 'other'));
alter table evidence add column activity_id text not null default ''; -- the activity that the label names, '' if it is a word alone
create index evidence_of_activity on evidence (activity_id, recorded_at desc, id desc) where activity_id <> '';

-- Reasons that officers gave for inferred gaps are looked up beside each gap.
create index station_event_gap_reasons on station_event (recorder, station) where kind = 'gap-reason';

grant select, insert, update on activity to zhizheng_app;
grant select, insert on activity_change to zhizheng_app;
