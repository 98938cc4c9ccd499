-- Notes: a space's values by key, each behind the time until when it is there (8 bytes; 0: for good); its keys in their order.

local function note_of(value)
  if not value then return nil end
  local till = struct.unpack('>d', value)
  if till > 0 and till <= now then return nil end
  return string.sub(value, 9)
end

local function read_note(space, key) return note_of(call('HGET', P .. 'board:' .. space, key)) end

local function named(space, key) return struct.pack('>I4', #space) .. space .. key end

local function delete_note(space, key)
  call('HDEL', P .. 'board:' .. space, key)
  call('ZREM', P .. 'board_keys:' .. space, key)
  call('ZREM', P .. 'board_until', named(space, key))
end

-- `keep`: seconds, nil for good.
local function write_note(space, key, value, keep)
  call('HSET', P .. 'board:' .. space, key, struct.pack('>d', keep and now + keep or 0) .. value)
  call('ZADD', P .. 'board_keys:' .. space, 0, key)
  if keep then
    call('ZADD', P .. 'board_until', string.format('%.17g', now + keep), named(space, key))
  else
    call('ZREM', P .. 'board_until', named(space, key))
  end
end

-- Returns how many were over.
local function prune_notes(limit)
  local over = call('ZRANGEBYSCORE', P .. 'board_until', '-inf', string.format('%.17g', now), 'LIMIT', 0, limit)
  for _, name in ipairs(over) do
    local size = struct.unpack('>I4', name)
    delete_note(string.sub(name, 5, 4 + size), string.sub(name, 5 + size))
  end
  return #over
end
