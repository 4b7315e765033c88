-- +goose Up
-- evidence: how long what is kept stays, whether it came late, and what becomes of it at the end.

alter table evidence
  add column category text not null default 'ordinary' check (category in ('ordinary', 'case', 'complaint', 'obstruction', 'major')),
  add column category_reason text not null default '',
  add column permanent boolean not null default false,    -- once so, for good; retain_until is then how far the store's lock reaches
  add column locked_until timestamptz,                    -- what the store has confirmed; it follows retain_until
  add column container_end timestamptz,                   -- end of the recording by the container, as claimed
  add column recorded_end timestamptz generated always as (coalesce(container_end, case when modified_at <= registered_at then modified_at end)) stored,
  add column late_reason text not null default '',
  drop constraint evidence_status_check,
  add constraint evidence_status_check check (status in ('pending', 'sealed', 'damaged', 'deleted'));
update evidence set locked_until = retain_until where sealed_at is not null;
update evidence set container_end = recorded_at + (media ->> 'duration_ms')::bigint * interval '1 millisecond'
where media ? 'created_at' and media ? 'duration_ms' and recorded_at <> registered_at;
-- What was ever linked to a case stays for good; the job extends the locks, with a leaf each.
update evidence set category = 'case', category_reason = '案件证据', permanent = true where id in (select evidence_id from case_evidence);
alter table evidence
  add constraint evidence_lock_follows check (locked_until is null or locked_until <= retain_until or retain_until is null),
  add constraint evidence_deleted_was_not_permanent check (not (status = 'deleted' and permanent));
create index evidence_unlocked on evidence (id) where locked_until < retain_until;
create index evidence_expiring on evidence (retain_until) where status = 'sealed' and not permanent;

-- What is over its retention: proposed, then decided (a leaf), then gone (another).
create table evidence_deletion (
  evidence_id text primary key references evidence,
  proposed_at timestamptz not null,
  due_at timestamptz not null check (due_at >= proposed_at), -- until then anyone responsible may keep it
  decided_at timestamptz,
  gone_at timestamptz,
  check (gone_at is null or decided_at is not null)
);
create index evidence_deletion_due on evidence_deletion (due_at, evidence_id) where gone_at is null;
grant select, insert, update, delete on evidence_deletion to zhizheng_app;

-- A kind of alarm is the code's word.
alter table audit_alarm drop constraint audit_alarm_kind_check, add constraint audit_alarm_kind_check check (kind ~ '^[a-z-]+$');
