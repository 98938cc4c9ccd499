-- Begins every script. KEYS[1]: the prefix of all keys, with the hash tag. ARGV[1]: the time to use, "" for the server's.
-- A job's key is its id as 12 bytes (keys.py). A place is a number that grows with each put. Jobs of one queue and priority
-- are ordered by place, then by key: jobs put together whose keys grow may share the place of the first.
local P, call = KEYS[1], redis.call
local CHUNK = 1000 -- values in one command: Lua's stack is limited

local now
if ARGV[1] == '' then
  local time = call('TIME')
  now = time[1] + time[2] / 1000000
else
  now = tonumber(ARGV[1])
end

-- Redis lets a script that has written go on when the memory is full. A script that begins with a harmless deletion can
-- therefore always run, so that a full server can be emptied. Only scripts that store new jobs do not call this.
local function even_when_full() call('DEL', P .. 'nothing') end

local changes = {}
local function count(state, queue, n)
  local field = state .. ':' .. queue
  changes[field] = (changes[field] or 0) + n
end

local when_ended = nil -- called with a field of `counts` that has grown large (endings.lua)
local before_counts = nil -- what is left for the end of a script (limits.lua)

-- Each call costs more than a microsecond: fields of 0 stay until `tidy_counts` (housekeeping.lua).
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

-- The first of n numbers that were never used before. With the first of all, a store is marked with its layout (layout.py).
local function numbers(what, n)
  local last = call('HINCRBY', P .. 'numbers', what, n)
  if last == n then call('HSETNX', P .. 'numbers', 'layout', LAYOUT) end
  return last - n + 1
end

-- Call this for one job. False if what is kept of the job cannot be read; errors of the server are raised.
local function readable(f, ...)
  local told = {pcall(f, ...)}
  if not told[1] and not string.match(type(told[2]) == 'table' and told[2].err or told[2], '^user_script:%d+:') then error(told[2]) end
  return unpack(told)
end

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
