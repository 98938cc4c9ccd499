-- Do what is due. Needs: sweep
-- ARGV: now. Returns in how many seconds something is due next, "" for never.

even_when_full()
local following = sweep()
write_counts()
return following and string.format('%.6f', math.max(0, following - now)) or ''
