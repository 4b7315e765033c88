-- name: NextNumber :one
insert into case_number as n (township, year, last) values ($1, $2, sqlc.arg(count)::int)
on conflict (township, year) do update set last = n.last + sqlc.arg(count)::int
returning last;

-- name: AddCase :exec
insert into case_file (id, open_key, number, township, power_item, power_grant, mode, title, facts, party_kind, party, place, act_on,
  filed_on, opened_at, stage, stage_since, stage_due, decision_due, created_by)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20);

-- name: AddCases :copyfrom
insert into case_file (id, open_key, number, township, power_item, power_grant, mode, title, facts, party_kind, party, place, act_on,
  filed_on, opened_at, stage, stage_since, stage_due, decision_due, reviewer, decided_on, decision, fine_fen, evidence_root, closed_at,
  created_by)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26);

-- name: AddOfficers :copyfrom
insert into case_officer (case_id, position, officer_id, certificate) values ($1, $2, $3, $4);

-- name: AddEvents :copyfrom
insert into case_event (case_id, n, kind, stage, on_day, at, actor, note, evidence_id, leaf_key)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: CaseByKey :one
select id from case_file where open_key = $1 and township = $2;

-- name: LockCase :one
select f.*, t.name as township_name, i.name as item_name, i.fine_min_fen, i.fine_max_fen, i.law, i.article
from case_file f join township t on t.code = f.township join power_item i on i.code = f.power_item
where f.id = sqlc.arg(id) and (sqlc.narg(scope)::text[] is null or f.township = any(sqlc.narg(scope)))
for update of f;

-- name: GetCase :one
select f.*, t.name as township_name, i.name as item_name,
  (select count(*) from case_evidence e where e.case_id = f.id and e.unlinked_at is null) as evidence_count
from case_file f join township t on t.code = f.township join power_item i on i.code = f.power_item
where f.id = sqlc.arg(id) and (sqlc.narg(scope)::text[] is null or f.township = any(sqlc.narg(scope)));

-- name: ListCases :many
select f.*, t.name as township_name, i.name as item_name,
  (select count(*) from case_evidence e where e.case_id = f.id and e.unlinked_at is null) as evidence_count
from case_file f join township t on t.code = f.township join power_item i on i.code = f.power_item
where (sqlc.narg(scope)::text[] is null or f.township = any(sqlc.narg(scope)))
  and (sqlc.arg(township)::text = '' or f.township = sqlc.arg(township))
  and (sqlc.arg(stage)::text = '' or f.stage = sqlc.arg(stage))
  and (sqlc.narg(open)::boolean is null or (f.closed_at is null) = sqlc.narg(open))
  and (sqlc.arg(q)::text = '' or strpos(f.number, sqlc.arg(q)) > 0 or strpos(f.title, sqlc.arg(q)) > 0)
  and (sqlc.narg(from_day)::date is null or f.filed_on >= sqlc.narg(from_day))
  and (sqlc.narg(to_day)::date is null or f.filed_on <= sqlc.narg(to_day))
  and (sqlc.arg(evidence)::text = '' or exists (select 1 from case_evidence e
    where e.case_id = f.id and e.evidence_id = sqlc.arg(evidence) and e.unlinked_at is null))
  and (sqlc.arg(after_id)::text = '' or (f.filed_on, f.id) < (sqlc.arg(after_day)::date, sqlc.arg(after_id)))
order by f.filed_on desc, f.id desc limit sqlc.arg(max);

-- name: CountCases :one
select count(*) from case_file f
where (sqlc.narg(scope)::text[] is null or f.township = any(sqlc.narg(scope)))
  and (sqlc.arg(township)::text = '' or f.township = sqlc.arg(township))
  and (sqlc.arg(stage)::text = '' or f.stage = sqlc.arg(stage))
  and (sqlc.narg(open)::boolean is null or (f.closed_at is null) = sqlc.narg(open))
  and (sqlc.arg(q)::text = '' or strpos(f.number, sqlc.arg(q)) > 0 or strpos(f.title, sqlc.arg(q)) > 0)
  and (sqlc.narg(from_day)::date is null or f.filed_on >= sqlc.narg(from_day))
  and (sqlc.narg(to_day)::date is null or f.filed_on <= sqlc.narg(to_day))
  and (sqlc.arg(evidence)::text = '' or exists (select 1 from case_evidence e
    where e.case_id = f.id and e.evidence_id = sqlc.arg(evidence) and e.unlinked_at is null));

-- name: CaseOfficers :many
select o.case_id, o.position, o.officer_id, o.certificate, p.name, p.user_id, t.name as unit_name
from case_officer o join officer p on p.id = o.officer_id join township t on t.code = p.township
where o.case_id = $1 order by o.position;

-- name: Events :many
select * from case_event where case_id = $1 order by n;

