-- name: PutTownship :exec
insert into township (code, name, kind, position) values ($1, $2, $3, $4)
on conflict (code) do nothing;

-- name: Townships :many
select t.code, t.name, t.kind, t.position,
  (select count(*) from officer o where o.township = t.code and o.left_on is null) as officers,
  (select count(distinct g.item) from power_grant g where g.township = t.code
    and g.valid_from <= sqlc.arg(day) and (g.valid_to is null or g.valid_to >= sqlc.arg(day))) as power_items
from township t
where (sqlc.narg(scope)::text[] is null or t.code = any(sqlc.narg(scope)))
order by t.position, t.code;

-- name: Township :one
select code, name, kind, position from township where code = $1;

-- name: AddUser :exec
insert into app_user (id, username, name, role, townships, password_hash, must_change)
values ($1, $2, $3, $4, $5, $6, $7);

-- name: UserByName :one
select * from app_user where username = $1;

-- name: UserByID :one
select * from app_user where id = $1;

-- name: SetPassword :execrows
update app_user set password_hash = $2, must_change = $3, session_epoch = session_epoch + 1 where id = $1;

-- name: SetDisabled :execrows
update app_user set disabled = $2, session_epoch = session_epoch + 1 where id = $1;

-- name: AddLink :exec
insert into sign_in_link (token_hash, user_id, expires_at) values ($1, $2, $3);

-- name: UseLink :one
update sign_in_link set used_at = sqlc.arg(now)::timestamptz
where token_hash = $1 and used_at is null and expires_at > sqlc.arg(now)
returning user_id;

-- name: CountAttempt :one
insert into sign_in_limit as l (key, failures, window_end) values (sqlc.arg(key), 1, sqlc.arg(window_end))
on conflict (key) do update set
  failures = case when l.window_end <= sqlc.arg(now)::timestamptz then 1 else l.failures + 1 end,
  window_end = case when l.window_end <= sqlc.arg(now) then sqlc.arg(window_end) else l.window_end end
returning failures, window_end;

-- name: ForgiveAttempt :exec
update sign_in_limit set failures = greatest(failures - 1, 0) where key = $1;

-- name: ForgetAttempts :exec
delete from sign_in_limit where key = $1;

-- name: KeepSession :execrows
update sessions set expiry = sqlc.arg(expiry) where token = sqlc.arg(token) and expiry < sqlc.arg(expiry)::timestamptz - interval '1 minute';

-- name: SweepSessions :exec
delete from sessions where expiry < sqlc.arg(now);

-- name: SweepLinks :exec
delete from sign_in_link where expires_at < sqlc.arg(now);

-- name: SweepLimits :exec
delete from sign_in_limit where window_end < sqlc.arg(now);

-- name: AddOfficers :copyfrom
insert into officer (id, township, name, administrative, full_time, user_id) values ($1, $2, $3, $4, $5, $6);

-- name: AddCertificates :copyfrom
insert into certificate (number, officer_id, valid_from, valid_to) values ($1, $2, $3, $4);

-- name: OfficersPage :many
select o.id, o.township, o.name, o.administrative, o.full_time, o.user_id, o.left_on, t.name as township_name
from officer o join township t on t.code = o.township
where (sqlc.narg(scope)::text[] is null or o.township = any(sqlc.narg(scope)))
  and (sqlc.arg(township)::text = '' or o.township = sqlc.arg(township))
  and (sqlc.arg(q)::text = '' or strpos(o.name, sqlc.arg(q)) > 0
    or exists (select 1 from certificate c where c.officer_id = o.id and strpos(c.number, sqlc.arg(q)) > 0))
  and (sqlc.narg(valid_on)::date is null or exists (select 1 from certificate c where c.officer_id = o.id
    and c.valid_from <= sqlc.narg(valid_on) and c.valid_to >= sqlc.narg(valid_on)
    and (c.revoked_on is null or c.revoked_on > sqlc.narg(valid_on))))
  and o.id > sqlc.arg(after)
order by o.id limit sqlc.arg(max);

