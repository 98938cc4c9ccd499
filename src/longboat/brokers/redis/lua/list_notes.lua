-- Notes of a space in the order of their keys. Needs: notes
-- ARGV: now, space, after, before ("" for the end), limit.
-- Returns {key, value, …} and the key behind which to go on, "" if that was all. Big ones come a few at a time.

local space, after, before, limit = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local ENOUGH = 8000000 -- bytes in one answer
local found, bytes = {}, 0
local till = before == '' and '+' or '(' .. before
while true do
  local keys = call('ZRANGEBYLEX', P .. 'board_keys:' .. space, after == '' and '-' or '(' .. after, till, 'LIMIT', 0, 100)
  if #keys == 0 then return {found, ''} end
  for _, key in ipairs(keys) do
    if #found >= 2 * limit or bytes >= ENOUGH then return {found, after} end
    local value = read_note(space, key)
    if value then
      found[#found + 1] = key
      found[#found + 1] = value
      bytes = bytes + #value
    end
    after = key
  end
end
