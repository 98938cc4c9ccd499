-- Jobs that wait for something else than their time. Part of constraints.lua.

local function to_waiting(key, place, prio, queue)
  call('HSET', P .. 'placed', key, placed(place, prio, queue))
  call('ZADD', P .. 'waiting:' .. queue, place, key)
  count('waiting', queue, 1)
end

-- The job no longer waits. Returns its place, priority and queue.
local function from_waiting(key)
  local place, prio, queue = read_placed(call('HGET', P .. 'placed', key))
  call('HDEL', P .. 'placed', key)
  call('ZREM', P .. 'waiting:' .. queue, key)
  count('waiting', queue, -1)
  return place, prio, queue
end
