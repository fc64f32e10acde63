-- Orphans are kept with incarnation and since when; the next inventory notes them anew.
update hosts set orphans = '[]';
