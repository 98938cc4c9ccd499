-- How many jobs there are in each state and queue, after doing what is due. Needs: sweep
-- ARGV: now. Returns {"state:queue", how many, …}.

sweep_if_allowed()
return call('HGETALL', P .. 'counts')
