-- +goose Up
-- The log's copy in the object store, and erasing what leaves commit to.

-- One row: how far the store has been brought, and until when one replica is at it.
create table log_mirror (
  one boolean primary key default true check (one),
  size bigint not null check (size >= 0),
  at timestamptz,
  claimed timestamptz not null default '-infinity'
) with (fillfactor = 10);
insert into log_mirror (size) values (0);
grant select, update on log_mirror to zhizheng_app;

-- The application's role may not delete. It may have the owner delete the payloads of leaves, if the log says of exactly these leaves
-- that they are erased: a leaf whose idempotency key names the digest of their list, which a key_sum binds to the leaf's bytes.
-- +goose StatementBegin
create function zz_erase(seqs bigint[]) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  gone bigint;
begin
  if not exists (select from public.log_entry where key = 'erased/' || encode(sha256(convert_to(array_to_string(seqs, ','), 'UTF8')), 'hex')) then
    raise exception 'no leaf records this erasure' using errcode = 'insufficient_privilege';
  end if;
  delete from public.log_payload where seq = any(seqs);
  get diagnostics gone = row_count;
  return gone;
end $$;
-- +goose StatementEnd
revoke all on function zz_erase(bigint[]) from public;
grant execute on function zz_erase(bigint[]) to zhizheng_app;
