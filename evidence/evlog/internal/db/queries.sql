-- name: LockHead :one
select size, edge from log_head where one for update;

-- name: Head :one
select size, edge from log_head where one;

-- name: UpdateHead :exec
update log_head set size = sqlc.arg(size), edge = sqlc.arg(edge) where one;

-- name: EntriesByKeys :many
select e.seq, e.key, e.subject, e.leaf_hash, e.bytes, p.salt, p.payload
from log_entry e
left join log_payload p using (seq)
where e.key = any(sqlc.arg(keys)::text[]);

-- name: SubjectHeads :many
select e.subject, e.counter, e.leaf_hash
from unnest(sqlc.arg(subjects)::bytea[]) as s (subject)
cross join lateral (
  -- one step down the unique index for each subject
  select l.subject, l.counter, l.leaf_hash from log_entry l where l.subject = s.subject order by l.counter desc limit 1
) as e;

-- name: InsertEntries :exec
insert into log_entry (seq, key, key_sum, subject, counter, leaf_hash, bytes)
select unnest(sqlc.arg(seqs)::bigint[]), unnest(sqlc.arg(keys)::text[]), unnest(sqlc.arg(key_sums)::bytea[]), unnest(sqlc.arg(subjects)::bytea[]), unnest(sqlc.arg(counters)::bigint[]),
  unnest(sqlc.arg(leaf_hashes)::bytea[]), unnest(sqlc.arg(bytes)::bytea[]);

-- name: InsertPayloads :exec
insert into log_payload (seq, salt, payload)
select unnest(sqlc.arg(seqs)::bigint[]), unnest(sqlc.arg(salts)::bytea[]), unnest(sqlc.arg(payloads)::bytea[]);

-- name: InsertTile :exec
insert into log_tile (level, idx, root, hashes) values (sqlc.arg(level), sqlc.arg(idx), sqlc.arg(root), sqlc.arg(hashes));

-- name: LeafHashes :many
select leaf_hash from log_entry where seq >= sqlc.arg(first) and seq < sqlc.arg(past) order by seq;

-- name: TileRoots :many
select root from log_tile where level = sqlc.arg(level) and idx >= sqlc.arg(first) and idx < sqlc.arg(past) order by idx;

-- name: TileHashes :one
select hashes from log_tile where level = sqlc.arg(level) and idx = sqlc.arg(idx);

-- name: TilesOfLevel :many
select idx, root, hashes from log_tile where level = sqlc.arg(level) and idx >= sqlc.arg(first) order by idx limit sqlc.arg(most);

-- name: CountTiles :one
select count(*) from log_tile;

-- name: CountPayloads :one
select count(*) from log_payload;

-- name: EntryByKey :one
select e.seq, e.key, e.leaf_hash, e.bytes, p.salt, p.payload
from log_entry e
left join log_payload p using (seq)
where e.key = sqlc.arg(key);

-- name: SeqByKey :one
select seq from log_entry where key = sqlc.arg(key);

-- name: EntriesBySubject :many
select e.seq, e.key, e.leaf_hash, e.bytes, p.salt, p.payload
from log_entry e
left join log_payload p using (seq)
where e.subject = sqlc.arg(subject)
order by e.counter;

-- name: EntriesBySubjectBetween :many
select e.seq, e.key, e.leaf_hash, e.bytes, p.salt, p.payload
from log_entry e
left join log_payload p using (seq)
where e.subject = sqlc.arg(subject) and e.counter between sqlc.arg(first) and sqlc.arg(last)
order by e.counter;

-- name: EntriesBySeq :many
select e.seq, e.key, e.leaf_hash, e.bytes, p.salt, p.payload
from log_entry e
left join log_payload p using (seq)
where e.seq = any(sqlc.arg(seqs)::bigint[])
order by e.seq;

-- name: EntriesBefore :many
select e.seq, e.key, e.leaf_hash, e.bytes, p.salt, p.payload
from log_entry e
left join log_payload p using (seq)
where e.seq < sqlc.arg(before)
order by e.seq desc
limit sqlc.arg(most);

-- name: EntryBytes :many
select bytes from log_entry where seq >= sqlc.arg(first) and seq < sqlc.arg(past) order by seq;

-- name: EntriesToAudit :many
select e.seq, e.key, e.key_sum, e.subject, e.counter, e.leaf_hash, e.bytes, p.salt, p.payload
from log_entry e
left join log_payload p using (seq)
where e.seq >= sqlc.arg(first)
order by e.seq
limit sqlc.arg(most);

-- name: LockPublisher :one
select size, root, note, at from log_publisher where one for update skip locked;

-- name: Publisher :one
select size, root, note, at from log_publisher where one;

-- name: UpdatePublisher :exec
update log_publisher set size = sqlc.arg(size), root = sqlc.arg(root), note = sqlc.arg(note), at = sqlc.arg(at) where one;

-- name: KeepCheckpoint :exec
insert into log_checkpoint (size, root, note, at)
select sqlc.arg(size), sqlc.arg(root), sqlc.arg(note), sqlc.arg(at)
where not exists (select from log_checkpoint c where c.at > sqlc.arg(at)::timestamptz - interval '1 minute')
on conflict (size) do nothing;

-- name: Checkpoints :many
select size, root, note, at from log_checkpoint order by size;

