-- +goose Up
-- devices: who they are by certificate.

-- A code that a person types into a device, once. 60 random bits for some days: a plain digest of it isn't guessed back in that time.
create table device_enrolment (
  device_id text primary key references device, -- a new code ends the one before
  code_hash bytea not null unique check (octet_length(code_hash) = 32),
  made_by text not null,
  expires_at timestamptz not null,
  used_by bytea check (octet_length(used_by) = 32) -- SHA-256 of the SubjectPublicKeyInfo that it let in
);

-- Certificates of the platform's authority. Never deleted; each has its leaf in the log.
create table device_certificate (
  serial text primary key, -- hex, as brokers show it
  device_id text not null references device,
  key_id bytea not null check (octet_length(key_id) = 32), -- SHA-256 of the SubjectPublicKeyInfo
  der bytea not null,
  issued_at timestamptz not null,
  not_after timestamptz not null,
  revoked_at timestamptz,
  revoke_reason text,
  check ((revoked_at is null) = (revoke_reason is null))
);
create index device_certificate_of on device_certificate (device_id, issued_at);
create index device_certificate_key on device_certificate (key_id, issued_at);
create index device_certificate_revoked on device_certificate (not_after) where revoked_at is not null;

grant select, insert, update, delete on device_enrolment to zhizheng_app;
grant select, insert, update on device_certificate to zhizheng_app;

-- Messages as they came, a table a day. A day's end is a table dropped, not a million rows deleted. No unique index: it couldn't span
-- the days; device_seen says what was there before (docs/decisions/message-partitions.md).
alter table device_message rename to device_message_before;
alter index device_message_pkey rename to device_message_before_pkey;
alter index device_message_age rename to device_message_before_age;

create table device_message (
  device_id text not null,
  epoch bigint not null,
  seq bigint not null check (seq >= 0),
  kind text not null,
  device_time timestamptz not null,
  received_at timestamptz not null,
  body bytea not null -- as it came
) partition by range (received_at);

-- Takes what no day was made for: a message is never refused because of a missing table.
create table device_message_default partition of device_message default;

-- Which numbers of a boot have come, as ranges: exact in any order, and one range where nothing is missing. fresh is what the last batch
-- added: the statement that records a batch also answers which of it was new.
create table device_seen (
  device_id text not null,
  epoch bigint not null,
  seen int8multirange not null,
  fresh int8multirange not null,
  day date not null, -- of the last batch, UTC
  primary key (device_id, epoch)
) with (fillfactor = 50);

insert into device_seen (device_id, epoch, seen, fresh, day)
select device_id, epoch, range_agg(int8range(seq, seq, '[]')), '{}', max(received_at at time zone 'UTC')::date from device_message_before group by device_id, epoch;

-- +goose StatementBegin
do $$
begin
  if exists (select from device_message_before) then -- kept until its newest message is old
    execute format('alter table device_message attach partition device_message_before for values from (minvalue) to (%L)',
      (select date_trunc('day', max(received_at), 'UTC') + interval '1 day' from device_message_before));
  else
    drop table device_message_before;
  end if;
end $$;
-- +goose StatementEnd

-- The runtime role may not change the schema: making and dropping days is lent to it. Both wait for locks three seconds at most, since
-- messages wait behind them; they are apart because either alone takes its locks in the order of those who write.
-- +goose StatementBegin
create function make_device_message_days(now timestamptz, ahead int) returns int
language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '3s' as $$
declare
  day timestamptz;
  name text;
  made int := 0;
begin
  perform pg_advisory_xact_lock(2053731701); -- several servers
  for i in 0..ahead loop
    day := date_trunc('day', now, 'UTC') + i * interval '1 day';
    name := 'device_message_' || to_char(day at time zone 'UTC', 'YYYYMMDD');
    if to_regclass(name) is null and not exists (select from pg_inherits h join pg_class c on c.oid = h.inhrelid
      where h.inhparent = 'device_message'::regclass and c.relname = 'device_message_before'
        and day < substring(pg_get_expr(c.relpartbound, c.oid) from $r$TO \('([^']+)'\)$r$)::timestamptz) then
      execute format('create table %I (like device_message including constraints)', name);
      lock table device_message_default in access exclusive mode; -- before it is looked at: what is on its way there goes to the new table
      execute format('with moved as (delete from device_message_default where received_at >= %L and received_at < %L returning *) insert into %I select * from moved',
        day, day + interval '1 day', name);
      execute format('alter table device_message attach partition %I for values from (%L) to (%L)', name, day, day + interval '1 day');
      made := made + 1;
    end if;
  end loop;
  return made;
end $$;

create function drop_device_message_days(keep_from timestamptz) returns int
language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '3s' as $$
declare
  part record;
  dropped int := 0;
begin
  perform pg_advisory_xact_lock(2053731701);
  for part in select c.oid::regclass as name from pg_inherits h join pg_class c on c.oid = h.inhrelid
    where h.inhparent = 'device_message'::regclass
      and substring(pg_get_expr(c.relpartbound, c.oid) from $r$TO \('([^']+)'\)$r$)::timestamptz <= keep_from loop
    lock table device_message in access exclusive mode;
    execute format('drop table %s', part.name);
    dropped := dropped + 1;
  end loop;
  delete from device_message_default where received_at < keep_from;
  return dropped;
end $$;
-- +goose StatementEnd
revoke all on function make_device_message_days, drop_device_message_days from public;
grant execute on function make_device_message_days, drop_device_message_days to zhizheng_app;

grant select, insert on device_message to zhizheng_app;
grant select, insert, update, delete on device_seen to zhizheng_app;

-- Servers that share an external broker's messages. One that stops leaves the share only if another is there to take it.
create table mqtt_member (
  member text primary key,
  seen_at timestamptz not null
);
grant select, insert, update, delete on mqtt_member to zhizheng_app;

-- Commands to devices: the row first, then the message. Its id rises, also as each device sees it.
create table device_command (
  id bigint generated always as identity primary key,
  device_id text not null references device,
  kind text not null check (kind in ('locate', 'lock', 'sync-clock', 'config')),
  body bytea not null, -- as it is published, signed
  reason text not null,
  given_by text not null,
  given_at timestamptz not null,
  expires_at timestamptz not null,
  state text not null default 'waiting' check (state in ('waiting', 'sent', 'accepted', 'done', 'refused', 'expired')),
  sent_at timestamptz,
  answered_at timestamptz,
  answer text not null default '', -- the device's words
  ended_in_log boolean not null default false
);
create index device_command_of on device_command (device_id, id desc);
create index device_command_open on device_command (device_id, id) where state in ('waiting', 'sent', 'accepted');
create index device_command_unlogged on device_command (id) where state in ('done', 'refused', 'expired') and not ended_in_log;
grant select, insert, update on device_command to zhizheng_app;
grant usage on sequence device_command_id_seq to zhizheng_app;
