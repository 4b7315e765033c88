-- name: AddRun :exec
insert into audit_run (id, kind, actor, started_at, total_objects, total_bytes)
values ($1, $2, $3, $4, $5, $6);

-- name: GetRun :one
select * from audit_run where id = $1;

-- name: RunningOf :one
select * from audit_run where kind = $1 and state = 'running';

-- name: LastOf :one
select * from audit_run where kind = $1 order by id desc limit 1;

-- name: LastDone :one
-- when the latest run of a kind that came to a result began
select started_at from audit_run
where kind = $1 and state in ('running', 'ok', 'findings')
order by id desc limit 1;

-- name: ListRuns :many
select * from audit_run
where (sqlc.narg('kind')::text is null or kind = sqlc.narg('kind'))
  and (sqlc.narg('before')::text is null or id < sqlc.narg('before'))
order by id desc
limit sqlc.arg('max_rows');

-- name: Progress :execrows
update audit_run set total_objects = $2, total_bytes = $3, done_objects = $4, done_bytes = $5, text = $6
where id = $1 and state = 'running';

-- name: ObjectDone :execrows
-- one object of a re-read, in the transaction that writes its leaf
update audit_run set done_objects = done_objects + 1, done_bytes = done_bytes + sqlc.arg('bytes'), cursor = sqlc.arg('cursor'),
  damaged = damaged + sqlc.arg('damaged'), missing = missing + sqlc.arg('missing'),
  finding_count = finding_count + case when sqlc.narg('finding')::jsonb is null then 0 else 1 end,
  findings = case when sqlc.narg('finding')::jsonb is null or jsonb_array_length(findings) >= sqlc.arg('most')::int then findings
    else findings || jsonb_build_array(sqlc.narg('finding')::jsonb) end
where id = sqlc.arg('id') and state = 'running';

-- name: SetText :exec
update audit_run set text = $2 where id = $1 and state = 'running';

-- name: SetPaused :execrows
update audit_run set paused = $2 where id = $1 and state = 'running' and kind = 'reread';

-- name: FinishRun :execrows
update audit_run set state = $2, paused = false, ended_at = $3, findings = $4, finding_count = $5, steps = $6, text = $7, log_key = $8
where id = $1 and state = 'running';

-- name: FinishReread :execrows
-- the findings were collected object by object
update audit_run set state = $2, paused = false, ended_at = $3, total_objects = done_objects, total_bytes = done_bytes, text = $4, log_key = $5
where id = $1 and state = 'running';

-- name: Interrupted :execrows
update audit_run set state = 'interrupted', paused = false, ended_at = $2, text = $3
where id = $1 and state = 'running';

-- name: SweepRuns :execrows
-- the latest of each kind stays
delete from audit_run r
where r.ended_at < $1 and exists (select from audit_run n where n.kind = r.kind and n.id > r.id);

-- name: AddAlarm :execrows
insert into audit_alarm (id, at, kind, about, run_id, evidence_id, township, case_ids, text)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (kind, about) where acknowledged_at is null do nothing;

-- name: ListAlarms :many
select * from audit_alarm
where (sqlc.narg('townships')::text[] is null or township = '' or township = any (sqlc.narg('townships')::text[]))
  and (sqlc.narg('before')::text is null or id < sqlc.narg('before'))
  and (not sqlc.arg('open_only')::boolean or acknowledged_at is null)
order by id desc
limit sqlc.arg('max_rows');

-- name: OpenAlarms :one
select count(*) from audit_alarm
where acknowledged_at is null
  and (sqlc.narg('townships')::text[] is null or township = '' or township = any (sqlc.narg('townships')::text[]));

-- name: GetAlarm :one
select * from audit_alarm where id = $1;

-- name: Acknowledge :execrows
update audit_alarm set acknowledged_at = $2, acknowledged_by = $3, acknowledge_reason = $4
where id = $1 and acknowledged_at is null;

-- name: BrokenStores :many
-- stores that let something happen and nobody has answered for it, or that still do
select about from audit_alarm where kind = 'canary' and acknowledged_at is null
union
select store from audit_canary where outcome like 'broken%';

-- name: Canary :one
select * from audit_canary where store = $1;

-- name: PutCanary :exec
insert into audit_canary (store, object_key, version_id, sha256, lock_until, outcome, logged_at)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (store) do update set object_key = excluded.object_key, version_id = excluded.version_id, sha256 = excluded.sha256,
  lock_until = excluded.lock_until, outcome = excluded.outcome, logged_at = excluded.logged_at;

-- name: SetCounts :exec
update audit_run set total_objects = sqlc.arg('objects'), done_objects = sqlc.arg('objects') where id = sqlc.arg('id');

-- name: AlarmSince :one
select exists (select from audit_alarm where kind = $1 and about = $2 and at > $3);
