-- name: AddStation :exec
insert into station (id, township, name, created_at) values ($1, $2, $3, $4) on conflict (id) do nothing;

-- name: Station :one
select * from station where id = $1;

-- name: AddKey :execrows
insert into signing_key (key_id, station, device_id, public_key, cert_hash, enrolled_at)
values ($1, $2, $3, $4, $5, $6) on conflict (key_id) do nothing;

-- name: Key :one
select k.*, coalesce(s.township, '')::text as township
from signing_key k left join station s on s.id = k.station
where k.key_id = $1;

-- name: RevokeKey :execrows
update signing_key set revoked_at = $2, revoke_reason = $3 where key_id = $1 and revoked_at is null;

-- name: ManifestAt :one
select * from manifest where key_id = $1 and epoch = $2 and counter = $3;

-- name: AddManifest :execrows
insert into manifest (key_id, epoch, counter, hash, prev, evidence_id, log_key, received_at, recorder, signed_ms, monotonic_ms, checkpoint)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict do nothing;

-- name: AddUpload :one
insert into upload (id, evidence_id, store_id, parts, begun_at, updated_at)
values ($1, $2, $3, $4, $5, $5)
on conflict (evidence_id) do update set updated_at = upload.updated_at
returning *;

-- name: Upload :one
select * from upload where id = $1;

-- name: UploadOf :one
select * from upload where evidence_id = $1;

-- name: RestartUpload :execrows
-- the store has dropped its upload: another one takes its place, unless somebody was faster
update upload set store_id = sqlc.arg('fresh'), updated_at = sqlc.arg('at') where id = sqlc.arg('id') and store_id = sqlc.arg('stale') and state = 'open';

-- name: UploadsSealed :exec
-- as many as share the commit, see bulk.go
update upload u set state = 'sealed', updated_at = i.at from (select unnest(sqlc.arg(ids)::text[]) as id, unnest(sqlc.arg(ats)::timestamptz[]) as at) i
where u.id = i.id;

-- name: AddDeadLetter :exec
insert into dead_letter (id, at, source, origin, reason, raw) values ($1, $2, $3, $4, $5, $6);

-- name: DeadLetters :many
select id, at, source, origin, reason, octet_length(raw)::int as size, skipped, again_at, again_by, outcome, outcome_reason from dead_letter
where (sqlc.narg('source')::text is null or source = sqlc.narg('source'))
  and (sqlc.narg('reason')::text is null or reason = sqlc.narg('reason'))
  and (sqlc.arg('open')::boolean = false or outcome is null or outcome = 'refused')
  and (sqlc.narg('before_at')::timestamptz is null or (at, id) < (sqlc.narg('before_at')::timestamptz, sqlc.narg('before_id')::text))
order by at desc, id desc limit sqlc.arg('max_rows');

-- name: DeadLetterReasons :many
select source, reason, count(*) as letters, count(*) filter (where outcome is null or outcome = 'refused') as open, max(at)::timestamptz as newest
from dead_letter group by source, reason
order by 4 desc, 5 desc, source, reason limit sqlc.arg('max_rows');

-- name: DeadLettersToReplay :many
-- those that were not taken since, the oldest first
select id, at from dead_letter
where source = sqlc.arg('source') and reason = sqlc.arg('reason') and (outcome is null or outcome = 'refused')
  and (sqlc.narg('after_at')::timestamptz is null or (at, id) > (sqlc.narg('after_at')::timestamptz, sqlc.narg('after_id')::text))
order by at, id limit sqlc.arg('max_rows');

-- name: DeadLettersNamed :many
select id from dead_letter where id = any (sqlc.arg('ids')::text[]) order by at, id;

-- name: DeadLetter :one
select * from dead_letter where id = $1;

-- name: SetOutcome :exec
-- unless another letter has taken its place meanwhile
update dead_letter set again_at = sqlc.arg(again_at)::timestamptz, again_by = sqlc.arg(again_by)::text, outcome = sqlc.arg(outcome)::text, outcome_reason = sqlc.arg(outcome_reason)
where id = sqlc.arg(id) and at = sqlc.arg(came);

-- name: LockEpoch :one
-- the row's lock orders those who add to an epoch of a key
insert into chain_epoch (key_id, epoch, top, arrived) values ($1, $2, 0, 0)
on conflict (key_id, epoch) do update set top = chain_epoch.top
returning *;

-- name: SetEpoch :exec
update chain_epoch set top = $3, arrived = arrived + $4, first_ms = least(first_ms, sqlc.narg('signed_ms')::bigint), last_ms = greatest(last_ms, sqlc.narg('signed_ms')::bigint)
where key_id = $1 and epoch = $2;

