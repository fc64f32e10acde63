-- Nearly every transition changes an actor's path and since: with them in an index no update of the row is heap-only, and
-- every index of the table grows with every transition. Lists and the summary by state read the living actors instead.
drop index actors_by_state;
create index actors_alive on actors (kind, id) where not done;
