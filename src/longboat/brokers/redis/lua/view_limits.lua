-- Limits as people look at them. Needs: sweep
-- ARGV: now, then their keys. Returns for each: false, or {leases that count, jobs blocked, starts, when it opens or "", ids of
--   at most ten leased jobs}.

sweep_if_allowed()
local found = {}
for i = 2, #ARGV do found[i - 1] = constraints().view_limit(ARGV[i]) end
return found
