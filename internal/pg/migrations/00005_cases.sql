-- +goose Up
-- cases: case files, who handles them, what happened in them, which evidence they rest on.

create table case_file (
  id text primary key,
  open_key text unique, -- the caller's idempotency key
  number text not null unique,
  township text not null references township,
  power_item text not null references power_item,
  power_grant text not null references power_grant,
  mode text not null check (mode in ('statutory', 'delegated', 'entrusted')),
  title text not null,
  facts text not null default '',
  party_kind text not null check (party_kind in ('citizen', 'entity')),
  party text not null default '',
  place text not null default '',
  act_on date not null,
  filed_on date not null check (filed_on >= act_on), -- at +08:00
  opened_at timestamptz not null,
  stage text not null check (stage in ('filed', 'investigation', 'review', 'notice', 'decision', 'execution', 'closed',
    'no_penalty', 'transferred', 'withdrawn')),
  stage_since date not null,
  stage_due date,           -- the running deadline of this stage
  decision_due date not null, -- 90 days from filing (art. 60)
  reviewer text, -- user who passed the legal review
  decided_on date,
  decision text not null default '',
  fine_fen bigint check (fine_fen >= 0),
  evidence_root bytea check (octet_length(evidence_root) = 32), -- frozen at the decision
  closed_at timestamptz,
  created_by text not null,
  created_at timestamptz not null default now(),
  constraint frozen_when_decided check ((decided_on is null) = (evidence_root is null)),
  constraint closed_has_time check ((stage in ('closed', 'no_penalty', 'transferred', 'withdrawn')) = (closed_at is not null))
);
create index case_file_list on case_file (filed_on desc, id desc);
create index case_file_township on case_file (township, filed_on desc, id desc);
create index case_file_open on case_file (stage_due) where closed_at is null;

-- One running number a township and year.
create table case_number (
  township text not null references township,
  year int not null,
  last int not null,
  primary key (township, year)
);

create table case_officer (
  case_id text not null references case_file,
  position int not null check (position >= 1),
  officer_id text not null references officer,
  certificate text not null references certificate, -- valid on the day of filing
  primary key (case_id, position),
  unique (case_id, officer_id)
);
create index case_officer_officer on case_officer (officer_id);

create table case_event (
  case_id text not null references case_file,
  n int not null check (n >= 1),
  kind text not null check (kind in ('opened', 'stage', 'decided', 'linked', 'unlinked', 'hold', 'exported')),
  stage text not null,
  on_day date not null,        -- the day the act was done
  at timestamptz not null,     -- when it was written down
  actor text not null,
  note text not null default '',
  evidence_id text,
  leaf_key text,               -- idempotency key of its leaf
  primary key (case_id, n)
);

create table case_evidence (
  id text primary key,
  case_id text not null references case_file,
  evidence_id text not null,
  purpose text not null check (purpose <> ''),
  linked_by text not null,
  linked_at timestamptz not null,
  unlinked_by text,
  unlinked_at timestamptz,
  unlink_reason text,
  constraint unlinked_with_reason check ((unlinked_at is null) = (unlink_reason is null))
);
create unique index case_evidence_once on case_evidence (case_id, evidence_id) where unlinked_at is null;
create index case_evidence_evidence on case_evidence (evidence_id) where unlinked_at is null;

grant select, insert, update on case_file, case_number, case_officer, case_event, case_evidence to zhizheng_app;
