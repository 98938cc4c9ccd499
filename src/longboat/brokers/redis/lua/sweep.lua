-- What time alone changes: silent consumers are over, delays end, jobs expire, parked ones die. Needs returns.lua.

local function read_parked(key)
  local info = cmsgpack.unpack(call('HGET', P .. 'parked_info', key))
  local place, prio, queue = read_placed(call('HGET', P .. 'placed', key))
  return info, place, prio, queue
end

-- Take a parked job from where it waits; gives its place, priority and queue, and what it would die of.
local function unpark(key)
  local info, place, prio, queue = read_parked(key)
  local shelf = #queue .. ':' .. queue .. ':' .. info[1]
  call('HDEL', P .. 'parked_info', key)
  call('HDEL', P .. 'placed', key)
  call('ZREM', P .. 'parked:' .. queue, key)
  call('ZREM', P .. 'parked_due:' .. queue, key)
  call('ZREM', P .. 'parked_by:' .. shelf, struct.pack('>I6', place) .. key)
  if call('EXISTS', P .. 'parked_by:' .. shelf) == 0 then call('SREM', P .. 'parked_tasks:' .. queue, info[1]) end
  count('waiting', queue, -1)
  return place, prio, queue, info
end

local function park(key, place, prio, queue, task, due, why)
  call('HSET', P .. 'parked_info', key, cmsgpack.pack({task, due, why}))
  call('HSET', P .. 'placed', key, placed(place, prio, queue))
  call('ZADD', P .. 'parked:' .. queue, place, key)
  call('ZADD', P .. 'parked_due:' .. queue, due, key)
  call('ZADD', P .. 'parked_by:' .. #queue .. ':' .. queue .. ':' .. task, -prio, struct.pack('>I6', place) .. key)
  call('SADD', P .. 'parked_tasks:' .. queue, task)
  alarm('p:' .. queue, due)
  count('waiting', queue, 1)
end

-- Where a job is that has not ended: 'waiting', 'scheduled', 'running' or 'ready', then place, priority, queue and, for a
-- running one, its consumer and the lease. A queue of nil: nobody can tell.
local function locate(key)
  local at = call('HGET', P .. 'placed', key)
  if at then
    local place, prio, queue = read_placed(at)
    return call('HEXISTS', P .. 'parked_info', key) == 1 and 'waiting' or 'scheduled', place, prio, queue
  end
  for _, consumer in ipairs(call('ZRANGE', P .. 'consumers', 0, -1)) do
    local held = call('HGET', P .. 'held:' .. consumer, key)
    if held then
      local _, place, since, prio, queue = read_held(held)
      return 'running', place, prio, queue, consumer, since
    end
  end
  local fields = message(key)
  if not fields then return 'ready', 0, '0', nil end
  local place = call('ZSCORE', back_set(fields.priority, fields.queue), key)
  return 'ready', tonumber(place or 0), fields.priority, fields.queue
end

-- Take a job that is nobody's from where it waits. One in a pack stays there, and is skipped when its turn comes.
local function withdraw(key, state, prio, queue)
  if state == 'waiting' then
    unpark(key)
  else
    if state == 'scheduled' then
      call('ZREM', P .. 'delayed:' .. queue, key)
      call('HDEL', P .. 'placed', key)
    elseif call('ZREM', back_set(prio, queue), key) == 0 then
      call('SADD', P .. 'gone', key)
    end
    count(state, queue, -1)
  end
  call('ZREM', P .. 'expires', key)
end

local function expire(key)
  local state, place, prio, queue = locate(key)
  withdraw(key, state, prio, queue)
  finish(key, 'c', place, queue, 0, failure(EXPIRED, 'it expired before it started'))
end

local function sweep_one(name, set, key)
  if name == 'd' then
    local place, prio, queue = read_placed(call('HGET', P .. 'placed', key))
    call('ZREM', set, key)
    call('HDEL', P .. 'placed', key)
    count('scheduled', queue, -1)
    to_ready(key, place, prio, queue)
  elseif name == 'e' then
    expire(key)
  else
    local place, _, queue, info = unpark(key)
    call('ZREM', P .. 'expires', key)
    finish(key, 'd', place, queue, 0, info[3])
  end
end

local SETS = {d = 'delayed:', p = 'parked_due:', e = 'expires'}

-- Do what is due, a bounded part of it; gives when something is due next (or nil).
local function sweep()
  local silent = call('ZRANGE', P .. 'consumers', 0, 0, 'WITHSCORES')
  while silent[1] and tonumber(silent[2]) <= now do
    even_when_full()
    local name, lease = unpack(call('HMGET', P .. 'consumer:' .. silent[1], 'name', 'lease'))
    name = (name and name ~= '') and name or silent[1]
    end_consumer(silent[1], failure(LOST, string.format('%s was not heard of for %g s', name, lease or 0), 0, name))
    silent = call('ZRANGE', P .. 'consumers', 0, 0, 'WITHSCORES')
  end
  local left = CHUNK
  local function next_alarm()
    local first = call('ZRANGE', P .. 'alarms', 0, 0, 'WITHSCORES')
    if first[1] and tonumber(first[2]) <= now then
      even_when_full()
      local expiry = call('ZSCORE', P .. 'alarms', 'e')
      if expiry and tonumber(expiry) <= now then return {'e', expiry} end -- what has expired is nothing else any more
    end
    return first
  end
  local first = next_alarm()
  while first[1] and tonumber(first[2]) <= now and left > 0 do
    local name = string.sub(first[1], 1, 1)
    local set = P .. SETS[name] .. string.sub(first[1], 3)
    local due = call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, left)
    for _, key in ipairs(due) do sweep_one(name, set, key) end
    left = left - #due
    local following = call('ZRANGE', set, 0, 0, 'WITHSCORES')
    if following[1] then
      call('ZADD', P .. 'alarms', following[2], first[1])
    else
      call('ZREM', P .. 'alarms', first[1])
    end
    first = next_alarm()
  end
  local following = math.min(tonumber(first[2] or math.huge), tonumber(silent[2] or math.huge))
  return following < math.huge and following or nil
end
