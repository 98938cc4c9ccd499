-- Tell a listener of these jobs' ends; of those that have ended, at once. Needs: endings
-- ARGV: now, listener (16 characters), then keys.

even_when_full()
for i = 3, #ARGV do
  local key = ARGV[i]
  local listeners = call('HGET', P .. 'watchers', key) or ''
  if not string.find(listeners, ARGV[2], 1, true) then call('HSET', P .. 'watchers', key, listeners .. ARGV[2]) end
  local done = call('HGET', P .. 'done', key)
  if done then
    local _, _, attempts, _, size = struct.unpack('>ddI4I6H', string.sub(done, 2))
    local failures = history(key).failures
    local state = string.sub(done, 1, 1)
    tell(key, state, attempts, state == 's' and string.sub(done, 30 + size) or cmsgpack.pack(failures[#failures] or {}))
  end
end
