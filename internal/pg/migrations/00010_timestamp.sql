-- +goose Up
-- trusted time: tokens that were verified and logged, where each authority stands, what didn't hold, and requests that were carried
-- out. See evidence/evlog/stamp.go. The tokens themselves are payloads of leaves.

-- One row a token. Everything here is told by the leaf too; an audit compares.
create table log_timestamp (
  key text collate "C" primary key check (octet_length(key) between 1 and 200), -- of the leaf
  authority text not null check (authority <> ''),                           -- as asked, or "carried"
  size bigint not null check (size > 0),                                      -- of the tree that was stamped
  gen_time timestamptz not null
);
create index log_timestamp_by_size on log_timestamp (size);
create index log_timestamp_by_authority on log_timestamp (authority, size);

-- One row for each authority that was ever asked. Whoever moves next_at asks: a lease between replicas, not a lock.
create table log_timestamp_state (
  authority text primary key check (authority <> ''),
  attempts bigint not null default 0, -- since the last success
  next_at timestamptz not null,
  tried_at timestamptz,
  error text not null default '',
  refused boolean not null default false -- the last answer came and didn't hold
);

-- Answers that are no valid token, as they came. Never leaves.
create table log_timestamp_refused (
  sum bytea primary key check (octet_length(sum) = 32), -- SHA-256 of answer
  authority text not null,
  body text not null,
  answer bytea not null check (octet_length(answer) <= 131072),
  reason text not null,
  at timestamptz not null
);

-- Requests that were written to be carried to an authority: an answer names its checkpoint by digest only.
create table log_timestamp_request (
  digest bytea primary key check (octet_length(digest) = 32), -- SHA-256 of body
  body text not null,
  at timestamptz not null
);

grant select, insert on log_timestamp, log_timestamp_refused, log_timestamp_request to zhizheng_app;
grant select, insert, update on log_timestamp_state to zhizheng_app;
