-- How many jobs there are in each state and queue, after doing what is due. Needs: sweep
-- ARGV: now. Returns {"state:queue", how many, …}.

even_when_full()
sweep()
write_counts()
return call('HGETALL', P .. 'counts')
