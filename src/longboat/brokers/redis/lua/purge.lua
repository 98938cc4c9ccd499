-- Delete jobs of one state and queue. Needs: unleased, housekeeping
-- ARGV: now, state, queue, limit. Returns how many are gone.

even_when_full()
local state, queue, limit = ARGV[2], ARGV[3], math.min(tonumber(ARGV[4]), CHUNK)
local keys = {}

local function from_levels()
  for _, prio in ipairs(call('ZRANGE', P .. 'levels:' .. queue, 0, -1)) do
    local back, list = back_set(prio, queue), ready_list(prio, queue)
    for _, key in ipairs(call('ZRANGE', back, 0, limit - #keys - 1)) do
      keys[#keys + 1] = key
      call('ZREM', back, key)
    end
    while #keys < limit do
      local pack = call('LPOP', list)
      if not pack then break end
      local at = 7
      while at < #pack and #keys < limit do
        local key = string.sub(pack, at, at + 11)
        if call('SREM', P .. 'gone', key) == 0 then keys[#keys + 1] = key end
        at = at + 12
      end
      if at < #pack then
        call('LPUSH', list, struct.pack('>I6', struct.unpack('>I6', pack) + (at - 7) / 12) .. string.sub(pack, at))
      end
    end
    if call('EXISTS', back, list) == 0 then call('ZREM', P .. 'levels:' .. queue, prio) end
    if #keys >= limit then break end
  end
end

if limit > 0 then
  if state == 'ready' then
    from_levels()
  elseif state == 'waiting' then
    keys = call('ZRANGE', P .. 'waiting:' .. queue, 0, limit - 1)
    for _, key in ipairs(keys) do unleased().stop_waiting(key) end
  else
    local set = P .. (state == 'scheduled' and 'delayed:' or 'ended:' .. state .. ':') .. queue
    keys = call('ZRANGE', set, 0, limit - 1)
    if #keys > 0 then call('ZREM', set, unpack(keys)) end
  end
  if state ~= 'waiting' then count(state, queue, -#keys) end -- stop_waiting counts by itself
  forget(keys)
end
write_counts()
tidy_counts()
return #keys
