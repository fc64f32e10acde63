-- Of a base template `memory_mb` is what a create that names no memory gets; null: 512. A snapshot's is fixed, as before.
-- `code-interpreter` has 361 MB in use before anybody's program runs.
update templates set memory_mb = 1024 where id = 'tpl-code-interpreter';
