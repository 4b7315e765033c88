-- +goose Up
-- devices: the registry, credentials for the broker, latest state, messages as they came.

create table device (
  id text primary key,
  serial text not null unique check (octet_length(serial) between 1 and 80),
  kind text not null check (kind in ('recorder', 'dock', 'computer', 'printer', 'other')),
  name text not null,
  model text not null,
  township text not null references township,
  officer_id text not null default '', -- '' while nobody has it
  status text not null default 'in-use' check (status in ('in-use', 'repair', 'lost', 'retired')),
  bought_on date,
  cost_fen bigint check (cost_fen >= 0),
  -- where the money came from: a posting of the ledger, or what was there before it, issued by the county, special funds, donated.
  -- pending: the posting was reversed, and nothing has taken its place yet
  funding text not null check (funding in ('posting', 'opening', 'county', 'special', 'donated', 'pending')),
  posting_id text,
  posting_year int,
  registered_at timestamptz not null,
  check ((funding = 'posting') = (posting_id is not null)),
  check ((posting_id is null) = (posting_year is null))
);
create index device_township on device (township, kind, id);
create index device_posting on device (posting_id) where posting_id is not null;

-- A token has 256 random bits, so a plain digest of it can't be guessed back.
create table device_credential (
  device_id text primary key references device,
  token_hash bytea not null check (octet_length(token_hash) = 32),
  issued_at timestamptz not null,
  revoked_at timestamptz
);

-- One row a device that was ever heard of. (epoch, seq) names the message whose snapshot it shows; an older one never overwrites it.
create table device_state (
  device_id text primary key references device,
  epoch bigint not null default 0,
  seq bigint not null default 0,
  connected boolean not null default false,
  last_data_at timestamptz,
  last_dock_at timestamptz,
  last_upload_at timestamptz,
  battery smallint check (battery between 0 and 100),
  storage_used smallint check (storage_used between 0 and 100),
  docked boolean,
  state text,
  skew_ms bigint -- device clock minus ours when it last spoke
) with (fillfactor = 60);

-- What devices sent, once each: (device, boot epoch, counter) is the idempotency key. Messages older than the setting are swept.
-- No foreign key: it would lock the device's row for each of thousands of messages a second; the writer knows its devices.
create table device_message (
  device_id text not null,
  epoch bigint not null,
  seq bigint not null check (seq >= 0),
  kind text not null,
  device_time timestamptz not null,
  received_at timestamptz not null,
  body bytea not null, -- as it came
  primary key (device_id, epoch, seq)
);
create index device_message_age on device_message using brin (received_at);

grant select, insert, update on device, device_credential, device_state to zhizheng_app;
grant select, insert, delete on device_message to zhizheng_app;
