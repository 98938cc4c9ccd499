-- Tell a listener how these jobs end; at once, if they have ended. Needs: endings
-- ARGV: now, listener (16 characters), then keys.

even_when_full()
for i = 3, #ARGV do
  local key = ARGV[i]
  local listeners = call('HGET', P .. 'watchers', key) or ''
  if not string.find(listeners, ARGV[2], 1, true) then call('HSET', P .. 'watchers', key, listeners .. ARGV[2]) end
  local done = call('HGET', P .. 'done', key)
  if done then
    local attempts, _, _, result = read_done(done)
    local failures, state = history(key).failures, string.sub(done, 1, 1)
    tell(key, state, attempts, state == 's' and result or cmsgpack.pack(failures[#failures] or {}))
  end
end
