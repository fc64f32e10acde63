-- The platform team's `code-interpreter` (TPL7). A host has its image when it was built there; one without it says so.
insert into templates (id, team_id, name, type, disk_size_mb)
values ('tpl-code-interpreter', '00000000-0000-0000-0000-000000000000', 'code-interpreter', 'base', 20480);
