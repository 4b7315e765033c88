-- name: AddAllotmentAct :exec
insert into allotment_act (id, township, year, fen, formula, actor, at) values ($1, $2, $3, $4, $5, $6, $7);

-- name: PutAllotment :exec
insert into allotment as a (township, year, fen, formula, act_id) values ($1, $2, $3, $4, $5)
on conflict (township, year) do update set fen = excluded.fen, formula = excluded.formula, act_id = excluded.act_id;

-- name: LockAllotments :many
select a.*, t.name as township_name from allotment a join township t on t.code = a.township
where a.township = any(sqlc.arg(townships)::text[]) and a.year = any(sqlc.arg(years)::int[])
order by a.township, a.year
for update of a;

-- name: SpendAllotment :exec
update allotment set spent_fen = spent_fen + sqlc.arg(fen) where township = $1 and year = $2;

-- name: Years :many
select a.township, t.name as township_name, a.year, a.fen, a.spent_fen, a.formula
from allotment a join township t on t.code = a.township
where a.year = sqlc.arg(year) and (sqlc.narg(scope)::text[] is null or a.township = any(sqlc.narg(scope)))
  and (sqlc.arg(township)::text = '' or a.township = sqlc.arg(township))
order by t.position;

-- name: SumByAccount :many
select p.township, l.account, sum(l.fen)::bigint as fen from posting p join posting_line l on l.posting_id = p.id
where p.year = sqlc.arg(year) and (sqlc.narg(scope)::text[] is null or p.township = any(sqlc.narg(scope)))
  and (sqlc.arg(township)::text = '' or p.township = sqlc.arg(township))
group by p.township, l.account order by p.township, l.account;

-- name: ByKeys :many
select id, township, key, digest from posting where (township, key) in
  (select unnest(sqlc.arg(townships)::text[]), unnest(sqlc.arg(keys)::text[]));

-- name: AddPosting :execrows
insert into posting (id, township, key, year, on_day, memo, digest, reverses, posted_by, posted_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
on conflict do nothing;

-- name: AddLines :copyfrom
insert into posting_line (posting_id, n, account, fen) values ($1, $2, $3, $4);

-- name: AddDevices :copyfrom
insert into posting_device (posting_id, device_id) values ($1, $2);

-- name: GetPosting :one
select p.id, p.township, p.key, p.year, p.on_day, p.memo, p.reverses, p.posted_by, p.posted_at, t.name as township_name,
  coalesce((select r.id from posting r where r.reverses = p.id), '')::text as reversed_by
from posting p join township t on t.code = p.township
where p.id = sqlc.arg(id) and (sqlc.narg(scope)::text[] is null or p.township = any(sqlc.narg(scope)));

-- name: ListPostings :many
select p.id, p.township, p.key, p.year, p.on_day, p.memo, p.reverses, p.posted_by, p.posted_at, t.name as township_name,
  coalesce((select r.id from posting r where r.reverses = p.id), '')::text as reversed_by
from posting p join township t on t.code = p.township
where (sqlc.narg(scope)::text[] is null or p.township = any(sqlc.narg(scope)))
  and (sqlc.arg(township)::text = '' or p.township = sqlc.arg(township))
  and (sqlc.arg(year)::int = 0 or p.year = sqlc.arg(year))
  and (sqlc.arg(device)::text = '' or exists (select from posting_device d where d.posting_id = p.id and d.device_id = sqlc.arg(device)))
  and (sqlc.narg(before_day)::date is null or (p.on_day, p.id) < (sqlc.narg(before_day)::date, sqlc.arg(before_id)::text))
order by p.on_day desc, p.id desc
limit sqlc.arg(max);

-- name: Lines :many
select posting_id, account, fen from posting_line where posting_id = any(sqlc.arg(ids)::text[]) order by posting_id, n;

-- name: Devices :many
select posting_id, device_id from posting_device where posting_id = any(sqlc.arg(ids)::text[]) order by posting_id, device_id;
