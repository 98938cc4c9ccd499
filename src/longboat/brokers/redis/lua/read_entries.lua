-- Entries of a namespace by their keys. Needs: entries
-- ARGV: now, namespace, then keys. Returns their values, false where there is none.

local found = {}
for i, raw in ipairs(#ARGV > 2 and many_read('HMGET', P .. 'kv:' .. ARGV[2], {unpack(ARGV, 3)}) or {}) do
  found[i] = value_of(raw) or false
end
return found
