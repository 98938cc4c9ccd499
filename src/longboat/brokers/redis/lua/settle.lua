-- Record what became of leases, and which have started. Needs: sweep
-- ARGV: now, consumer, groups; then for each group a letter and what belongs to it:
--   N  n, claims (6 bytes each, in a row; or 6 for all), n keys: these have started
--   S  queue, keep, n, claims, n keys, results, then so many results: 1 for all of them, or n: these succeeded
--   O  letter, key, claim, number, failure: one job: R retried after `number` seconds, D dead, U dead uncharged, C cancelled,
--      L released after `number` seconds, P parked for `number` seconds, G as L, with another message and other limits: in place
--      of the failure, the message's length in 4 bytes, the message, the limits (see limits.lua)
-- Returns the ordinals (from 0, over all that is named) of leases that are not this consumer's; nothing was changed for them.

-- Its first write takes something away: it works when the memory is full, too.
local sub = string.sub
local consumer = ARGV[2]
local held = P .. 'held:' .. consumer
local started, cancelling = P .. 'started:' .. consumer, P .. 'cancelling:' .. consumer
local there = call('EXISTS', started, cancelling, P .. 'history', P .. 'deadlines', P .. 'watchers', P .. 'limits', P .. 'after',
  P .. 'edges', P .. 'fairness_of')
local watched = there > 0 and call('EXISTS', P .. 'watchers') == 1
local special = there > (watched and 1 or 0) -- anything but somebody who waits for results
local refused, ordinal = {}, 0

-- Of n keys from ARGV[from] on, those whose leases are this consumer's. Returns them, what is kept of each, and which of n it was.
local function ours(from, n, claims)
  local keys, values, which, count_ours = {}, {}, {}, 0
  local alone = #claims == 6 and claims -- they are all of one claim
  for start = 1, n, CHUNK do
    local last = math.min(n, start + CHUNK - 1)
    local found = call('HMGET', held, unpack(ARGV, from + start - 1, from + last - 1))
    for at = start, last do
      local value = found[at - start + 1]
      if value and sub(value, 1, 6) == (alone or sub(claims, 6 * at - 5, 6 * at)) then
        count_ours = count_ours + 1
        keys[count_ours], values[count_ours], which[count_ours] = ARGV[from + at - 1], value, at
      else
        refused[#refused + 1] = ordinal + at - 1
      end
    end
  end
  ordinal = ordinal + n
  return keys, values, which
end

local function leave(keys)
  many('HDEL', held, keys)
  if not special then return end
  many('SREM', started, keys)
  many('SREM', cancelling, keys)
  many('HDEL', P .. 'deadlines', keys)
end

-- One more attempt was made of each. Returns the number of attempts of those that have a history.
local function count_attempts(keys)
  local attempts = {}
  if not special or call('EXISTS', P .. 'history') == 0 then return attempts end
  for i, raw in ipairs(many_read('HMGET', P .. 'history', keys)) do
    if raw then
      local h = history(keys[i])
      h.attempts = h.attempts + 1
      write_history(keys[i], h)
      attempts[i] = h.attempts
    end
  end
  return attempts
end

local function succeed(queue, keep, keys, values, which, results, alike)
  count('running', queue, -#keys)
  local attempts = count_attempts(keys)
  if watched then
    for i, key in ipairs(keys) do tell(key, 's', attempts[i] or 1, ARGV[alike and results or results + which[i] - 1]) end
  end
  if special and any_constraints() then
    constraints().leave_limits(keys)
    if call('EXISTS', P .. 'edges') == 1 then
      for i, key in ipairs(keys) do constraints().tell_children(key, ARGV[alike and results or results + which[i] - 1]) end
    end
    constraints().forget_constraints(keys)
  end
  if keep <= 0 then return forget(keys, true) end
  local first = numbers('ended', #keys)
  local head, tail = 's' .. struct.pack('>d', now), struct.pack('>H', #queue) .. queue
  local once = struct.pack('>I4', 1)
  local done, numbered, before, entry = {}, {}, nil, nil
  for i = 1, #keys do
    local value = values[i]
    if value ~= before or attempts[i] or not alike then -- equal ones are made once
      local tries = attempts[i] and struct.pack('>I4', attempts[i]) or once
      entry = head .. sub(value, 13, 20) .. tries .. sub(value, 7, 12) .. tail
        .. ARGV[alike and results or results + which[i] - 1]
      before = not attempts[i] and value or nil
    end
    done[2 * i - 1] = keys[i]
    done[2 * i] = entry
    numbered[2 * i - 1] = first + i - 1
    numbered[2 * i] = keys[i]
  end
  many('HSET', P .. 'done', done)
  many('ZADD', P .. 'ended:succeeded:' .. queue, numbered)
  forget_later('s', queue, first, first + #keys - 1, keep)
  count('succeeded', queue, #keys)
end

-- As core/transitions.py decides.
local function settle_one(letter, key, claim, number, why)
  local value = call('HGET', held, key)
  ordinal = ordinal + 1
  if not value or sub(value, 1, 6) ~= claim then
    refused[#refused + 1] = ordinal - 1
    return
  end
  call('HDEL', held, key)
  call('SREM', started, key)
  local is_cancelling = call('SREM', cancelling, key) == 1
  local _, place, since, prio, queue = read_held(value)
  count('running', queue, -1)
  if any_constraints() then constraints().leave_limits({key}) end
  local h = history(key)
  if letter == 'G' then
    local n = struct.unpack('>I4', why)
    local limits = sub(why, n + 5)
    call('HSET', P .. 'jobs', key, sub(why, 5, n + 4))
    if limits ~= '' then call('HSET', P .. 'limits', key, limits) else call('HDEL', P .. 'limits', key) end
    why = ''
  end
  why = why ~= '' and cmsgpack.unpack(why) or nil
  if letter == 'R' or letter == 'D' then
    h.attempts = h.attempts + 1
    call('HDEL', P .. 'deadlines', key)
  end
  if letter == 'D' or letter == 'U' or letter == 'C' then
    finish(key, letter == 'C' and 'c' or 'd', place, queue, since, why, h)
  elseif letter == 'P' and not is_cancelling then
    unleased().park_again(key, place, prio, queue, number, why)
  else
    if letter == 'R' then
      h.failures[#h.failures + 1] = why
      h.deaths = 0
      write_history(key, h)
    end
    come_back(key, place, prio, queue, since, number, is_cancelling, h)
  end
end

local at = 4
for _ = 1, tonumber(ARGV[3]) do
  local letter = ARGV[at]
  if letter == 'O' then
    settle_one(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4]), ARGV[at + 5])
    at = at + 6
  elseif letter == 'N' then
    local n = tonumber(ARGV[at + 1])
    local keys = ours(at + 3, n, ARGV[at + 2])
    even_when_full()
    special = true
    many('SADD', started, keys)
    at = at + 3 + n
  else
    local queue, keep, n = ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    local keys, values, which = ours(at + 5, n, ARGV[at + 4])
    local results = at + 5 + n
    local different = tonumber(ARGV[results])
    if #keys > 0 then
      leave(keys)
      succeed(queue, keep, keys, values, which, results + 1, different == 1)
    end
    at = results + 1 + different
  end
end
write_counts()
return refused
