-- Give up what is held, or the place in the queue, or both, and let the next one in. Answers 1 if it was held, else 0.
-- ARGV[3]: 'gone' if a question of this claimant may arrive still: then nothing is granted to it any more.
local held = 0
local state, value = holding()
if value == 'sneck:' .. id then
  call('DEL', lock, about(id))
  state, held = 'free', 1
elseif state == 'shared' and call('ZREM', readers, id) == 1 then
  call('DEL', about(id))
  held = 1
  if call('EXISTS', readers) == 1 then
    settle()
  else
    call('DEL', lock)
    state = 'free'
  end
else
  call('ZREM', queue, id)
  call('DEL', about(id))
end
if ARGV[3] == 'gone' then
  redis.pcall('SET', family .. 'gone:' .. id, '', 'PX', 60000)
end
advance(state)
return held
