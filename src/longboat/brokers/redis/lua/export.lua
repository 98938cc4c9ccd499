-- Take jobs out, and write them down under a name. Needs: sweep, housekeeping
-- ARGV: now, name, bytes that they may have, then keys.
-- Returns for each job taken, or for those written down before under this name: key, message, queue, priority, "d" for a dead
-- one or "", delay, expires ("" for never), history or "". All of it in a row.

even_when_full()
local name, room = ARGV[2], tonumber(ARGV[3])
local exported = P .. 'exported:' .. name
if call('EXISTS', exported) == 1 then return call('LRANGE', exported, 0, -1) end
sweep()
call('ZREMRANGEBYSCORE', P .. 'away', '-inf', now)

local function has_relatives(key)
  return any_constraints() and (call('HEXISTS', P .. 'after', key) == 1 or constraints().has_children(key))
end

local levels = {}

local function take(key)
  local done = call('HGET', P .. 'done', key)
  if done then
    if string.sub(done, 1, 1) ~= 'd' then return nil end
    local _, _, queue = read_done(done)
    local fields = message(key)
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
  if raw and not has_relatives(key) then
    local past = call('HGET', P .. 'history', key) or ''
    room = room - #raw - #past
    if room < 0 and taken > 0 then break end
    local queue, prio, dead, delay, expires = take(key)
    if queue then
      call('RPUSH', exported, key, raw, queue, prio, dead, delay, expires, past)
      forget({key})
      if string.byte(key) >= 128 then call('ZADD', P .. 'away', now + FORGOTTEN_AFTER, key) end
      taken = taken + 1
    end
  end
end

-- Remove packs of which nothing is left, so that no claim has to skip them.
for list in pairs(levels) do
  local pack = call('LINDEX', list, 0)
  while pack do
    local keys = {}
    for at = 7, #pack, 12 do keys[#keys + 1] = string.sub(pack, at, at + 11) end
    for _, gone in ipairs(call('SMISMEMBER', P .. 'gone', unpack(keys))) do
      if gone == 0 then keys = nil break end
    end
    if not keys then break end
    call('LPOP', list)
    call('SREM', P .. 'gone', unpack(keys))
    pack = call('LINDEX', list, 0)
  end
end
if taken > 0 then call('ZADD', P .. 'exports', 0, name) end
write_counts()
tidy_counts()
return call('LRANGE', exported, 0, -1)
