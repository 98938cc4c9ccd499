-- What time alone changes. Part of unleased.lua.

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
  elseif name == 'g' then
    call('ZREM', set, key)
    ties().let_in(key)
  elseif name == 'f' then
    ties().tell_the_rest(key)
  elseif name == 'e' then
    expire(key)
  else
    local place, _, queue, info = unpark(key)
    call('ZREM', P .. 'expires', key)
    finish(key, 'd', place, queue, 0, info[3])
  end
end

local SETS = {d = 'delayed:', p = 'parked_due:', e = 'expires', g = 'gate_opens', f = 'untold_due'}

-- A bounded part of what is due; gives when something is due next (or nil).
local function do_due()
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
    left = (name == 'f' or name == 'g') and 0 or left - #due -- those may each let go of many
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
