-- Write entries of a namespace, all of them or none. Needs: entries
-- ARGV: now, namespace, how: "all", "new" (only keys that are absent) or "old" (one entry, if its present value is the one that
--   comes first, "v" and then the value, or "" for none); then for each entry: key, "v" and then the value, or "" to delete it,
--   and the seconds that it is kept or "".
-- Returns the ordinals (from 0) of those written.

local namespace, how = ARGV[2], ARGV[3]
local at, written = 4, {}
if how == 'old' then
  local old = read_entry(namespace, ARGV[5])
  if ARGV[4] ~= (old and 'v' .. old or '') then return {} end
  at = 5
end
for i = at, #ARGV, 3 do
  local key, value, keep = unpack(ARGV, i, i + 2)
  if how ~= 'new' or not read_entry(namespace, key) then
    write_entry(namespace, key, value ~= '' and string.sub(value, 2) or nil, tonumber(keep))
    written[#written + 1] = (i - at) / 3
  end
end
call('HSETNX', P .. 'numbers', 'layout', LAYOUT)
return written
