-- Forget what is over. Needs: housekeeping
-- ARGV: now, limit. Returns how many are gone.

even_when_full()
local pruned = prune(tonumber(ARGV[2]))
write_counts()
tidy_counts()
return pruned
