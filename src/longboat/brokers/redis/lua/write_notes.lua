-- Write notes of a space, all of them or none. Needs: notes
-- ARGV: now, space, how: "all", "new" (only keys that are not there) or "old" (one note, if its value is the one that stands in
--   front, "v" and then the value, or "" for none); then for each note: key, "v" and then the value, or "" to delete it, and the
--   seconds that it is kept or "".
-- Returns the ordinals (from 0) of those written.

local space, how = ARGV[2], ARGV[3]
local at, written = 4, {}
if how == 'old' then
  local old = read_note(space, ARGV[5])
  if ARGV[4] ~= (old and 'v' .. old or '') then return {} end
  at = 5
end
for i = at, #ARGV, 3 do
  local key, value, keep = unpack(ARGV, i, i + 2)
  if how ~= 'new' or not read_note(space, key) then
    if value == '' then delete_note(space, key) else write_note(space, key, string.sub(value, 2), tonumber(keep)) end
    written[#written + 1] = (i - at) / 3
  end
end
return written
