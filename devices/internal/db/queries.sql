-- name: AddDevices :copyfrom
insert into device (id, serial, kind, name, model, township, officer_id, status, bought_on, cost_fen, funding, registered_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: KnownSerials :many
select id, serial from device where serial = any(sqlc.arg(serials)::text[]);

-- name: GetDevice :one
select sqlc.embed(d), t.name as township_name, coalesce(s.connected, false) as connected, s.last_data_at, s.last_dock_at, s.last_upload_at,
  s.battery, s.storage_used, s.docked, s.state, s.skew_ms
from device d join township t on t.code = d.township left join device_state s on s.device_id = d.id
where (d.id = sqlc.arg(id) or d.serial = sqlc.arg(id)) and (sqlc.narg(scope)::text[] is null or d.township = any(sqlc.narg(scope)));

-- name: ListDevices :many
select sqlc.embed(d), t.name as township_name, coalesce(s.connected, false) as connected, s.last_data_at, s.last_dock_at, s.last_upload_at,
  s.battery, s.storage_used, s.docked, s.state, s.skew_ms
from device d join township t on t.code = d.township left join device_state s on s.device_id = d.id
where (sqlc.narg(scope)::text[] is null or d.township = any(sqlc.narg(scope)))
  and (sqlc.arg(township)::text = '' or d.township = sqlc.arg(township))
  and (sqlc.arg(kind)::text = '' or d.kind = sqlc.arg(kind))
  and (sqlc.arg(status)::text = '' or d.status = sqlc.arg(status))
  and (sqlc.narg(connected)::boolean is null or coalesce(s.connected, false) = sqlc.narg(connected))
  and (sqlc.arg(q)::text = '' or position(lower(sqlc.arg(q)) in lower(d.serial || ' ' || d.name || ' ' || d.model || ' ' || d.id)) > 0)
  and d.id > sqlc.arg(after)
order by d.id
limit sqlc.arg(max);

-- name: CountMatching :one
select count(*) from device d left join device_state s on s.device_id = d.id
where (sqlc.narg(scope)::text[] is null or d.township = any(sqlc.narg(scope)))
  and (sqlc.arg(township)::text = '' or d.township = sqlc.arg(township))
  and (sqlc.arg(kind)::text = '' or d.kind = sqlc.arg(kind))
  and (sqlc.arg(status)::text = '' or d.status = sqlc.arg(status))
  and (sqlc.narg(connected)::boolean is null or coalesce(s.connected, false) = sqlc.narg(connected))
  and (sqlc.arg(q)::text = '' or position(lower(sqlc.arg(q)) in lower(d.serial || ' ' || d.name || ' ' || d.model || ' ' || d.id)) > 0);

-- name: CountByKind :many
select d.kind, count(*) as total, count(*) filter (where s.connected) as connected
from device d left join device_state s on s.device_id = d.id
where (sqlc.narg(scope)::text[] is null or d.township = any(sqlc.narg(scope)))
  and (sqlc.arg(township)::text = '' or d.township = sqlc.arg(township))
group by d.kind;

-- name: DevicesByID :many
select * from device where id = any(sqlc.arg(ids)::text[]);

-- name: TownshipsOf :many
select id, township from device where id = any(sqlc.arg(ids)::text[]);

-- name: BuyDevices :exec
update device set funding = 'posting', posting_id = sqlc.arg(posting)::text, posting_year = sqlc.arg(year)::int, bought_on = sqlc.arg(day)::date
where id = any(sqlc.arg(ids)::text[]) and posting_id is null;

-- name: UnbuyDevices :exec
update device set funding = 'pending', posting_id = null, posting_year = null where posting_id = sqlc.arg(posting)::text;

-- name: BySerial :one
select id from device where serial = $1;

-- name: PutCredentials :exec
insert into device_credential as c (device_id, token_hash, issued_at)
select unnest(sqlc.arg(ids)::text[]), unnest(sqlc.arg(hashes)::bytea[]), sqlc.arg(at)::timestamptz
on conflict (device_id) do update set token_hash = excluded.token_hash, issued_at = excluded.issued_at, revoked_at = null;

-- name: RevokeCredential :execrows
update device_credential set revoked_at = sqlc.arg(at)::timestamptz where device_id = $1 and revoked_at is null;

-- name: Credential :one
select c.token_hash, c.revoked_at, d.status, d.township from device_credential c join device d on d.id = c.device_id where c.device_id = $1;

-- One row a boot and batch; gives what of it is new. The row's lock makes servers that take the same device wait for each other.
-- name: See :many
insert into device_seen as s (device_id, epoch, seen, fresh, day)
select i.device, i.epoch, i.seqs, i.seqs, sqlc.arg(day)::date
from (select unnest(sqlc.arg(devices)::text[]) as device, unnest(sqlc.arg(epochs)::bigint[]) as epoch, unnest(sqlc.arg(seqs)::text[])::int8multirange as seqs) i
on conflict (device_id, epoch) do update set seen = s.seen + excluded.seen, fresh = excluded.seen - s.seen, day = excluded.day
where not excluded.seen <@ s.seen
returning device_id, epoch, fresh::text as fresh, pg_column_size(seen)::int as size;

-- name: AddMessages :copyfrom
insert into device_message (device_id, epoch, seq, kind, device_time, received_at, body) values ($1, $2, $3, $4, $5, $6, $7);

-- Arrays hold no nulls: -1, '' and 1970 stand for what a message didn't say.
-- name: PutStates :exec
insert into device_state as s (device_id, epoch, seq, last_data_at, last_dock_at, battery, storage_used, docked, state, skew_ms)
select i.device, i.epoch, i.seq, i.at, nullif(i.dock_at, 'epoch'), nullif(i.battery, -1), nullif(i.storage, -1),
  case when i.docked < 0 then null else i.docked = 1 end, nullif(i.state, ''), i.skew
from (select unnest(sqlc.arg(devices)::text[]) as device, unnest(sqlc.arg(epochs)::bigint[]) as epoch, unnest(sqlc.arg(seqs)::bigint[]) as seq,
  unnest(sqlc.arg(times)::timestamptz[]) as at, unnest(sqlc.arg(dock_times)::timestamptz[]) as dock_at, unnest(sqlc.arg(batteries)::smallint[]) as battery,
  unnest(sqlc.arg(storages)::smallint[]) as storage, unnest(sqlc.arg(docked)::smallint[]) as docked,
  unnest(sqlc.arg(states)::text[]) as state, unnest(sqlc.arg(skews)::bigint[]) as skew) i
on conflict (device_id) do update set
  last_data_at = greatest(s.last_data_at, excluded.last_data_at),
  last_dock_at = greatest(s.last_dock_at, excluded.last_dock_at),
  battery = case when (s.epoch, s.seq) < (excluded.epoch, excluded.seq) then coalesce(excluded.battery, s.battery) else s.battery end,
  storage_used = case when (s.epoch, s.seq) < (excluded.epoch, excluded.seq) then coalesce(excluded.storage_used, s.storage_used) else s.storage_used end,
  docked = case when (s.epoch, s.seq) < (excluded.epoch, excluded.seq) then coalesce(excluded.docked, s.docked) else s.docked end,
  state = case when (s.epoch, s.seq) < (excluded.epoch, excluded.seq) then coalesce(excluded.state, s.state) else s.state end,
  skew_ms = case when (s.epoch, s.seq) < (excluded.epoch, excluded.seq) then coalesce(excluded.skew_ms, s.skew_ms) else s.skew_ms end,
  seq = case when (s.epoch, s.seq) < (excluded.epoch, excluded.seq) then excluded.seq else s.seq end,
  epoch = greatest(s.epoch, excluded.epoch);

-- name: PutPresence :exec
insert into device_state as s (device_id, connected)
select unnest(sqlc.arg(devices)::text[]), unnest(sqlc.arg(connected)::boolean[])
on conflict (device_id) do update set connected = excluded.connected;

-- name: DisconnectAll :exec
update device_state set connected = false where connected;

-- name: NoteUploads :exec
insert into device_state as s (device_id, last_upload_at)
select unnest(sqlc.arg(devices)::text[]), unnest(sqlc.arg(times)::timestamptz[])
on conflict (device_id) do update set last_upload_at = greatest(s.last_upload_at, excluded.last_upload_at);

-- name: States :many
select s.*, d.township from device_state s join device d on d.id = s.device_id where s.device_id = any(sqlc.arg(ids)::text[]);

-- name: AddDeadLetters :copyfrom
insert into dead_letter (id, at, source, origin, reason, raw) values ($1, $2, $3, $4, $5, $6);

-- name: CountLetters :many
insert into dead_letter_day as d (device_id, day, letters, last_id)
select unnest(sqlc.arg(devices)::text[]), sqlc.arg(day)::date, unnest(sqlc.arg(letters)::int[]), unnest(sqlc.arg(ids)::text[])
on conflict (device_id, day) do update set letters = d.letters + excluded.letters
returning device_id, letters, last_id;

-- It takes the place of the one before, which from then on is only counted.
-- name: KeepLastLetter :exec
insert into dead_letter as l (id, at, source, origin, reason, raw, skipped) values ($1, $2, $3, $4, $5, $6, $7)
on conflict (id) do update set at = excluded.at, origin = excluded.origin, reason = excluded.reason, raw = excluded.raw,
  skipped = l.skipped + 1 + excluded.skipped, again_at = null, again_by = null, outcome = null, outcome_reason = '';

-- name: LatestCertificate :one
select issued_at, not_after, revoked_at, revoke_reason from device_certificate where device_id = $1 order by issued_at desc, serial limit 1;

-- name: OtherAccess :one
select (t.device_id is not null and t.revoked_at is null)::boolean as token, e.expires_at as code_until, coalesce(l.letters, 0)::int as letters
from device d left join device_credential t on t.device_id = d.id
left join device_enrolment e on e.device_id = d.id and e.used_by is null and e.expires_at > sqlc.arg(now)::timestamptz
left join dead_letter_day l on l.device_id = d.id and l.day = (sqlc.arg(now)::timestamptz at time zone 'UTC')::date
where d.id = sqlc.arg(device);

-- name: ForgetLetterDays :exec
delete from dead_letter_day where day < sqlc.arg(before)::date;

-- name: MakeDays :one
select make_device_message_days(sqlc.arg(now)::timestamptz, sqlc.arg(ahead)::int)::int;

-- name: DropDays :one
select drop_device_message_days(sqlc.arg(keep_from)::timestamptz)::int;

-- name: ForgetSeen :exec
delete from device_seen where day < sqlc.arg(before)::date;

-- name: LockDevice :one
select * from device where id = $1 for no key update;

-- name: PutEnrolment :exec
insert into device_enrolment (device_id, code_hash, made_by, expires_at) values ($1, $2, $3, $4)
on conflict (device_id) do update set code_hash = excluded.code_hash, made_by = excluded.made_by, expires_at = excluded.expires_at, used_by = null;

-- name: Enrolment :one
select * from device_enrolment where code_hash = $1 for update;

-- name: UseEnrolment :exec
update device_enrolment set used_by = sqlc.arg(key_id)::bytea where device_id = $1;

-- name: EndEnrolment :exec
delete from device_enrolment where device_id = $1;

-- name: AddCertificate :exec
insert into device_certificate (serial, device_id, key_id, der, issued_at, not_after) values ($1, $2, $3, $4, $5, $6);

-- name: Certificate :one
select c.device_id, c.revoked_at, c.not_after, d.status, d.township from device_certificate c join device d on d.id = c.device_id where c.serial = $1;

-- name: NewestCertificate :one
select * from device_certificate where key_id = $1 order by issued_at desc limit 1;

-- name: RevokeCertificates :many
update device_certificate set revoked_at = sqlc.arg(at)::timestamptz, revoke_reason = sqlc.arg(reason)::text
where device_id = $1 and revoked_at is null and not_after > sqlc.arg(at)::timestamptz
returning serial, key_id;

-- name: RevokedCertificates :many
select serial, revoked_at::timestamptz as revoked_at from device_certificate
where revoked_at is not null and not_after > sqlc.arg(now)::timestamptz order by revoked_at, serial;

-- Those who are connected and may not be any more; the credential is a certificate's number, '' for a token.
-- name: NoLongerAllowed :many
select x.device::text as device from (select unnest(sqlc.arg(devices)::text[]) as device, unnest(sqlc.arg(credentials)::text[]) as credential) x
left join device d on d.id = x.device
left join device_certificate c on c.serial = x.credential
left join device_credential t on t.device_id = x.device and x.credential = ''
where d.id is null or d.status in ('lost', 'retired')
  or (x.credential <> '' and (c.serial is null or c.revoked_at is not null or c.not_after < sqlc.arg(now)::timestamptz))
  or (x.credential = '' and (t.device_id is null or t.revoked_at is not null));

-- name: ConnectedWithoutRight :many
-- Those who are connected, as far as we have heard, and have nothing left to come in by.
select s.device_id from device_state s join device d on d.id = s.device_id
where s.connected and (d.status in ('lost', 'retired') or not (
  exists (select from device_certificate c where c.device_id = d.id and c.revoked_at is null and c.not_after > sqlc.arg(now)::timestamptz)
  or exists (select from device_credential t where t.device_id = d.id and t.revoked_at is null)));

-- name: SeeMember :exec
insert into mqtt_member (member, seen_at) values ($1, now()) on conflict (member) do update set seen_at = now();

-- name: LockMembers :exec
lock table mqtt_member in share row exclusive mode;

-- name: LeaveMember :execrows
delete from mqtt_member m where m.member = sqlc.arg(member)
  and exists (select from mqtt_member o where o.member <> m.member and o.seen_at > now() - interval '30 seconds');

-- name: NextCommand :one
select nextval(pg_get_serial_sequence('device_command', 'id'))::bigint;

-- name: AddCommand :exec
insert into device_command (id, device_id, kind, body, reason, given_by, given_at, expires_at) overriding system value
values ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: ListCommands :many
select * from device_command where device_id = $1 order by id desc limit sqlc.arg(max);

-- Those to be sent: all that are open, of the device that has just come; else those that were never sent.
-- name: CommandsToSend :many
select id, device_id, body from device_command
where state in ('waiting', 'sent', 'accepted') and expires_at > sqlc.arg(now)::timestamptz
  and (device_id = sqlc.arg(device)::text or (sqlc.arg(device)::text = '' and state = 'waiting'))
order by device_id, id;

-- name: CommandSent :exec
update device_command set state = case when state = 'waiting' then 'sent' else state end, sent_at = sqlc.arg(at)::timestamptz where id = $1;

-- An answer that comes after the end, or again, changes nothing.
-- name: AnswerCommand :exec
update device_command set state = sqlc.arg(state)::text, answer = sqlc.arg(answer)::text, answered_at = sqlc.arg(at)::timestamptz
where id = sqlc.arg(id) and device_id = sqlc.arg(device) and state in ('waiting', 'sent', 'accepted');

-- name: ExpireCommands :exec
update device_command set state = 'expired' where state in ('waiting', 'sent', 'accepted') and expires_at <= sqlc.arg(now)::timestamptz;

-- name: EndedCommands :many
select * from device_command where state in ('done', 'refused', 'expired') and not ended_in_log order by id limit 100;

-- name: CommandEndLogged :exec
update device_command set ended_in_log = true where id = $1;
