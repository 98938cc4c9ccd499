-- Begins every script. KEYS[1]: the prefix of all keys, with the hash tag. ARGV[1]: the time to go by, "" for the server's.
-- A key is a job's id as 12 bytes (keys.py). Jobs of one queue and priority stand in the order of their places, numbers that
-- grow with each put, and then of their keys: what is put in a row with growing keys may share the place of its first.
local P, call = KEYS[1], redis.call
local CHUNK = 1000 -- values handed to one command: Lua's stack has an end

local now
if ARGV[1] == '' then
  local time = call('TIME')
  now = time[1] + time[2] / 1000000
else
  now = tonumber(ARGV[1])
end

-- A script that has written goes on when the memory is full; one that begins with a harmless deletion can therefore always
-- hand out, settle and renew, so that a full server can be emptied. Only what stores new jobs does not call this.
local function even_when_full() call('DEL', P .. 'nothing') end

local changes = {}
local function count(state, queue, n)
  local field = state .. ':' .. queue
  changes[field] = (changes[field] or 0) + n
end

local when_ended = nil -- told of a queue's number of jobs ended in some way (endings.lua)
local before_counts = nil -- what is left for the end of a script (gates.lua)

-- Each call costs more than a microsecond: fields of 0 stay until `tidy_counts` (tidy.lua).
local write_counts
write_counts = function()
  if before_counts then before_counts() end
  local written = changes
  changes = {}
  for field, n in pairs(written) do
    if n ~= 0 then
      local total = call('HINCRBY', P .. 'counts', field, n)
      if n > 0 and total > ENDED_KEPT / 2 and when_ended then when_ended(field) end
    end
  end
  if next(changes) then write_counts() end
end

-- The first of n numbers that nobody had before.
local function numbers(what, n) return call('HINCRBY', P .. 'numbers', what, n) - n + 1 end

-- A command with very many values, in as many calls as it takes.
local function many(command, key, values)
  for i = 1, #values, CHUNK do call(command, key, unpack(values, i, math.min(#values, i + CHUNK - 1))) end
end

local function many_read(command, key, values)
  if #values <= CHUNK then return call(command, key, unpack(values)) end
  local found = {}
  for i = 1, #values, CHUNK do
    for _, value in ipairs(call(command, key, unpack(values, i, math.min(#values, i + CHUNK - 1)))) do found[#found + 1] = value end
  end
  return found
end
