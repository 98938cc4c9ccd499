-- Make dead jobs ready again. Needs: endings
-- ARGV: now, then keys. Returns how many it looked at, all unless their messages are big, and the keys of those that are ready now.

even_when_full()
local retried, looked_at = {}, 0
for i = 2, #ARGV do
  if looked_at > 0 and bytes_read > PORTION then break end
  looked_at = looked_at + 1
  local key = ARGV[i]
  local done = call('HGET', P .. 'done', key)
  if done and string.sub(done, 1, 1) == 'd' then
    local _, place, queue = read_done(done)
    local fields, h = message(key), history(key)
    h.attempts, h.deaths = 0, 0
    write_history(key, h)
    call('HDEL', P .. 'done', key)
    call('ZREM', P .. 'ended:dead:' .. queue, key)
    count('dead', queue, -1)
    to_ready(key, place, fields and fields.priority or '0', queue)
    retried[#retried + 1] = key
  end
end
write_counts()
return {looked_at, retried}