-- name: OtherEpochs :many
select epoch, first_ms, last_ms from chain_epoch where key_id = $1 and epoch <> $2 order by epoch;

-- name: OpenGap :exec
insert into chain_gap (key_id, epoch, first, last, missing, opened_at) values ($1, $2, $3, $4, $5, $6);

-- name: FillGap :exec
update chain_gap set missing = missing - 1, closed_at = case when missing = 1 then sqlc.arg('at')::timestamptz end
where key_id = $1 and epoch = $2 and first <= sqlc.arg('counter')::bigint and last >= sqlc.arg('counter')::bigint and missing > 0;

-- name: Neighbours :many
select * from manifest where key_id = $1 and epoch = $2 and counter in (sqlc.arg('counter')::bigint - 1, sqlc.arg('counter')::bigint + 1);

-- name: StatesAt :many
select * from device_chain_state where key_id = $1 and epoch = $2 and counter = $3;

-- name: StateAround :one
-- a state that contradicts one of this counter signed then: an earlier one that counts further, or a later one that counts less
select * from device_chain_state
where key_id = $1 and epoch = $2
  and ((signed_ms < sqlc.arg('signed_ms')::bigint and counter > sqlc.arg('counter')::bigint) or (signed_ms > sqlc.arg('signed_ms')::bigint and counter < sqlc.arg('counter')::bigint))
order by signed_ms limit 1;

