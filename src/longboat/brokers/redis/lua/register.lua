-- A new consumer.
-- ARGV: now, consumer, name, queues (for people: JSON), lease, "every" or "", then the names of its tasks.

even_when_full()
call('HSETNX', P .. 'numbers', 'layout', LAYOUT)
call('HSET', P .. 'consumer:' .. ARGV[2], 'name', ARGV[3], 'queues', ARGV[4])
call('ZADD', P .. 'consumers', now + tonumber(ARGV[5]), ARGV[2])
if ARGV[6] ~= '' then call('SADD', P .. 'every', ARGV[2]) end
for i = 7, #ARGV do call('SADD', P .. 'tasks:' .. ARGV[2], ARGV[i]) end
