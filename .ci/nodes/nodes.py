#!/usr/bin/env python3
"""What is revoked on one gateway is revoked on all that share a Redis, whatever becomes of the Redis, of a gateway or
of the link in between, and what their clients see of it: `nodes.py GATEWAY [long]`"""

import signal
import sys
import threading
import time

from fleet import Fleet
from processes import KEYS, STALENESS, all_ready, all_refuse, end_all, until

MANY = 10_000
OTHERS = range(100)
WRITE = """
local last = 0
local about = redis.call('XINFO', 'STREAM', KEYS[1])
for at = 1, #about, 2 do
  if about[at] == 'last-generated-id' then last = tonumber(string.match(about[at + 1], '^%d+')) end
end
for at, n in ipairs(ARGV) do
  local entry = '1 credential t' .. n .. ' 9007199254740991'
  redis.call('XADD', KEYS[1], string.format('%.0f-0', last + at), 'e', entry)
  redis.call('HSET', KEYS[2], 'credential t' .. n, entry)
end
return redis.status_reply('OK')
"""
IS_LONG = "long" in sys.argv[2:]


def says(what):
    print(f"-- {what}", flush=True)


class Faults:
    def __init__(self, program):
        self.fleet = Fleet(program, len(OTHERS) + MANY)
        self.a, self.b, self.c = self.gateways = self.fleet.gateways
        self.next = len(OTHERS) - 1
        # Nobody revokes these.
        for n in range(10):
            self.fleet.follow(n)
        self.fleet.all_are_in()

    @property
    def redis(self):
        return self.fleet.redis

    def one(self):
        """A credential that is followed on each gateway."""
        n, self.next = self.next, self.next - 1
        clients = self.fleet.follow(n)
        until("it is in", lambda: all(client.is_in() for client in clients))
        return n, clients

    def revoke(self, gateway, n):
        """For all, at whatever time this takes a gateway that is busy."""
        until(f"{gateway.name} revokes t{n} for all", lambda: self.fleet.revoke(gateway, n) == "all")

    def settled(self, begun=None):
        all_ready(self.gateways)
        self.fleet.all_are_in()
        for n in self.fleet.revoked:
            all_refuse(self.gateways, n)
        if begun:
            self.fleet.what_they_saw(begun)
        broken = self.fleet.check()
        assert not broken, broken

    def ends(self, since, gateway=None):
        """Of streams that nobody revoked."""
        return [how for client in self.fleet.clients(gateway) for at, how in client.ends if at >= since]

    def begins(self, what):
        says(what)
        return time.time()

    def revoked_on_one(self):
        says("revoked on one, ended on all")
        late = []
        for gateway in self.gateways:
            n, clients = self.one()
            asked = time.time()
            assert self.fleet.revoke(gateway, n) == "all"
            until("all have ended", lambda: all(client.ends for client in clients))
            late += [client.ends[0][0] - asked for client in clients]
            assert all(client.ends[0][1] == "revoked" for client in clients)
        late.sort()
        print(f"   {len(late)} streams: median {late[len(late) // 2] * 1000:.1f} ms, the last {late[-1] * 1000:.1f} ms")
        self.settled()

    def fresh(self, gateway, refused, beside=lambda: None):
        """A gateway without its folder lets nobody in by what is revoked, while it starts neither."""
        gateway.kill()
        beside()
        gateway.start_anew(with_data=False)
        statuses = []
        until("it is ready", lambda: statuses.append(gateway.page(refused)) or gateway.is_ready())
        assert 200 not in statuses, statuses
        assert gateway.page(refused) == 401

    def starts(self):
        begun = self.begins("a gateway that starts knows what was revoked before")
        n, _ = self.one()
        self.fresh(self.c, n, lambda: self.fleet.revoke(self.a, n))
        self.settled(begun)

    def stands_still(self, seconds):
        begun = self.begins(f"a Redis that stands still for {seconds} s")
        (n, _), (on_time, _) = self.one(), self.one()
        self.revoke(self.c, on_time)
        asked = time.time()
        self.redis.process.send_signal(signal.SIGSTOP)
        answers = []
        if seconds > STALENESS:
            # It holds here, and the answer, which waits, says that others do not know.
            waiting = threading.Thread(target=lambda: answers.append(self.fleet.revoke(self.b, n)))
            waiting.start()
            until("it is refused here", lambda: self.b.page(n) == 401)
            until("nobody is let in", lambda: {gateway.page(0) for gateway in self.gateways} == {503})
            took = time.time() - asked
            assert took < STALENESS + 3, took
            assert not self.b.is_ready()
        time.sleep(max(0, seconds - (time.time() - asked)))
        self.redis.process.send_signal(signal.SIGCONT)
        if seconds > STALENESS:
            waiting.join()
            # It waits for ten seconds.
            assert answers == ["here"] if seconds > 15 else answers in (["all"], ["here"]), answers
        self.settled(begun)
        assert set(self.ends(begun)) == ({"unavailable"} if seconds > STALENESS else set())

    def restarted(self):
        begun = self.begins("killed, and restarted with what it had written")
        n, _ = self.one()
        self.revoke(self.a, n)
        self.redis.kill()
        self.redis.start()
        self.settled(begun)

    def restarted_without_file(self):
        begun = self.begins("killed, and restarted without its file")
        n, _ = self.one()
        self.revoke(self.a, n)
        self.redis.kill()
        self.redis.forget_file()
        self.redis.start()
        self.settled(begun)

    def flushed(self):
        begun = self.begins("flushed: nothing is good again, on a fresh gateway neither")
        n = next(iter(self.fleet.revoked))
        self.fresh(self.c, n, lambda: self.redis.says("FLUSHALL"))
        self.settled(begun)
        assert "which is written to it" in self.a.said(), "it is said why"

    def emptied(self):
        begun = self.begins("its stream is emptied by hand: what is acknowledged after that is heard all the same")
        n, _ = self.one()
        assert self.redis.says("XTRIM", f"{KEYS}:log", "MAXLEN", "0").startswith(":")
        self.revoke(self.a, n)
        self.settled(begun)

    def key_is_gone(self):
        for key in "state", "log", "life":
            begun = self.begins(f"its key `{key}` is gone: a fresh gateway does not go by what is left")
            n = next(iter(self.fleet.revoked))
            assert self.redis.says("DEL", f"{KEYS}:{key}") == ":1"
            self.fresh(self.c, n)
            self.settled(begun)

    def failed_over(self):
        begun = self.begins("a replica that lacks something takes the place of the primary")
        n, _ = self.one()
        replica = self.fleet.replica()
        # Acknowledged, and not replicated.
        self.revoke(self.a, n)
        self.fleet.fails_over_to(replica)
        self.settled(begun)

    def cut_off(self, fault):
        begun = self.begins(f"one gateway alone is cut off from Redis, its link {fault.__name__}")
        (n, _), (here, _) = self.one(), self.one()
        link = self.fleet.links[2]
        fault(link)
        self.revoke(self.a, n)
        acknowledged = time.time()
        assert self.c.page(n) == 200, "it still vouches, and has not heard"
        waiting = threading.Thread(target=self.fleet.revoke, args=(self.c, here))
        waiting.start()
        until("it is refused here", lambda: self.c.page(here) == 401)
        until("it lets nobody in", lambda: self.c.page(0) == 503)
        assert time.time() - acknowledged < STALENESS + 3
        assert self.a.page(0) == self.b.page(0) == 200 and not self.c.is_ready()
        time.sleep(1)
        link.heal()
        waiting.join()
        self.settled(begun)
        assert not self.ends(begun, self.a) + self.ends(begun, self.b), "the clients of others notice nothing"

    def slow(self):
        begun = self.begins("a slow link of one gateway: 200 ms each way, and one of a hundred pieces a second later")
        self.fleet.links[1].slow(0.2, 0.01)
        late = []
        for gateway in self.gateways:
            n, clients = self.one()
            asked = time.time()
            assert self.fleet.revoke(gateway, n) == "all"
            until("all have ended", lambda: all(client.ends for client in clients))
            late.append(max(client.ends[0][0] - asked for client in clients))
        print(f"   ended everywhere after {', '.join(f'{one:.2f}' for one in late)} s, revoked on a, b and c")
        time.sleep(5 * STALENESS if IS_LONG else STALENESS)
        self.fleet.links[1].heal()
        self.settled(begun)
        assert not self.ends(begun), "nobody notices it"

    def killed_while_it_applies(self):
        begun = self.begins(f"a gateway is killed while it applies {MANY:,} revocations, and started again")
        followed = [client for n in (0, MANY // 2, MANY - 1) for client in self.fleet.follow(len(OTHERS) + n)]
        until("they are in", lambda: all(client.is_in() for client in followed))
        writing = threading.Thread(target=self.write_many)
        writing.start()
        first, last = len(OTHERS), len(OTHERS) + MANY - 1
        until("it applies them", lambda: self.c.page(first) == 401)
        self.c.kill()
        was_in_the_middle = writing.is_alive()
        self.c.start_anew(with_data=False)
        statuses = []
        until("it is ready", lambda: statuses.append(self.c.page(first)) or self.c.is_ready())
        assert 200 not in statuses, statuses
        writing.join()
        all_refuse(self.gateways, last)
        for gateway in self.gateways:
            assert all(gateway.page(first + n) == 401 for n in range(0, MANY, 97))
        print(f"   it was {'in the middle of them' if was_in_the_middle else 'at the end'}")
        self.settled(begun)

    def write_many(self):
        """As another node would: in their order, some at once."""
        for begin in range(len(OTHERS), len(OTHERS) + MANY, 50):
            some = range(begin, begin + 50)
            self.fleet.perhaps |= set(some)
            assert self.redis.says("EVAL", WRITE, 2, f"{KEYS}:log", f"{KEYS}:state", *some) == "+OK"
            time.sleep(0.005)


def main(program):
    faults = Faults(program)
    faults.revoked_on_one()
    faults.starts()
    for seconds in (1, 10, 60) if IS_LONG else (1, 8):
        faults.stands_still(seconds)
    faults.restarted()
    faults.restarted_without_file()
    faults.flushed()
    faults.emptied()
    faults.key_is_gone()
    faults.failed_over()
    faults.cut_off(type(faults.fleet.links[0]).cut)
    faults.cut_off(type(faults.fleet.links[0]).stall)
    faults.slow()
    faults.killed_while_it_applies()
    for gateway in faults.gateways:
        gateway.process.terminate()
        assert gateway.process.wait(30) == 0
    print(f"passed: {len(faults.fleet.recorder.clients)} clients, {faults.fleet.told_of_frames()}")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    finally:
        end_all()
