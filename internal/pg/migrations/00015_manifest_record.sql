-- +goose Up
-- A manifest's row is there at once, for its neighbours in the same commit; the record it names comes with the commit (see
-- evidence.RegisterUnseen). No foreign key: both are written by one function in one transaction, and records are never deleted.
alter table manifest drop constraint manifest_evidence_id_fkey;
