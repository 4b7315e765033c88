-- +goose Up
-- authority: units, people who sign in, officers and certificates, power items and the townships that hold them.

create table township (
  code text primary key check (code ~ '^[0-9]{9}$'),
  name text not null,
  -- department: a unit of the county itself; its code (county code + 9NN) is the platform's own, not a division code
  kind text not null check (kind in ('town', 'township', 'department')),
  position int not null
);

create table app_user (
  id text primary key,
  username text not null unique check (username = lower(username) and length(username) between 2 and 64),
  name text not null,
  role text not null check (role in
    ('officer', 'reviewer', 'manager', 'finance', 'head', 'leader', 'supervisor', 'archivist', 'admin')),
  -- null: the whole county; an empty list is nobody's scope
  townships text[] check (townships is null or cardinality(townships) > 0),
  password_hash text not null,
  must_change boolean not null default false,
  disabled boolean not null default false,
  -- raised when every session of the account has to end (password changed, disabled)
  session_epoch int not null default 0,
  created_at timestamptz not null default now()
);

-- The layout that scs' store expects; tokens lie here hashed.
create table sessions (
  token text primary key,
  data bytea not null,
  expiry timestamptz not null
);
create index sessions_expiry on sessions (expiry);

create table sign_in_link (
  token_hash bytea primary key check (octet_length(token_hash) = 32),
  user_id text not null references app_user,
  expires_at timestamptz not null,
  used_at timestamptz
);

-- Failed sign-ins in the running window; key is a hash of the user name or the address, so that neither is kept.
create table sign_in_limit (
  key bytea primary key check (octet_length(key) = 32),
  failures int not null,
  window_end timestamptz not null
);

create table officer (
  id text primary key,
  township text not null references township,
  name text not null,
  administrative boolean not null default false, -- on an administrative post
  full_time boolean not null default true,
  user_id text unique references app_user,
  left_on date
);
create index officer_township on officer (township, id);

create table certificate (
  number text primary key,
  officer_id text not null references officer,
  valid_from date not null,
  valid_to date not null check (valid_to >= valid_from), -- last valid day
  revoked_on date
);
create index certificate_officer on certificate (officer_id, valid_to desc);

create table power_item (
  code text primary key,
  name text not null,
  field text not null, -- domain of law
  law text not null,
  article text not null,
  fine_min_fen bigint not null default 0 check (fine_min_fen >= 0),
  fine_max_fen bigint check (fine_max_fen >= fine_min_fen),
  note text not null default ''
);

-- An item is in force for a township from valid_from to valid_to, both days included; null: not taken back.
create table power_grant (
  id text primary key,
  item text not null references power_item,
  township text not null references township,
  mode text not null check (mode in ('statutory', 'delegated', 'entrusted')),
  valid_from date not null,
  valid_to date check (valid_to >= valid_from),
  principal text references township, -- in whose name an entrusted power is used
  batch text not null default '',
  reason text not null default '',
  created_by text not null,
  created_at timestamptz not null default now(),
  constraint entrusted_by_someone check ((mode = 'entrusted') = (principal is not null))
);
create unique index power_grant_open on power_grant (item, township) where valid_to is null;
create index power_grant_township on power_grant (township, item, valid_from);

grant select, insert, update on township, app_user, officer, certificate, power_item, power_grant to zhizheng_app;
grant select, insert, update, delete on sessions, sign_in_link, sign_in_limit to zhizheng_app;