-- name: OfficersByID :many
select o.id, o.township, o.name, o.administrative, o.full_time, o.user_id, o.left_on, t.name as township_name
from officer o join township t on t.code = o.township
where o.id = any(sqlc.arg(ids)::text[]);

-- name: OfficerByUser :one
select id from officer where user_id = $1;

-- name: CertificatesOf :many
select number, officer_id, valid_from, valid_to, revoked_on from certificate
where officer_id = any(sqlc.arg(officers)::text[]) order by officer_id, valid_to desc, number;

-- name: PutPowerItem :exec
insert into power_item (code, name, field, law, article, fine_min_fen, fine_max_fen, note)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (code) do nothing;

-- name: Catalogue :many
select i.*, (select count(distinct g.township) from power_grant g
  where g.item = i.code and g.valid_from <= sqlc.arg(day) and (g.valid_to is null or g.valid_to >= sqlc.arg(day))) as in_force
from power_item i
where i.code > sqlc.arg(after)
  and (sqlc.arg(q)::text = '' or strpos(i.name, sqlc.arg(q)) > 0 or strpos(i.law, sqlc.arg(q)) > 0)
order by i.code limit sqlc.arg(max);

-- name: Powers :many
select g.id, g.item, g.township, g.mode, g.valid_from, g.valid_to, g.principal, g.batch, g.reason,
  i.name, i.field, i.law, i.article, i.fine_min_fen, i.fine_max_fen, i.note
from power_grant g join power_item i on i.code = g.item
where g.township = sqlc.arg(township)
  and (sqlc.narg(day)::date is null
    or (g.valid_from <= sqlc.narg(day) and (g.valid_to is null or g.valid_to >= sqlc.narg(day))))
  and (sqlc.arg(q)::text = '' or strpos(i.name, sqlc.arg(q)) > 0 or strpos(i.law, sqlc.arg(q)) > 0)
  and g.item || '/' || g.id > sqlc.arg(after)
order by g.item || '/' || g.id limit sqlc.arg(max);

-- name: GrantOn :one
select g.id, g.item, g.township, g.mode, g.valid_from, g.valid_to, g.principal, g.batch, g.reason,
  i.name, i.field, i.law, i.article, i.fine_min_fen, i.fine_max_fen, i.note
from power_grant g join power_item i on i.code = g.item
where g.township = sqlc.arg(township) and (g.item = sqlc.arg(item) or g.id = sqlc.arg(item))
  and g.valid_from <= sqlc.arg(day) and (g.valid_to is null or g.valid_to >= sqlc.arg(day))
order by g.valid_from desc limit 1;

-- name: GrantsOverlapping :one
select count(*) from power_grant
where item = sqlc.arg(item) and township = sqlc.arg(township)
  and (sqlc.narg(valid_to)::date is null or valid_from <= sqlc.narg(valid_to))
  and (valid_to is null or valid_to >= sqlc.arg(valid_from)::date);

-- name: AddGrant :exec
insert into power_grant (id, item, township, mode, valid_from, valid_to, principal, batch, created_by)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: RecallGrant :one
update power_grant set valid_to = sqlc.arg(last_day)::date, reason = sqlc.arg(reason)
where id = $1 and valid_to is null and valid_from <= sqlc.arg(last_day)
returning item, township, mode, valid_from, batch;

-- name: UserNames :many
select id, name from app_user where id = any(sqlc.arg(ids)::text[])
union all
select id, name from officer where id = any(sqlc.arg(ids)::text[]);

-- name: UnitNames :many
select code, name from township;

-- name: CountUsers :one
select count(*) from app_user;

-- name: PutPin :exec
insert into officer_pin (officer_id, hash, set_at, set_by) values ($1, $2, $3, $4)
on conflict (officer_id) do update set hash = excluded.hash, set_at = excluded.set_at, set_by = excluded.set_by;

-- name: Pin :one
select p.hash from officer_pin p join officer o on o.id = p.officer_id
where p.officer_id = $1 and o.township = $2 and (o.left_on is null or o.left_on > sqlc.arg('day')::date);

-- name: DropPin :execrows
delete from officer_pin where officer_id = $1;

-- name: HavePins :many
select officer_id from officer_pin where officer_id = any(sqlc.arg(ids)::text[]);
