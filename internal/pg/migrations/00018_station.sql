-- +goose Up
-- ingest: what stations report besides footage: who took and returned which recorder, what an officer says of a clip, which originals
-- were wiped, and how a docking goes.

create table station_event (
  id text primary key check (octet_length(id) = 26), -- made by the station; what is sent again is stored once
  station text not null references station,
  township text not null,
  kind text not null check (kind in ('docked', 'undocked', 'taken', 'returned', 'labelled', 'mistaken', 'gap-reason', 'wiped', 'claimed', 'slip')),
  at timestamptz not null,            -- by the station's clock
  received_at timestamptz not null,
  officer_id text not null default '',
  recorder text not null default '',
  evidence_id text references evidence,
  data jsonb not null default '{}',
  log_key text unique                 -- null for what is no leaf
);
create index station_event_newest on station_event (station, received_at desc, id desc);

-- Who wore which recorder when. Clips are told apart by it; nobody's name is in them.
create table recorder_wear (
  id text primary key references station_event, -- that began it
  recorder text not null,
  device_id text not null default '',
  township text not null,
  officer_id text not null,
  taken_at timestamptz not null,
  returned_at timestamptz,
  check (returned_at >= taken_at)
);
create unique index recorder_wear_open on recorder_wear (recorder) where returned_at is null;
create index recorder_wear_of on recorder_wear (recorder, taken_at desc);

-- What a station last said of its slots. Nothing rests on it.
create table station_live (
  station text primary key references station,
  at timestamptz not null,
  body jsonb not null
) with (fillfactor = 60);

-- A PIN that an officer types at a station when there is no card at hand. It opens nothing but the station's own page.
create table officer_pin (
  officer_id text primary key references officer,
  hash text not null,
  set_at timestamptz not null,
  set_by text not null
);

alter table evidence add column activity text not null default '' check (activity in ('', 'patrol', 'inspection', 'persuasion', 'service', 'other'));
alter table evidence add column wiped_at timestamptz; -- the original was removed from its recorder, after a verified receipt

grant select, insert on station_event to zhizheng_app;
grant select, insert, update on recorder_wear, station_live to zhizheng_app;
grant select, insert, update, delete on officer_pin to zhizheng_app;
