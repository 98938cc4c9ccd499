-- Parked jobs. Part of unleased.lua.

local function wake_consumer(consumer, why)
  call('LPUSH', P .. 'wake_consumer:' .. consumer, why)
  call('LTRIM', P .. 'wake_consumer:' .. consumer, 0, 9)
end

local function parked_set(queue, task) return P .. 'parked_by:' .. #queue .. ':' .. queue .. ':' .. task end

-- Take a parked job from where it waits. Returns its place, priority and queue, and {task, due, the failure it would die of}.
local function unpark(key)
  local info = cmsgpack.unpack(call('HGET', P .. 'parked_info', key))
  local place, prio, queue = constraints().from_waiting(key)
  local parked = parked_set(queue, info[1])
  call('HDEL', P .. 'parked_info', key)
  call('ZREM', P .. 'parked_due:' .. queue, key)
  call('ZREM', parked, struct.pack('>I6', place) .. key)
  if call('EXISTS', parked) == 0 then call('SREM', P .. 'parked_tasks:' .. queue, info[1]) end
  return place, prio, queue, info
end

-- What is kept of a job that waits cannot be read: it dies, in the queue that its message names.
local function bury(key)
  local fields = message(key)
  local queue = fields and fields.queue or ''
  for state, set in pairs({waiting = 'waiting:', scheduled = 'delayed:'}) do
    if call('ZREM', P .. set .. queue, key) == 1 then count(state, queue, -1) end
  end
  for _, name in ipairs({'placed', 'parked_info', 'pending', 'blocked'}) do call('HDEL', P .. name, key) end
  call('ZREM', P .. 'parked_due:' .. queue, key)
  call('ZREM', P .. 'expires', key)
  finish(key, 'd', 0, queue, 0, {UNDECODABLE, UNREADABLE_TEXT, '', 0, now, ''})
end

local function park(key, place, prio, queue, info)
  local task, due = info[1], info[2]
  call('HSET', P .. 'parked_info', key, cmsgpack.pack(info))
  constraints().to_waiting(key, place, prio, queue)
  call('ZADD', P .. 'parked_due:' .. queue, due, key)
  call('ZADD', parked_set(queue, task), -prio, struct.pack('>I6', place) .. key)
  call('SADD', P .. 'parked_tasks:' .. queue, task)
  alarm('p:' .. queue, due)
end

-- Park a job that was leased, and wake those who know its task and may be waiting.
local function park_again(key, place, prio, queue, patience, why)
  come_back(key, place, prio, queue, 0, 0, false)
  if call('ZREM', back_set(prio, queue), key) == 0 then return end -- it had expired
  count('ready', queue, -1)
  local fields = message(key)
  local task = fields and fields.task or ''
  park(key, place, prio, queue, {task, now + patience, why})
  for _, each in ipairs(call('ZRANGE', P .. 'consumers', 0, -1)) do
    if call('SISMEMBER', P .. 'tasks:' .. each, task) == 1 then wake_consumer(each, 'parked') end
  end
end
