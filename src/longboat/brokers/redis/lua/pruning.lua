-- Forget what is over: ended jobs, the ids of forgotten ones, notes. Needs: endings, notes
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
  if pruned < limit then pruned = pruned + prune_notes(math.min(CHUNK, limit - pruned)) end
  ties().tend_gates()
  local old = call('ZRANGEBYSCORE', P .. 'remembered', '-inf', now, 'LIMIT', 0, math.min(CHUNK, limit - pruned))
  if #old > 0 then call('ZREM', P .. 'remembered', unpack(old)) end
  return pruned + #old
end
