-- name: Register :one
insert into evidence (id, township, station, recorder, device_id, file_name, file_name_bytes, size, sha256, part_size, composite,
  manifest_key, modified_at, recorded_at, registered_at, object_key)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
on conflict (sha256, size) do nothing
returning *;

-- name: RegisterUnseen :exec
-- records of as many files as share the commit, see bulk.go; bytes that are known already fail it
insert into evidence (id, township, station, recorder, device_id, file_name, file_name_bytes, size, sha256, part_size, composite,
  manifest_key, modified_at, recorded_at, registered_at, object_key)
select unnest(sqlc.arg(ids)::text[]), unnest(sqlc.arg(townships)::text[]), unnest(sqlc.arg(stations)::text[]), unnest(sqlc.arg(recorders)::text[]),
  unnest(sqlc.arg(device_ids)::text[]), unnest(sqlc.arg(file_names)::text[]), unnest(sqlc.arg(file_names_bytes)::bytea[]), unnest(sqlc.arg(sizes)::bigint[]),
  unnest(sqlc.arg(sha256s)::bytea[]), unnest(sqlc.arg(part_sizes)::bigint[]), unnest(sqlc.arg(composites)::bytea[]), unnest(sqlc.arg(manifest_keys)::text[]),
  unnest(sqlc.arg(modified_ats)::timestamptz[]), unnest(sqlc.arg(recorded_ats)::timestamptz[]), unnest(sqlc.arg(registered_ats)::timestamptz[]),
  unnest(sqlc.arg(object_keys)::text[]);

-- name: ByDigest :one
select * from evidence where sha256 = $1 and size = $2;

-- name: Known :one
select exists (select from evidence where sha256 = $1 and size = $2);

-- name: Get :one
select * from evidence
where id = $1 and (sqlc.narg('townships')::text[] is null or township = any (sqlc.narg('townships')::text[]));

-- name: Lock :one
select * from evidence where id = $1 for update;

-- name: Many :many
select * from evidence
where id = any (sqlc.arg('ids')::text[]) and (sqlc.narg('townships')::text[] is null or township = any (sqlc.narg('townships')::text[]));

-- name: Seal :exec
-- as many records as share the commit, see bulk.go; they are locked and seen to be pending
update evidence e set status = 'sealed', version_id = i.version, checked = i.checked, sealed_at = i.at, locked_until = i.locked, retain_until = i.retain
from (select unnest(sqlc.arg(ids)::text[]) as id, unnest(sqlc.arg(version_ids)::text[]) as version, unnest(sqlc.arg(checks)::text[]) as checked,
  unnest(sqlc.arg(sealed_ats)::timestamptz[]) as at, unnest(sqlc.arg(locked_untils)::timestamptz[]) as locked, unnest(sqlc.arg(retain_untils)::timestamptz[]) as retain) i
where e.id = i.id;

-- name: List :many
select * from evidence
where (sqlc.narg('townships')::text[] is null or township = any (sqlc.narg('townships')::text[]))
  and (sqlc.narg('status')::text is null or status = sqlc.narg('status'))
  and (sqlc.narg('verdict')::text is null or verdict = sqlc.narg('verdict'))
  and (sqlc.narg('activity')::text is null or activity = sqlc.narg('activity'))
  and (sqlc.narg('activity_id')::text is null or activity_id <> '' and activity_id = sqlc.narg('activity_id'))
  and (sqlc.narg('recorder')::text is null or recorder = sqlc.narg('recorder'))
  and (sqlc.narg('device_id')::text is null or device_id = sqlc.narg('device_id'))
  and (sqlc.narg('station')::text is null or station = sqlc.narg('station'))
  and (sqlc.narg('sha256')::bytea is null or sha256 = sqlc.narg('sha256'))
  and (sqlc.narg('q')::text is null or position(lower(sqlc.narg('q')::text) in lower(file_name || ' ' || recorder || ' ' || id)) > 0)
  and (sqlc.narg('late_now')::timestamptz is null or coalesce(sealed_at, sqlc.narg('late_now')) > recorded_end + sqlc.arg('late_after')::float8 * interval '1 second')
  and (sqlc.narg('from_at')::timestamptz is null or recorded_at >= sqlc.narg('from_at'))
  and (sqlc.narg('to_at')::timestamptz is null or recorded_at < sqlc.narg('to_at'))
  and (sqlc.narg('before_at')::timestamptz is null or (recorded_at, id) < (sqlc.narg('before_at')::timestamptz, sqlc.narg('before_id')::text))
