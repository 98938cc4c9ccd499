-- Notes of a space by their keys. Needs: notes
-- ARGV: now, space, then keys. Returns their values, false where there is none.

local found = {}
for i, value in ipairs(#ARGV > 2 and many_read('HMGET', P .. 'board:' .. ARGV[2], {unpack(ARGV, 3)}) or {}) do
  found[i] = note_of(value) or false
end
return found
