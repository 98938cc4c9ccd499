-- Jobs of one level that alternate by a fairness key. Part of constraints.lua.
-- The place of such a job is that of the level's first job, or the one behind the last job of its key. So each place holds one
-- job of each key. Of each key with jobs that have not ended a level knows how many there are, and the place of the last.

local function first_place(prio, queue)
  local pack = call('LINDEX', ready_list(prio, queue), 0)
  local back = call('ZRANGE', back_set(prio, queue), 0, 0, 'WITHSCORES')
  local least = math.min(pack and struct.unpack('>I6', pack) or math.huge, tonumber(back[2] or math.huge))
  return least < math.huge and least or nil
end

-- Returns the place of a new job; `place` is what it would be without the key.
local function fair_place(key, fairness_key, place, prio, queue)
  local level = prio .. ':' .. queue
  local known = call('HGET', P .. 'fairness:' .. level, fairness_key)
  local n, last = 0, 0
  if known and #known >= 10 then n, last = struct.unpack('>I4I6', known) end
  local mine = math.max(first_place(prio, queue) or place, last + 1)
  call('HSET', P .. 'fairness:' .. level, fairness_key, struct.pack('>I4I6', n + 1, mine))
  call('HSET', P .. 'fairness_of', key, struct.pack('>I4', #level) .. level .. fairness_key)
  return mine
end

local function forget_one(value)
  local size = struct.unpack('>I4', value)
  local set, fairness_key = P .. 'fairness:' .. string.sub(value, 5, 4 + size), string.sub(value, 5 + size)
  local n, last = struct.unpack('>I4I6', call('HGET', set, fairness_key))
  if n > 1 then
    call('HSET', set, fairness_key, struct.pack('>I4I6', n - 1, last))
  else
    call('HDEL', set, fairness_key)
  end
end

local function forget_fairness(keys)
  if call('EXISTS', P .. 'fairness_of') == 0 then return end
  for i, value in ipairs(many_read('HMGET', P .. 'fairness_of', keys)) do
    if value then
      pcall(forget_one, value) -- what cannot be read is only about turns
      call('HDEL', P .. 'fairness_of', keys[i])
    end
  end
end
