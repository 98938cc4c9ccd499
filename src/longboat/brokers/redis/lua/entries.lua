-- Entries: the values of a namespace by key, each behind the time until which it is kept (8 bytes; 0: for good), and the keys in
-- order.

local function value_of(raw)
  if not raw then return nil end
  local till = struct.unpack('>d', raw)
  if till > 0 and till <= now then return nil end
  return string.sub(raw, 9)
end

local function read_entry(namespace, key) return value_of(call('HGET', P .. 'kv:' .. namespace, key)) end

-- Write an entry that is kept for `keep` seconds (nil: for good); a value of nil deletes it.
local function write_entry(namespace, key, value, keep)
  local named = struct.pack('>I4', #namespace) .. namespace .. key
  if value then
    call('HSET', P .. 'kv:' .. namespace, key, struct.pack('>d', keep and now + keep or 0) .. value)
    call('ZADD', P .. 'kv_keys:' .. namespace, 0, key)
  else
    call('HDEL', P .. 'kv:' .. namespace, key)
    call('ZREM', P .. 'kv_keys:' .. namespace, key)
  end
  if value and keep then
    call('ZADD', P .. 'kv_until', string.format('%.17g', now + keep), named)
  else
    call('ZREM', P .. 'kv_until', named)
  end
end

-- Returns how many were over.
local function prune_entries(limit)
  local over = call('ZRANGEBYSCORE', P .. 'kv_until', '-inf', string.format('%.17g', now), 'LIMIT', 0, limit)
  for _, named in ipairs(over) do
    local size = struct.unpack('>I4', named)
    write_entry(string.sub(named, 5, 4 + size), string.sub(named, 5 + size), nil)
  end
  return #over
end
