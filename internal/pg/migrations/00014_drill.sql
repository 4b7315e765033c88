-- +goose Up
-- The self-proof drill works on a copy of the log in temporary tables.
-- +goose StatementBegin
do $$
begin
  execute format('grant temporary on database %I to zhizheng_app', current_database());
end $$;
-- +goose StatementEnd