order by recorded_at desc, id desc
limit sqlc.arg('max_rows');

-- name: Count :one
select count(*) from evidence
where (sqlc.narg('townships')::text[] is null or township = any (sqlc.narg('townships')::text[]))
  and (sqlc.narg('device_id')::text is null or device_id = sqlc.narg('device_id'))
  and (sqlc.narg('status')::text is null or status = sqlc.narg('status'));

-- name: AddCustody :exec
-- rows of as many events as share the commit, see bulk.go
insert into custody (id, evidence_id, at, kind, actor, session, case_id, reason, until, log_key)
select unnest(sqlc.arg(ids)::text[]), unnest(sqlc.arg(evidence_ids)::text[]), unnest(sqlc.arg(ats)::timestamptz[]), unnest(sqlc.arg(kinds)::smallint[]),
  unnest(sqlc.arg(actors)::text[]), unnest(sqlc.arg(sessions)::text[]), unnest(sqlc.arg(case_ids)::text[]), unnest(sqlc.arg(reasons)::text[]),
  unnest(sqlc.arg(untils)::timestamptz[]), unnest(sqlc.arg(log_keys)::text[]);

-- name: Custody :many
select * from custody
where evidence_id = $1
  and (sqlc.narg('after_at')::timestamptz is null or (at, id) > (sqlc.narg('after_at')::timestamptz, sqlc.narg('after_id')::text))
order by at, id
limit sqlc.arg('max_rows');

-- name: SeenSince :one
-- whether somebody viewed (13), downloaded (14) or glimpsed (27) an item since then
select exists (select from custody where evidence_id = $1 and at >= $2 and actor = $3 and kind in (13, 14, 27));

-- name: SaveFacts :execrows
update evidence set media = sqlc.arg('media'), verdict = sqlc.arg('verdict'), recorded_at = coalesce(sqlc.narg('created_at')::timestamptz, recorded_at),
  container_end = sqlc.narg('created_at')::timestamptz + (sqlc.arg('media')::jsonb ->> 'duration_ms')::bigint * interval '1 millisecond'
where id = sqlc.arg('id');

-- name: SetPoster :execrows
update evidence set poster_key = $2 where id = $1;

-- name: SetRestricted :execrows
update evidence set restricted = $2 where id = $1;

-- name: SetActivity :execrows
update evidence set activity = $2, activity_id = $3 where id = $1;

-- name: CountByActivity :many
select activity_id, count(*) as clips from evidence where activity_id <> '' and activity_id = any (sqlc.arg('ids')::text[]) group by activity_id;

-- name: SetWiped :execrows
update evidence set wiped_at = coalesce(wiped_at, $2) where id = $1;

-- name: AddHold :execrows
insert into evidence_hold (id, evidence_id, case_id, reason, set_by, set_at)
values ($1, $2, $3, $4, $5, $6)
on conflict do nothing;

-- name: LiftHold :execrows
update evidence_hold set lifted_by = $3, lifted_at = $4, lift_reason = $5
where evidence_id = $1 and case_id = $2 and lifted_at is null;

-- name: OpenHolds :one
select count(*) from evidence_hold where evidence_id = $1 and lifted_at is null;

-- name: SetHoldState :exec
update evidence set hold_state = $2 where id = $1;

-- name: HoldsToSettle :many
select id from evidence where hold_state in ('pending', 'lifting') and status in ('sealed', 'damaged') order by id limit $1;

-- name: SmallestSealed :one
-- of the 500 oldest, which any copy of the log covers first
select * from (select * from evidence where status = 'sealed' and size between 1 and $1 and not restricted order by sealed_at limit 500) as e order by size limit 1;
-- name: NextToReread :one
-- the next of a run: whatever was stored when it began and that it has not read, never read first, then the one read longest ago
select * from evidence
where status <> 'pending' and status <> 'deleted' and sealed_at <= sqlc.arg('began')::timestamptz and reread_run <> sqlc.arg('run')::text
order by reread_at nulls first, id limit 1;

-- name: NextUnread :one
select * from evidence
where status <> 'pending' and status <> 'deleted' and reread_at is null
order by reread_at nulls first, id limit 1;

-- name: NextUnreadSince :one
-- sealed after a run began, so that the run doesn't come to it
select * from evidence
where status <> 'pending' and status <> 'deleted' and reread_at is null and sealed_at > sqlc.arg('began')::timestamptz
order by reread_at nulls first, id limit 1;

