-- +goose Up
-- budget: what each township may spend a year, and balanced postings in fen. Postings are never changed; a mistake is reversed.

-- Every act of setting a year's standard, the latest one counts.
create table allotment_act (
  id text primary key,
  township text not null references township,
  year int not null check (year between 2000 and 2100),
  fen bigint not null check (fen >= 0),
  formula text not null,
  actor text not null,
  at timestamptz not null
);
create index allotment_act_year on allotment_act (township, year, id);

-- The row whose lock orders postings of a township's year. spent_fen is the sum of the postings' lines on the budget account.
create table allotment (
  township text not null references township,
  year int not null check (year between 2000 and 2100),
  fen bigint not null,
  spent_fen bigint not null default 0,
  formula text not null,
  act_id text not null references allotment_act,
  primary key (township, year),
  constraint allotment_not_overdrawn check (spent_fen between 0 and fen)
) with (fillfactor = 60);

create table posting (
  id text primary key,
  township text not null references township,
  key text not null check (octet_length(key) between 1 and 320),
  year int not null check (year between 2000 and 2100),
  on_day date not null,
  memo text not null,
  digest bytea not null check (octet_length(digest) = 32), -- of what was asked, to tell a retry from a second posting under the same key
  reverses text unique references posting,
  posted_by text not null,
  posted_at timestamptz not null,
  unique (township, key),
  -- a reversal is dated when it is made and belongs to the year it corrects
  check (reverses is not null or extract(year from on_day) = year)
);
create index posting_newest on posting (on_day desc, id desc);
create index posting_township on posting (township, year, on_day desc, id desc);

create table posting_line (
  posting_id text not null references posting,
  n int not null,
  account text not null,
  fen bigint not null check (fen <> 0),
  primary key (posting_id, n)
);

create table posting_device (
  posting_id text not null references posting,
  device_id text not null references device,
  primary key (posting_id, device_id)
);
create index posting_device_device on posting_device (device_id);

-- +goose StatementBegin
create function posting_balances() returns trigger language plpgsql as $$
begin
  if (select coalesce(sum(fen), 1) from posting_line where posting_id = new.posting_id) <> 0 then
    raise exception 'posting % does not balance', new.posting_id using errcode = 'check_violation', constraint = 'posting_balances';
  end if;
  return null;
end $$;
-- +goose StatementEnd

-- Asked for each line, at the end of the transaction: a line added later unbalances a posting as surely as a wrong one.
create constraint trigger posting_balances after insert on posting_line deferrable initially deferred
  for each row execute function posting_balances();

-- A posting without lines would never ask: it needs its first one.
alter table posting add column first_line int not null default 0 check (first_line = 0);
alter table posting add constraint posting_has_lines foreign key (id, first_line) references posting_line (posting_id, n)
  deferrable initially deferred;

grant select, insert on allotment_act, posting, posting_line, posting_device to zhizheng_app;
grant select, insert, update on allotment to zhizheng_app;
