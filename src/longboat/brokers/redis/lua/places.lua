-- Where jobs wait. New ones stand in packs (the first one's place in 6 bytes, then keys of consecutive places) in the list of
-- their level, a level being a queue's jobs of one priority; those that came back stand by their places in a sorted set beside it.

local function ready_list(prio, queue) return P .. 'ready:' .. prio .. ':' .. queue end
local function back_set(prio, queue) return P .. 'back:' .. prio .. ':' .. queue end

-- One consumer that waits for this queue looks; it rings on while there is more. A ring that nobody hears waits for who comes.
local function ring(queue)
  if call('EXISTS', P .. 'wake:' .. queue) == 0 then call('LPUSH', P .. 'wake:' .. queue, 1) end
  local every = call('EXISTS', P .. 'every', P .. 'every_but')
  if every == 0 then return end
  if call('EXISTS', P .. 'every') == 1 and call('EXISTS', P .. 'wake') == 0 then call('LPUSH', P .. 'wake', 1) end
  if call('EXISTS', P .. 'every_but') == 0 then return end
  for _, but in ipairs(call('SMEMBERS', P .. 'every_but')) do
    local bell = P .. 'wake_but:' .. but
    if call('SISMEMBER', P .. 'paused:' .. but, queue) == 0 and call('EXISTS', bell) == 0 then call('LPUSH', bell, 1) end
  end
end

-- Time alone will change something: at the latest then somebody has to look. If it is something of a queue, and nothing is due
-- earlier, who waits for that queue has to wake up sooner than it thought.
local function alarm(name, at, queue)
  local first = queue and call('ZRANGE', P .. 'alarms', 0, 0, 'WITHSCORES')
  call('ZADD', P .. 'alarms', 'LT', at, name)
  if first and (not first[1] or at < tonumber(first[2])) then ring(queue) end
end

local function to_ready(key, place, prio, queue)
  call('ZADD', back_set(prio, queue), place, key)
  call('ZADD', P .. 'levels:' .. queue, -prio, prio)
  count('ready', queue, 1)
  ring(queue)
end

-- What is kept of a job that waits elsewhere than among the ready ones.
local function placed(place, prio, queue) return struct.pack('>I6', place) .. prio .. ':' .. queue end

local function read_placed(value)
  local prio, queue = string.match(string.sub(value, 7), '^(%-?%d+):(.*)$')
  return struct.unpack('>I6', value), prio, queue
end

local function to_delayed(key, place, prio, queue, due)
  call('HSET', P .. 'placed', key, placed(place, prio, queue))
  call('ZADD', P .. 'delayed:' .. queue, due, key)
  count('scheduled', queue, 1)
  alarm('d:' .. queue, due, queue)
end