-- name: CountStored :one
select count(*) as objects, coalesce(sum(size), 0)::bigint as bytes from evidence where status <> 'pending' and status <> 'deleted' and sealed_at <= sqlc.arg('at')::timestamptz;

-- name: OldestReading :one
-- whether something was not read since then, however often it was tried
select exists (select from evidence where status <> 'pending' and status <> 'deleted' and coalesce(reread_at, sealed_at) < sqlc.arg('before')::timestamptz);

-- name: SetVerified :exec
update evidence set status = 'sealed', damage = '', verified_at = $2, sm3 = $3, reread_at = $2, reread_run = $4 where id = $1;

-- name: SetDamaged :exec
update evidence set status = 'damaged', damage = $2, reread_at = $3, reread_run = $4 where id = $1;

-- name: SetTried :exec
update evidence set reread_at = $2, reread_run = $3 where id = $1;
-- name: FileNames :many
-- names as the cards have them, of a recorder or a station (all with null), in order of ids
select id, recorder, station, file_name, recorded_at from evidence
where (sqlc.narg('townships')::text[] is null or township = any (sqlc.narg('townships')::text[]))
  and (sqlc.narg('recorder')::text is null or recorder = sqlc.narg('recorder'))
  and (sqlc.narg('station')::text is null or (station = sqlc.narg('station') and recorder = ''))
  and id > sqlc.arg('after')::text
order by id
limit sqlc.arg('max_rows');

-- name: SetCategory :exec
update evidence set category = $2, category_reason = $3, permanent = $4, retain_until = $5 where id = $1;

-- name: Extend :exec
update evidence set retain_until = $2 where id = $1;

-- name: LocksToSettle :many
-- what the store has lost can't be locked
select id from evidence
where locked_until < retain_until and status in ('sealed', 'damaged') and damage <> 'missing'
order by id limit $1;

-- name: SetLocked :exec
update evidence set locked_until = $2 where id = $1;

-- name: LocksToRenew :many
-- kept for good, and the lock's end draws near
select id from evidence where permanent and status in ('sealed', 'damaged') and retain_until < sqlc.arg('before')::timestamptz order by id limit sqlc.arg('max_rows');

-- name: SetLateReason :exec
update evidence set late_reason = $2 where id = $1;

-- name: Expired :many
-- what may be proposed for deletion, in order of ids
select * from evidence e
where status = 'sealed' and not permanent and not restricted and hold_state = 'none'
  and retain_until <= sqlc.arg('now')::timestamptz and locked_until <= sqlc.arg('now')::timestamptz and id > sqlc.arg('after')::text
  and not exists (select from evidence_deletion d where d.evidence_id = e.id)
order by id limit sqlc.arg('max_rows');

-- name: Propose :execrows
insert into evidence_deletion (evidence_id, proposed_at, due_at) values ($1, $2, $3) on conflict do nothing;

-- name: Withdraw :execrows
delete from evidence_deletion where evidence_id = $1 and decided_at is null;

-- name: Due :many
-- proposed and not decided yet, of what may still go, soonest first
select sqlc.embed(e), sqlc.embed(d) from evidence_deletion d join evidence e on e.id = d.evidence_id
where d.decided_at is null and e.status = 'sealed' and not e.permanent and not e.restricted and e.hold_state = 'none' and e.retain_until <= sqlc.arg('now')::timestamptz
  and (sqlc.narg('townships')::text[] is null or e.township = any (sqlc.narg('townships')::text[]))
  and (sqlc.narg('after_at')::timestamptz is null or (d.due_at, d.evidence_id) > (sqlc.narg('after_at')::timestamptz, sqlc.narg('after_id')::text))
order by d.due_at, d.evidence_id
limit sqlc.arg('max_rows');

-- name: Gone :many
-- deleted, newest first
select sqlc.embed(e), sqlc.embed(d) from evidence_deletion d join evidence e on e.id = d.evidence_id
where d.decided_at is not null
  and (sqlc.narg('townships')::text[] is null or e.township = any (sqlc.narg('townships')::text[]))
  and (sqlc.narg('before_at')::timestamptz is null or (d.decided_at, d.evidence_id) < (sqlc.narg('before_at')::timestamptz, sqlc.narg('before_id')::text))
order by d.decided_at desc, d.evidence_id desc
limit sqlc.arg('max_rows');

-- name: Deletion :one
select * from evidence_deletion where evidence_id = $1;

