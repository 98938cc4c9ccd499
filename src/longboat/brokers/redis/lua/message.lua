-- What the server reads of messages.

-- The fields of a message that matter here. The payload is skipped: not every cmsgpack knows binary data.
local function read_message(raw)
  local fields = {}
  local at, _, id, task = cmsgpack.unpack_limit(raw, 3, 1)
  local width = ({[196] = 1, [197] = 2, [198] = 4})[string.byte(raw, at + 1)]
  at = at + 1 + width + struct.unpack('>I' .. width, raw, at + 2)
  _, fields.queue, fields.priority, fields.delay, _, fields.keep = cmsgpack.unpack_limit(raw, 5, at)
  fields.id, fields.task = id, task
  return fields
end

local bytes_read = 0 -- of messages: a script that is asked for very many stops after PORTION

-- {id, task, queue, priority, delay, keep}, or nil for what is not a message.
local function message(key)
  local raw = call('HGET', P .. 'jobs', key)
  bytes_read = bytes_read + #(raw or '')
  local good, fields = pcall(read_message, raw or '')
  if good and type(fields.task) == 'string' and type(fields.queue) == 'string' and type(fields.priority) == 'number' then
    fields.priority = string.format('%d', fields.priority)
    return fields
  end
  return nil
end