-- name: LastEvent :one
select coalesce(max(n), 0)::int as n from case_event where case_id = $1;

-- name: AddEvent :exec
insert into case_event (case_id, n, kind, stage, on_day, at, actor, note, evidence_id, leaf_key)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: MoveCase :exec
update case_file set stage = $2, stage_since = $3, stage_due = $4, reviewer = $5, closed_at = $6 where id = $1;

-- name: DecideCase :exec
update case_file set decided_on = $2, decision = $3, fine_fen = $4, evidence_root = $5 where id = $1;

-- name: Exhibits :many
select * from case_evidence where case_id = $1 and unlinked_at is null order by linked_at, id;

-- name: Exhibit :one
select * from case_evidence where case_id = $1 and evidence_id = $2 and unlinked_at is null;

-- name: AddExhibit :exec
insert into case_evidence (id, case_id, evidence_id, purpose, linked_by, linked_at) values ($1, $2, $3, $4, $5, $6);

-- name: Unlink :execrows
update case_evidence set unlinked_by = $3, unlinked_at = $4, unlink_reason = $5
where case_id = $1 and evidence_id = $2 and unlinked_at is null;

-- name: CasesOfEvidence :many
select f.id, f.number, f.title, f.stage, f.township, e.purpose from case_evidence e join case_file f on f.id = e.case_id
where e.evidence_id = sqlc.arg(evidence_id) and e.unlinked_at is null
  and (sqlc.narg(scope)::text[] is null or f.township = any(sqlc.narg(scope)))
order by e.linked_at;

-- name: CaseCounts :many
select evidence_id, count(*) as cases from case_evidence
where evidence_id = any(sqlc.arg(ids)::text[]) and unlinked_at is null group by evidence_id;

-- name: KnownKeys :many
select open_key::text from case_file where open_key = any(sqlc.arg(keys)::text[]);

-- name: AddActivity :exec
insert into activity (id, plan_key, township, kind, title, place, day, starts, ends, all_day, officers, case_id, created_by, created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: ActivityByKey :one
select id from activity where plan_key = $1 and township = $2;

-- name: ActivityTownship :one
select township from activity where id = $1;

-- name: LockActivity :one
select * from activity
where id = sqlc.arg(id) and (sqlc.narg(scope)::text[] is null or township = any(sqlc.narg(scope)))
for update;

-- name: GetActivity :one
select a.*, t.name as township_name, f.number as case_number, f.title as case_title
from activity a join township t on t.code = a.township left join case_file f on f.id = a.case_id
where a.id = sqlc.arg(id) and (sqlc.narg(scope)::text[] is null or a.township = any(sqlc.narg(scope)));

-- name: ListActivities :many
select a.*, t.name as township_name, f.number as case_number, f.title as case_title
from activity a join township t on t.code = a.township left join case_file f on f.id = a.case_id
where (sqlc.narg(scope)::text[] is null or a.township = any(sqlc.narg(scope)))
  and (sqlc.arg(township)::text = '' or a.township = sqlc.arg(township))
  and (sqlc.narg(from_day)::date is null or a.day >= sqlc.narg(from_day))
  and (sqlc.narg(to_day)::date is null or a.day <= sqlc.narg(to_day))
  and (sqlc.arg(case_id)::text = '' or a.case_id = sqlc.arg(case_id))
  and (sqlc.arg(running)::boolean = false or a.cancelled_at is null)
  and (sqlc.arg(after_id)::text = '' or (a.starts, a.id) > (sqlc.arg(after_at)::timestamptz, sqlc.arg(after_id)))
order by a.starts, a.id limit sqlc.arg(max);

-- name: CountActivities :one
select count(*) from activity a
where (sqlc.narg(scope)::text[] is null or a.township = any(sqlc.narg(scope)))
  and (sqlc.arg(township)::text = '' or a.township = sqlc.arg(township))
  and (sqlc.narg(from_day)::date is null or a.day >= sqlc.narg(from_day))
  and (sqlc.narg(to_day)::date is null or a.day <= sqlc.narg(to_day))
  and (sqlc.arg(case_id)::text = '' or a.case_id = sqlc.arg(case_id));

-- name: ChangeActivity :exec
update activity set kind = $2, title = $3, place = $4, day = $5, starts = $6, ends = $7, all_day = $8, officers = $9, case_id = $10, revision = $11
where id = $1;

-- name: CancelActivity :exec
update activity set cancelled_at = $2, cancel_reason = $3, revision = $4 where id = $1;

-- name: AddActivityChange :exec
insert into activity_change (activity_id, n, at, actor, what, reason, body) values ($1, $2, $3, $4, $5, $6, $7);

-- name: ActivityChanges :many
select * from activity_change where activity_id = $1 order by n;
