-- Housekeeping: do a part of what is due, and forget a part of what is over. Needs: sweep, housekeeping
-- ARGV: now. Returns in how many seconds something is due next ("" for never), 0 when there is more to do now.

even_when_full()
local following = sweep()
local pruned = prune(CHUNK)
write_counts()
tidy_counts()
return pruned >= CHUNK and '0' or in_seconds(following)
