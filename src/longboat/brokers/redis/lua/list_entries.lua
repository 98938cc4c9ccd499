-- Entries of a namespace in the order of their keys. Needs: entries
-- ARGV: now, namespace, after, before ("" for the end), limit.
-- Returns {key, value, …} and the key after which to go on, "" if that was all. Big values come a few at a time.

local namespace, after, before, limit = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local ENOUGH = 8000000 -- bytes in one answer
local found, bytes = {}, 0
local till = before == '' and '+' or '(' .. before
while true do
  local from = after == '' and '-' or '(' .. after
  local keys = call('ZRANGEBYLEX', P .. 'kv_keys:' .. namespace, from, till, 'LIMIT', 0, 100)
  if #keys == 0 then return {found, ''} end
  for _, key in ipairs(keys) do
    if #found >= 2 * limit or bytes >= ENOUGH then return {found, after} end
    local value = read_entry(namespace, key)
    if value then
      found[#found + 1] = key
      found[#found + 1] = value
      bytes = bytes + #value
    end
    after = key
  end
end