-- name: KeepCheckpointFor :exec
insert into log_checkpoint (size, root, note, at)
values (sqlc.arg(size), sqlc.arg(root), sqlc.arg(note), sqlc.arg(at))
on conflict (size) do nothing;

-- name: CheckpointAt :one
select size, root, note, at from log_checkpoint where size = sqlc.arg(size);

-- name: CheckpointsBefore :many
select size, note from log_checkpoint where size < sqlc.arg(before) order by size desc limit sqlc.arg(most);

-- name: InsertCosignature :execrows
insert into log_cosignature (size, witness, key_hash, line, at)
values (sqlc.arg(size), sqlc.arg(witness), sqlc.arg(key_hash), sqlc.arg(line), sqlc.arg(at))
on conflict do nothing;

-- name: CosignaturesAt :many
select size, witness, key_hash, line, at from log_cosignature where size = sqlc.arg(size) order by witness, key_hash;

-- name: CosignaturesFrom :many
select size, witness, key_hash, line, at
from log_cosignature
where size >= sqlc.arg(first)
order by size desc, witness, key_hash
limit sqlc.arg(most);

-- name: LastCosignature :one
select size, witness, key_hash, line, at
from log_cosignature
where witness = sqlc.arg(witness) and key_hash = sqlc.arg(key_hash)
order by size desc
limit 1;

-- name: Cosignatures :many
select size, witness, key_hash, line, at from log_cosignature order by size, witness, key_hash;
-- name: Mirror :one
select size, at from log_mirror where one;

-- name: ClaimMirror :many
-- One replica an interval; the claim of one that died ends by itself.
update log_mirror set claimed = now() where one and claimed <= now() - make_interval(secs => sqlc.arg(seconds)::double precision)
returning size;

-- name: UpdateMirror :exec
update log_mirror set size = sqlc.arg(size), at = sqlc.arg(at) where one and size < sqlc.arg(size);


-- name: Erase :one
select zz_erase(sqlc.arg(seqs)::bigint[])::bigint as gone;

-- name: UnrecordedErasures :many
select e.seq from log_entry e
left join log_payload p using (seq)
where e.key >= 'recovered/' and e.key < 'recovered0' and p.seq is null
order by e.seq;
-- name: AddTimestamp :exec
insert into log_timestamp (key, authority, size, gen_time)
values (sqlc.arg(key), sqlc.arg(authority), sqlc.arg(size), sqlc.arg(gen_time))
on conflict (key) do nothing;

-- name: NewestTimestamps :many
select distinct on (t.authority) t.key, t.authority, t.size, t.gen_time, e.seq
from log_timestamp t
join log_entry e on e.key = t.key
order by t.authority, t.size desc, t.gen_time desc;

-- name: TimestampsCovering :many
select t.key, t.authority, t.size, t.gen_time, e.seq
from log_timestamp t
join log_entry e on e.key = t.key
where t.size > sqlc.arg(seq)
order by t.size, t.gen_time
limit sqlc.arg(most);

-- name: TimestampsToAudit :many
select t.key, t.authority, t.size, t.gen_time, e.seq, e.bytes, p.payload
from log_timestamp t
left join log_entry e on e.key = t.key
left join log_payload p on p.seq = e.seq
where t.key > sqlc.arg(after)
order by t.key
limit sqlc.arg(most);

-- name: KnowAuthority :exec
insert into log_timestamp_state (authority, next_at) values (sqlc.arg(authority), sqlc.arg(now)) on conflict (authority) do nothing;

-- name: ClaimAuthority :one
update log_timestamp_state
set attempts = attempts + 1, tried_at = sqlc.arg(now), next_at = sqlc.arg(lease)
where authority = sqlc.arg(authority) and (next_at <= sqlc.arg(now) or sqlc.arg(at_once)::boolean)
returning attempts;

-- name: AuthorityFailed :exec
update log_timestamp_state
set error = sqlc.arg(error), refused = sqlc.arg(refused), next_at = sqlc.arg(next_at)
where authority = sqlc.arg(authority);

-- name: AuthorityHeld :exec
update log_timestamp_state
set attempts = 0, error = '', refused = false, next_at = sqlc.arg(next_at)
where authority = sqlc.arg(authority);

-- name: StampAuthorities :many
select authority, attempts, next_at, tried_at, error, refused from log_timestamp_state where authority = any(sqlc.arg(authorities)::text[]);

-- name: KeepRefused :execrows
insert into log_timestamp_refused (sum, authority, body, answer, reason, at)
select sqlc.arg(sum), sqlc.arg(authority), sqlc.arg(body), sqlc.arg(answer), sqlc.arg(reason), sqlc.arg(at)
where (select count(*) from log_timestamp_refused r where r.authority = sqlc.arg(authority)) < sqlc.arg(most)::bigint
on conflict (sum) do nothing;

-- name: RefusedAnswers :many
select sum, authority, body, answer, reason, at from log_timestamp_refused order by at desc limit sqlc.arg(most);

-- name: KeepRequest :exec
insert into log_timestamp_request (digest, body, at) values (sqlc.arg(digest), sqlc.arg(body), sqlc.arg(at)) on conflict (digest) do nothing;

-- name: RequestBody :one
select body from log_timestamp_request where digest = sqlc.arg(digest);

-- name: CountTimestamps :one
select
  (select count(*) from log_timestamp) as known,
  (select count(*) from log_entry where key >= 'timestamp/' and key < 'timestamp0') as logged; -- '0' follows '/' in collation C