-- name: AddState :execrows
insert into device_chain_state (log_key, key_id, epoch, counter, hash, signed_ms, monotonic_ms, checkpoint, closing, recorder, received_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict do nothing;

-- name: NewestStates :many
select * from device_chain_state where key_id = $1 order by epoch desc, signed_ms desc limit $2;

-- name: AddAnomaly :execrows
insert into chain_anomaly (log_key, key_id, what, epoch, first, last, detail, at) values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing;

-- name: Anomalies :many
select * from chain_anomaly where key_id = $1 order by at desc, log_key limit $2;

-- name: AnomaliesBetween :many
select * from chain_anomaly where key_id = $1 and epoch = $2 and first <= sqlc.arg('last')::bigint and last >= sqlc.arg('first')::bigint order by first, log_key limit 100;

-- name: Keys :many
-- the keys that vouch for a recorder or belong to a station or device, or one key; each with its township, within those the caller sees
select k.*, coalesce(s.township, '')::text as township, coalesce(s.name, '')::text as station_name
from signing_key k left join station s on s.id = k.station
where (sqlc.narg('townships')::text[] is null or s.township = any (sqlc.narg('townships')::text[]))
  and (k.key_id = sqlc.narg('key_id')::bytea or k.station = sqlc.narg('station')::text or (k.device_id <> '' and k.device_id = sqlc.narg('device_id')::text)
    or k.key_id in (select m.key_id from manifest m where m.recorder <> '' and m.recorder = sqlc.narg('recorder')::text))
order by k.enrolled_at desc, k.key_id
limit 50;

-- name: Epochs :many
select * from chain_epoch where key_id = $1 order by epoch desc;

-- name: Gaps :many
-- open ones first
select * from chain_gap where key_id = $1 order by missing = 0, epoch desc, first desc limit $2;

-- name: Gap :one
select * from chain_gap where key_id = $1 and epoch = $2 and first = $3;

-- name: GapAround :one
select * from chain_gap where key_id = $1 and epoch = $2 and first <= sqlc.arg('counter')::bigint and last >= sqlc.arg('counter')::bigint;

-- name: ArrivedBetween :many
select counter from manifest where key_id = $1 and epoch = $2 and counter between sqlc.arg('first')::bigint and sqlc.arg('last')::bigint order by counter limit 1000;

-- name: Before :one
select * from manifest where key_id = $1 and epoch = $2 and counter < $3 order by counter desc limit 1;

-- name: After :one
select * from manifest where key_id = $1 and epoch = $2 and counter > $3 order by counter limit 1;

-- name: ExplainGap :execrows
update chain_gap set reason = $4, explained_by = $5, explained_at = $6, reason_key = $7
where key_id = $1 and epoch = $2 and first = $3;

-- name: ManifestOf :one
select m.*, coalesce(k.station, '')::text as station, k.device_id, coalesce(s.name, '')::text as station_name
from manifest m join signing_key k using (key_id) left join station s on s.id = k.station
where m.log_key = $1;

-- name: GapTotals :one
select count(distinct e.key_id) as keys,
  (select count(*) from chain_gap g join signing_key k using (key_id) left join station s on s.id = k.station
    where g.missing > 0 and (sqlc.narg('townships')::text[] is null or s.township = any (sqlc.narg('townships')::text[]))) as open_gaps,
  (select coalesce(sum(g.missing), 0) from chain_gap g join signing_key k using (key_id) left join station s on s.id = k.station
    where g.missing > 0 and (sqlc.narg('townships')::text[] is null or s.township = any (sqlc.narg('townships')::text[])))::float8 as missing
from chain_epoch e join signing_key k using (key_id) left join station s on s.id = k.station
where sqlc.narg('townships')::text[] is null or s.township = any (sqlc.narg('townships')::text[]);

-- name: SeeCheckpoint :exec
insert into seen_checkpoint (hash, size, note) values ($1, $2, $3) on conflict do nothing;

-- name: SeenCheckpoint :one
select * from seen_checkpoint where hash = $1;

-- name: AddEvent :execrows
insert into station_event (id, station, township, kind, at, received_at, officer_id, recorder, evidence_id, data, log_key)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict (id) do nothing;

-- name: EventsKnown :many
select id, station from station_event where id = any(sqlc.arg('ids')::text[]);

-- name: Events :many
select * from station_event
where station = $1 and (sqlc.narg('before_at')::timestamptz is null or (received_at, id) < (sqlc.narg('before_at')::timestamptz, sqlc.narg('before_id')::text))
order by received_at desc, id desc limit sqlc.arg('max_rows');

-- name: GapReasons :many
-- what officers said of numbers that are missing: of a recorder, or of a station's cards that name none; the oldest word first
select * from station_event
where kind = 'gap-reason' and recorder = sqlc.arg('recorder') and (sqlc.arg('recorder') <> '' or station = sqlc.arg('station'))
order by received_at, id limit 1000;

-- name: CloseWear :many
-- at most one is open; one that began later by a wrong clock ends where it began
update recorder_wear set returned_at = greatest(taken_at, sqlc.arg('at')::timestamptz) where recorder = $1 and returned_at is null returning officer_id, taken_at;

-- name: AddWear :exec
insert into recorder_wear (id, recorder, device_id, township, officer_id, taken_at) values ($1, $2, $3, $4, $5, $6);

-- name: OpenWears :many
select recorder, officer_id, taken_at from recorder_wear where returned_at is null and township = $1;

-- name: WornAt :one
select officer_id, taken_at, returned_at from recorder_wear
where recorder = $1 and taken_at <= sqlc.arg('at')::timestamptz and (returned_at is null or returned_at > sqlc.arg('at')::timestamptz)
order by taken_at desc limit 1;

-- name: PutLive :exec
insert into station_live (station, at, body) values ($1, $2, $3)
on conflict (station) do update set at = excluded.at, body = excluded.body;

-- name: SendingStations :many
-- those that have said lately that they have something to send
select l.station, s.township, coalesce((l.body ->> 'parallel')::int, 0)::int as parallel, coalesce((l.body ->> 'urgent')::boolean, false)::boolean as urgent
from station_live l join station s on s.id = l.station
where l.at > sqlc.arg('since')::timestamptz and coalesce((l.body ->> 'queue_files')::int, 0) > 0
order by l.station;

-- name: Docks :many
select s.id, s.name, s.township, l.at, coalesce(l.body, '{}')::jsonb as body
from station s left join station_live l on l.station = s.id
where (sqlc.narg('townships')::text[] is null or s.township = any (sqlc.narg('townships')::text[]))
  and (sqlc.narg('id')::text is null or s.id = sqlc.narg('id'))
order by s.township, s.id;

-- name: DayOfTownships :many
-- what was registered since, and how much of it is in the store
select township, count(*) as fingerprints, coalesce(sum(size), 0)::bigint as bytes,
  count(*) filter (where status <> 'pending') as sealed, coalesce(sum(size) filter (where status <> 'pending'), 0)::bigint as sealed_bytes,
  max(registered_at)::timestamptz as newest
from evidence
where registered_at >= sqlc.arg('since')::timestamptz and (sqlc.narg('townships')::text[] is null or township = any (sqlc.narg('townships')::text[]))
group by township;

-- name: MissingOfTownships :many
select s.township, sum(g.missing)::bigint as missing
from chain_gap g join signing_key k using (key_id) join station s on s.id = k.station
where g.missing > 0 and (sqlc.narg('townships')::text[] is null or s.township = any (sqlc.narg('townships')::text[]))
group by s.township;

-- name: StaleUploads :many
-- of records that wait for their bytes, and that nothing was heard of since
select u.* from upload u join evidence e on e.id = u.evidence_id
where u.state = 'open' and e.status = 'pending' and u.updated_at < sqlc.arg('before')::timestamptz and u.id > sqlc.arg('after')::text
order by u.id limit sqlc.arg('max_rows');
