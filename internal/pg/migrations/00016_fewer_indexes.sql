-- +goose Up
-- Indexes that promise nothing, on rows that come by the thousand.

-- An object's key ends with the record's id, so no two records share one.
alter table evidence
  drop constraint evidence_object_key_key,
  add constraint evidence_object_its_own check (split_part(object_key, '/', -1) = id);

-- An event is read with its item's; log_key keeps it from being there twice.
alter table custody drop constraint custody_pkey;
alter table custody add primary key (evidence_id, at, id);
drop index custody_of;
