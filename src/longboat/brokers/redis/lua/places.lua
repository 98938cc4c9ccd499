-- Where jobs wait. A level is a queue's jobs of one priority. New jobs of a level stand in a list of packs (the place of the
-- first job in 6 bytes, then keys of consecutive places). Jobs that came back stand by place in a sorted set beside it.

local function ready_list(prio, queue) return P .. 'ready:' .. prio .. ':' .. queue end
local function back_set(prio, queue) return P .. 'back:' .. prio .. ':' .. queue end

-- Wake one consumer that waits for this queue; it wakes another while there is more. A wake-up stays until somebody takes it.
local function wake(queue)
  if call('EXISTS', P .. 'wake:' .. queue) == 0 then call('LPUSH', P .. 'wake:' .. queue, 1) end
  local every = call('EXISTS', P .. 'every', P .. 'every_but')
  if every == 0 then return end
  if call('EXISTS', P .. 'every') == 1 and call('EXISTS', P .. 'wake') == 0 then call('LPUSH', P .. 'wake', 1) end
  if call('EXISTS', P .. 'every_but') == 0 then return end
  for _, but in ipairs(call('SMEMBERS', P .. 'every_but')) do
    local list = P .. 'wake_but:' .. but
    if call('SISMEMBER', P .. 'paused:' .. but, queue) == 0 and call('EXISTS', list) == 0 then call('LPUSH', list, 1) end
  end
end

-- Something is due at this time. If it concerns a queue and nothing is due earlier, consumers that wait for the queue must
-- wake up sooner than they planned.
local function alarm(name, at, queue)
  local first = queue and call('ZRANGE', P .. 'alarms', 0, 0, 'WITHSCORES')
  call('ZADD', P .. 'alarms', 'LT', at, name)
  if first and (not first[1] or at < tonumber(first[2])) then wake(queue) end
end

local function to_ready(key, place, prio, queue)
  call('ZADD', back_set(prio, queue), place, key)
  call('ZADD', P .. 'levels:' .. queue, -prio, prio)
  count('ready', queue, 1)
  wake(queue)
end

-- What is kept of a scheduled or waiting job.
local function placed(place, prio, queue) return struct.pack('>I6', place) .. prio .. ':' .. queue end

local function read_placed(value)
  local prio, queue = string.match(string.sub(value, 7), '^(%-?%d+):(.*)$')
  return struct.unpack('>I6', value), prio, queue
end

-- `delay`: seconds; at most 0 for a job that is ready at once.
local function to_queue(key, place, prio, queue, delay)
  if delay <= 0 then return to_ready(key, place, prio, queue) end
  call('HSET', P .. 'placed', key, placed(place, prio, queue))
  call('ZADD', P .. 'delayed:' .. queue, now + delay, key)
  count('scheduled', queue, 1)
  alarm('d:' .. queue, now + delay, queue)
end
