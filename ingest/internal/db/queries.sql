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
insert into manifest (key_id, epoch, counter, hash, prev, evidence_id, log_key, received_at)
values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing;

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

-- name: UploadSealed :exec
update upload set state = 'sealed', updated_at = $2 where id = $1;

-- name: AddDeadLetter :exec
insert into dead_letter (id, at, source, origin, reason, raw) values ($1, $2, $3, $4, $5, $6);

-- name: DeadLetters :many
select id, at, source, origin, reason, octet_length(raw)::int as size from dead_letter
where (sqlc.narg('before_at')::timestamptz is null or (at, id) < (sqlc.narg('before_at')::timestamptz, sqlc.narg('before_id')::text))
order by at desc, id desc limit sqlc.arg('max_rows');
