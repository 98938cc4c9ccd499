-- Jobs of one level that take turns by a key. Part of ties.lua.
-- The place of such a job is that of the level's first, or the one behind its key's last: so of each key one stands at each
-- place. Of each key with jobs that have not ended a level knows how many these are, and the place of the last.

local function first_place(prio, queue)
  local pack = call('LINDEX', ready_list(prio, queue), 0)
  local back = call('ZRANGE', back_set(prio, queue), 0, 0, 'WITHSCORES')
  local least = math.min(pack and struct.unpack('>I6', pack) or math.huge, tonumber(back[2] or math.huge))
  return least < math.huge and least or nil
end

-- Gives the place of a new job, `place` being its age.
local function take_turn(key, turn, place, prio, queue)
  local level = prio .. ':' .. queue
  local known = call('HGET', P .. 'turns:' .. level, turn)
  local n, last = 0, 0
  if known then n, last = struct.unpack('>I4I6', known) end
  local mine = math.max(first_place(prio, queue) or place, last + 1)
  call('HSET', P .. 'turns:' .. level, turn, struct.pack('>I4I6', n + 1, mine))
  call('HSET', P .. 'turn_of', key, struct.pack('>I4', #level) .. level .. turn)
  return mine
end

local function forget_turns(keys)
  if call('EXISTS', P .. 'turn_of') == 0 then return end
  for i, value in ipairs(many_read('HMGET', P .. 'turn_of', keys)) do
    if value then
      local size = struct.unpack('>I4', value)
      local turns, turn = P .. 'turns:' .. string.sub(value, 5, 4 + size), string.sub(value, 5 + size)
      local n, last = struct.unpack('>I4I6', call('HGET', turns, turn))
      if n > 1 then call('HSET', turns, turn, struct.pack('>I4I6', n - 1, last)) else call('HDEL', turns, turn) end
      call('HDEL', P .. 'turn_of', keys[i])
    end
  end
end
