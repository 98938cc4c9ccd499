-- Make dead jobs ready again. Needs: endings
-- ARGV: now, then keys. Returns those revived.

even_when_full()
local revived = {}
for i = 2, #ARGV do
  local key = ARGV[i]
  local done = call('HGET', P .. 'done', key)
  if done and string.sub(done, 1, 1) == 'd' then
    local _, _, _, place, size = struct.unpack('>ddI4I6H', string.sub(done, 2))
    local queue = string.sub(done, 30, 29 + size)
    local fields = message(key)
    local h = history(key)
    h.attempts, h.returns = 0, 0
    write_history(key, h)
    call('HDEL', P .. 'done', key)
    call('ZREM', P .. 'ended:dead:' .. queue, key)
    count('dead', queue, -1)
    to_ready(key, place, fields and fields.priority or '0', queue)
    revived[#revived + 1] = key
  end
end
write_counts()
return revived
