-- Forget what is over: ended jobs, the ids of forgotten ones, entries. Needs: endings, entries

-- Returns how many are gone, at most `limit`.
local function prune(limit)
  local pruned = 0
  while pruned < limit do
    local first = call('ZRANGEBYSCORE', P .. 'terms', '-inf', now, 'LIMIT', 0, 1)[1]
    if not first then break end
    local from, last = struct.unpack('>I6I6', first)
    local state, queue = ENDED_NAMES[string.sub(first, 13, 13)], string.sub(first, 14)
    local set = P .. 'ended:' .. state .. ':' .. queue
    local keys = call('ZRANGEBYSCORE', set, from, last, 'LIMIT', 0, math.min(CHUNK, limit - pruned))
    if #keys > 0 then
      call('ZREM', set, unpack(keys))
      forget(keys)
      count(state, queue, -#keys)
      pruned = pruned + #keys
    end
    if call('ZCOUNT', set, from, last) == 0 then call('ZREM', P .. 'terms', first) end
  end
  pruned = pruned + prune_entries(math.min(CHUNK, limit - pruned))
  constraints().tidy_limits()
  local old = call('ZRANGEBYSCORE', P .. 'remembered', '-inf', now, 'LIMIT', 0, math.min(CHUNK, limit - pruned))
  if #old > 0 then call('ZREM', P .. 'remembered', unpack(old)) end
  return pruned + #old
end

-- Counts of 0 are forgotten, with wake-ups for nothing. A wake-up that was lost with its consumer is made again.
local function tidy_counts()
  local all = call('HGETALL', P .. 'counts')
  for i = 1, #all, 2 do
    local state, queue = string.match(all[i], '^(%a+):(.*)$')
    if all[i + 1] == '0' then
      call('HDEL', P .. 'counts', all[i])
      if call('EXISTS', P .. 'levels:' .. queue) == 0 then call('DEL', P .. 'wake:' .. queue) end
    elseif state == 'ready' then
      wake(queue)
    end
  end
end
