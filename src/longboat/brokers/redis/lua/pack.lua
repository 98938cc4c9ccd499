-- Take jobs out, and write them down under a name. Needs: sweep, tidy
-- ARGV: now, name, bytes that they may have, then keys.
-- Returns for each job taken, or for those written down before under this name: key, message, queue, priority, "d" for a dead
-- one or "", delay, expires ("" for never), history or "". All of it in a row.

even_when_full()
local name, room = ARGV[2], tonumber(ARGV[3])
local parcels = P .. 'transit:' .. name
if call('EXISTS', parcels) == 1 then return call('LRANGE', parcels, 0, -1) end
sweep()
call('ZREMRANGEBYSCORE', P .. 'away', '-inf', now)

local function tied_to_others(key)
  return any_ties() and (call('HEXISTS', P .. 'after', key) == 1 or ties().has_followers(key))
end

local levels = {}

local function parcel(key)
  local done = call('HGET', P .. 'done', key)
  if done then
    if string.sub(done, 1, 1) ~= 'd' then return nil end
    local _, _, _, _, size = struct.unpack('>ddI4I6H', string.sub(done, 2))
    local queue, fields = string.sub(done, 30, 29 + size), message(key)
    call('ZREM', P .. 'ended:dead:' .. queue, key)
    count('dead', queue, -1)
    return queue, fields and fields.priority or '0', 'd', '0', ''
  end
  local state, _, prio, queue = unleased().locate(key)
  if state == 'running' or not queue then return nil end
  local delay = state == 'scheduled' and tonumber(call('ZSCORE', P .. 'delayed:' .. queue, key)) - now or 0
  local expires = call('ZSCORE', P .. 'expires', key)
  unleased().withdraw(key, state, prio, queue)
  if state == 'ready' then levels[ready_list(prio, queue)] = true end
  return queue, prio, '', string.format('%.6f', math.max(0, delay)), expires and string.format('%.6f', expires - now) or ''
end

local taken = 0
for i = 4, #ARGV do
  local key = ARGV[i]
  local raw = call('HGET', P .. 'jobs', key)
  if raw and not tied_to_others(key) then
    local past = call('HGET', P .. 'history', key) or ''
    room = room - #raw - #past
    if room < 0 and taken > 0 then break end
    local queue, prio, dead, delay, expires = parcel(key)
    if queue then
      call('RPUSH', parcels, key, raw, queue, prio, dead, delay, expires, past)
      forget({key})
      if string.byte(key) >= 128 then call('ZADD', P .. 'away', now + FORGOTTEN_AFTER, key) end
      taken = taken + 1
    end
  end
end

-- Packs of which nothing is left need not wait for a claim that passes them over.
for list in pairs(levels) do
  local first = call('LINDEX', list, 0)
  while first do
    local keys = {}
    for at = 7, #first, 12 do keys[#keys + 1] = string.sub(first, at, at + 11) end
    for _, gone in ipairs(call('SMISMEMBER', P .. 'gone', unpack(keys))) do
      if gone == 0 then keys = nil break end
    end
    if not keys then break end
    call('LPOP', list)
    call('SREM', P .. 'gone', unpack(keys))
    first = call('LINDEX', list, 0)
  end
end
if taken > 0 then call('ZADD', P .. 'transits', 0, name) end
write_counts()
tidy_counts()
return call('LRANGE', parcels, 0, -1)
