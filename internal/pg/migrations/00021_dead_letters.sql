-- +goose Up
-- Dead letters: how many a device may leave in a day, and what became of one that was taken again.

-- How many came (day in UTC). Beyond the allowance only the last is kept: each replaces the one before under last_id.
create table dead_letter_day (
  device_id text not null, -- '' where the topic names none
  day date not null,
  letters int not null,
  last_id text not null,
  primary key (device_id, day)
);
grant select, insert, update, delete on dead_letter_day to zhizheng_app;

alter table dead_letter
  add column skipped int not null default 0, -- that came before it beyond the allowance and were counted only
  add column again_at timestamptz,
  add column again_by text,
  add column outcome text check (outcome in ('accepted', 'known', 'refused')),
  add column outcome_reason text not null default '',
  add check ((again_at is null) = (outcome is null) and (again_at is null) = (again_by is null));
grant update on dead_letter to zhizheng_app;
