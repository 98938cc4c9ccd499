-- Store jobs that were packed elsewhere. Needs: endings
-- ARGV: now, name, then for each: key, message, queue, priority, "d" for a dead one or "", delay, expires ("" for never), history
--   or "", turn, gates (see ties.lua). No key stands twice.
-- Returns nil for a name that is known, else the keys that were known, which changed nothing.

local name = ARGV[2]
if call('SET', P .. 'client:' .. name, 1, 'EX', FORGOTTEN_AFTER, 'GET') then return nil end

local known = {}
for i = 3, #ARGV, 10 do
  local key, raw, queue, prio, dead, delay, expires, past, turn, gates = unpack(ARGV, i, i + 9)
  if call('ZREM', P .. 'away', key) == 1 then call('ZREM', P .. 'remembered', key) end -- it comes back
  local remembered = string.byte(key) >= 128 and call('ZSCORE', P .. 'remembered', key)
  if (remembered and tonumber(remembered) > now) or call('HSETNX', P .. 'jobs', key, raw) == 0 then
    known[#known + 1] = key
  else
    local place = numbers('place', 1)
    if past ~= '' then call('HSET', P .. 'history', key, past) end
    if dead == 'd' then
      if gates ~= '' then call('HSET', P .. 'gates', key, gates) end
      local h, number = history(key), numbers('ended', 1)
      call('HSET', P .. 'done', key, ended('d', 0, h.attempts, place, queue, ''))
      call('ZADD', P .. 'ended:dead:' .. queue, number, key)
      term('d', queue, number, number, DEAD_KEPT)
      count('dead', queue, 1)
      tell(key, 'd', h.attempts, cmsgpack.pack(h.failures[#h.failures] or {}))
    else
      if expires ~= '' then
        call('ZADD', P .. 'expires', now + tonumber(expires), key)
        alarm('e', now + tonumber(expires))
      end
      ties().place(key, '', turn, gates, place, prio, queue, tonumber(delay))
    end
  end
end
write_counts()
return known