-- name: ToDecide :many
select evidence_id from evidence_deletion
where decided_at is null and due_at <= sqlc.arg('now')::timestamptz and evidence_id > sqlc.arg('after')::text
order by evidence_id limit sqlc.arg('max_rows');

-- name: ToRemove :many
select evidence_id from evidence_deletion where decided_at is not null and gone_at is null and evidence_id > sqlc.arg('after')::text
order by evidence_id limit sqlc.arg('max_rows');

-- name: SetDeleted :exec
update evidence set status = 'deleted' where id = $1;

-- name: Decide :execrows
update evidence_deletion set decided_at = $2 where evidence_id = $1 and decided_at is null;

-- name: SetGone :execrows
update evidence_deletion set gone_at = $2 where evidence_id = $1 and gone_at is null;

-- name: Intake :one
-- bytes sealed since a time, and all that are kept
select coalesce(sum(size) filter (where sealed_at > sqlc.arg('since')::timestamptz), 0)::bigint as since, coalesce(sum(size) filter (where status <> 'deleted'), 0)::bigint as kept,
  coalesce(min(sealed_at), now())::timestamptz as first
from evidence where status <> 'pending';

-- name: SaveTimeline :exec
insert into evidence_timeline (evidence_id, track, frames, made_at) values ($1, $2, $3, $4)
on conflict (evidence_id) do update set track = excluded.track, frames = excluded.frames, made_at = excluded.made_at;

-- name: Timeline :one
select track, frames from evidence_timeline where evidence_id = $1;

-- name: PairedTrack :one
-- of the sidecar that lies beside a file: same card, same name but for the extension
select e.id, e.file_name, t.track from evidence v
join evidence e on e.township = v.township and e.station = v.station and e.recorder = v.recorder and e.id <> v.id and e.verdict = 'sidecar'
  and lower(regexp_replace(e.file_name, '\.[^./\\]*$', '')) = lower(regexp_replace(v.file_name, '\.[^./\\]*$', ''))
join evidence_timeline t on t.evidence_id = e.id and t.track is not null
where v.id = sqlc.arg('id')::text and not e.restricted
order by abs(extract(epoch from e.registered_at - v.registered_at)), e.id
limit 1;

-- name: AskDerived :execrows
-- a job that is waiting or running stays; anything else begins anew
insert into evidence_derived (evidence_id, kind, township, from_ms, asked_by, asked_at) values ($1, $2, $3, $4, $5, $6)
on conflict (evidence_id, kind) do update set state = 'queued', percent = 0, attempts = 0, failure = '', lease = '', lease_until = null,
  from_ms = excluded.from_ms, asked_by = excluded.asked_by, asked_at = excluded.asked_at
where evidence_derived.state in ('ready', 'failed');

-- name: Derived :one
select * from evidence_derived where evidence_id = $1 and kind = $2;

-- name: LockTurns :exec
-- one worker at a time looks for its turn
select pg_advisory_xact_lock(hashtext('evidence_derived'));

-- name: RunningDerived :one
select count(*) from evidence_derived where state = 'running' and lease_until > sqlc.arg('now')::timestamptz;

-- name: NextDerived :one
-- the township with the fewest running comes first, then who asked first
select d.* from evidence_derived d
where d.state = 'queued' or (d.state = 'running' and d.lease_until <= sqlc.arg('now')::timestamptz)
order by (select count(*) from evidence_derived r where r.township = d.township and r.state = 'running' and r.lease_until > sqlc.arg('now')::timestamptz), d.asked_at, d.evidence_id, d.kind
limit 1 for update of d skip locked;

-- name: TakeDerived :one
update evidence_derived set state = 'running', percent = 0, attempts = attempts + 1, lease = $3, lease_until = $4
where evidence_id = $1 and kind = $2
returning *;

-- name: ProgressDerived :execrows
update evidence_derived set percent = $4, lease_until = $5 where evidence_id = $1 and kind = $2 and lease = $3 and state = 'running';

-- name: ReadyDerived :execrows
update evidence_derived set state = 'ready', percent = 100, failure = '', lease = '', lease_until = null, made_at = $4, object_key = $5, content_type = $6, size = $7, sha256 = $8
where evidence_id = $1 and kind = $2 and lease = $3 and state = 'running';

-- name: EndDerived :execrows
-- back into the queue, or failed
update evidence_derived set state = $4, failure = $5, lease = '', lease_until = null where evidence_id = $1 and kind = $2 and lease = $3 and state = 'running';
