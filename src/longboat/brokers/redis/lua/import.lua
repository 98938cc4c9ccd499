-- Store jobs that were exported elsewhere. Needs: endings
-- ARGV: now, name, then for each: key, message, queue, priority, "d" for a dead one or "", delay, expires ("" for never), history
--   or "", fairness key, limits (see constrained.lua). No key stands twice.
-- Returns nil for a name that is known, else the keys that were known: for these nothing changed.

local name = ARGV[2]
if call('SET', P .. 'client:' .. name, 1, 'EX', FORGOTTEN_AFTER, 'GET') then return nil end

local known = {}
for i = 3, #ARGV, 10 do
  local key, raw, queue, prio, dead, delay, expires, past, fairness_key, limits = unpack(ARGV, i, i + 9)
  if call('ZREM', P .. 'away', key) == 1 then call('ZREM', P .. 'remembered', key) end -- it comes back
  if constraints().remembered(key) or call('HSETNX', P .. 'jobs', key, raw) == 0 then
    known[#known + 1] = key
  else
    local place = numbers('place', 1)
    if past ~= '' then call('HSET', P .. 'history', key, past) end
    if dead == 'd' then
      if limits ~= '' then call('HSET', P .. 'limits', key, limits) end
      finish(key, 'd', place, queue, 0)
    else
      if expires ~= '' then
        call('ZADD', P .. 'expires', now + tonumber(expires), key)
        alarm('e', now + tonumber(expires))
      end
      constraints().place_constrained(key, '', fairness_key, limits, place, prio, queue, tonumber(delay))
    end
  end
end
write_counts()
return known
