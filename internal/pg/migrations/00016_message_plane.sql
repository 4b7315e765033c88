-- +goose Up
-- devices: who they are by certificate.

-- A code that a person types into a device, once. 60 random bits for some days: a plain digest of it isn't guessed back in that time.
create table device_enrolment (
  device_id text primary key references device, -- a new code ends the one before
  code_hash bytea not null unique check (octet_length(code_hash) = 32),
  made_by text not null,
  expires_at timestamptz not null,
  used_by bytea check (octet_length(used_by) = 32) -- SHA-256 of the SubjectPublicKeyInfo that it let in
);

-- Certificates of the platform's authority. Never deleted; each has its leaf in the log.
create table device_certificate (
  serial text primary key, -- hex, as brokers show it
  device_id text not null references device,
  key_id bytea not null check (octet_length(key_id) = 32), -- SHA-256 of the SubjectPublicKeyInfo
  der bytea not null,
  issued_at timestamptz not null,
  not_after timestamptz not null,
  revoked_at timestamptz,
  revoke_reason text,
  check ((revoked_at is null) = (revoke_reason is null))
);
create index device_certificate_of on device_certificate (device_id, issued_at);
create index device_certificate_key on device_certificate (key_id, issued_at);
create index device_certificate_revoked on device_certificate (not_after) where revoked_at is not null;

grant select, insert, update, delete on device_enrolment to zhizheng_app;
grant select, insert, update on device_certificate to zhizheng_app;
