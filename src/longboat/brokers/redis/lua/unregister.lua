-- End a consumer: what it holds comes back. Needs: unleased, housekeeping
-- ARGV: now, consumer, failure ("" if it left by itself: no attempt counts).
-- Returns how many jobs came back; 0 if there is no such consumer.

even_when_full()
call('DEL', P .. 'wake_consumer:' .. ARGV[2]) -- it may have been written after the consumer's end
if not call('ZSCORE', P .. 'consumers', ARGV[2]) then return 0 end
local came_back = unleased().end_consumer(ARGV[2], ARGV[3] ~= '' and cmsgpack.unpack(ARGV[3]) or nil)
write_counts()
tidy_counts()
return came_back
