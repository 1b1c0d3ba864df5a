#!/usr/bin/env python3
"""Faults of Redis, of gateways and of the links in between, at random, while credentials are revoked at random: no
client sees more of them than the gateways promise. `schedules.py GATEWAY [SECONDS] [SEED]`"""

import random
import signal
import sys
import threading
import time

from fleet import Fleet
from processes import STALENESS, all_ready, all_refuse, end_all, until

TOKENS = 4_000
# So many are followed on each gateway that nobody has revoked.
FOLLOWED = 25
# How long what was revoked is followed: longer than its order may wait, and than anything may take to end it.
WATCHED = 20


class Schedule:
    def __init__(self, program, seed):
        # Of its own for each of the two, so that a seed is a schedule.
        self.random, self.orders = random.Random(seed), random.Random(~seed)
        self.fleet = Fleet(program, TOKENS)
        self.next, self.followed, self.left = 0, {}, []
        self.is_over, self.counts, self.refused = False, {}, 0
        while len(self.followed) < FOLLOWED:
            self.follow()
        self.fleet.all_are_in()

    def follow(self):
        self.followed[self.next] = self.fleet.follow(self.next)
        self.next += 1

    def revoke(self):
        """Revokes one after the other, on any gateway, while the faults go on."""
        while not self.is_over:
            time.sleep(self.orders.uniform(0.1, 1.0))
            gateway, n = self.orders.choice(self.fleet.gateways), self.orders.choice(list(self.followed))
            self.left.append((time.time() + WATCHED, n, self.followed.pop(n)))
            self.follow()
            # An answer may wait for ten seconds.
            threading.Thread(target=self.order, args=(gateway, n), daemon=True).start()
            while self.left and self.left[0][0] < time.time():
                self.fleet.check()
                for client in self.left.pop(0)[2]:
                    self.fleet.recorder.leave(client)

    def order(self, gateway, n):
        self.refused += self.fleet.revoke(gateway, n) == "none"

    # Faults of Redis.

    def redis_stands_still(self, how_long):
        self.fleet.redis.process.send_signal(signal.SIGSTOP)
        time.sleep(how_long)
        self.fleet.redis.process.send_signal(signal.SIGCONT)

    def redis_is_away(self, how_long):
        self.fleet.redis.kill()
        time.sleep(how_long)
        self.fleet.redis.start()

    # Those in which it loses something.

    def redis_is_flushed(self, _):
        assert self.fleet.redis.says("FLUSHALL") == "+OK"

    def redis_lost_its_file(self, how_long):
        self.fleet.redis.kill()
        self.fleet.redis.forget_file()
        time.sleep(how_long)
        self.fleet.redis.start()

    def redis_fails_over(self, how_long):
        replica = self.fleet.replica()
        # What is acknowledged now, the replica has not.
        time.sleep(min(how_long, 0.5))
        self.fleet.fails_over_to(replica)

    # Faults of one gateway.

    def link_is_cut(self, how_long):
        self.link(how_long, lambda link: link.cut())

    def link_stalls(self, how_long):
        self.link(how_long, lambda link: link.stall())

    def link_is_slow(self, how_long):
        self.link(how_long, lambda link: link.slow(0.2, 0.02))

    def link(self, how_long, fault):
        link = self.random.choice(self.fleet.links)
        fault(link)
        time.sleep(how_long)
        link.heal()

    def gateway_stands_still(self, how_long):
        process = self.random.choice(self.fleet.gateways).process
        process.send_signal(signal.SIGSTOP)
        time.sleep(how_long)
        process.send_signal(signal.SIGCONT)

    def gateway_is_killed(self, how_long):
        gateway = self.random.choice(self.fleet.gateways)
        gateway.kill()
        time.sleep(how_long)
        gateway.start_anew(with_data=True)

    def gateway_is_another_machine(self, how_long):
        gateway = self.random.choice(self.fleet.gateways)
        gateway.kill()
        # What it answered at the last is noted by now.
        time.sleep(0.2)
        # What it alone knew is gone with its folder: nobody was told that others have it.
        for n, (by, _, holds) in list(self.fleet.revoked.items()):
            if by is gateway and holds == "here":
                self.fleet.perhaps.add(n)
                self.fleet.revoked.pop(n)
        time.sleep(how_long)
        gateway.start_anew(with_data=False)

    def run(self, seconds):
        threading.Thread(target=self.revoke, daemon=True).start()
        ends = time.monotonic() + seconds
        losses = [self.redis_is_flushed, self.redis_lost_its_file, self.redis_fails_over]
        of_redis = [self.redis_stands_still, self.redis_is_away]
        of_one = [self.link_is_cut, self.link_stalls, self.link_is_slow, self.gateway_stands_still,
                  self.gateway_is_killed, self.gateway_is_another_machine]
        cut_off = [self.link_is_cut, self.link_stalls]
        self.random.shuffle(cut_off)
        while time.monotonic() < ends:
            how_long, kind = None, self.random.random()
            if cut_off:
                # What others revoke meanwhile would be seen to pass for longer than it may.
                all_ready(self.fleet.gateways)
                faults, how_long = [cut_off.pop()], [2 * STALENESS]
            elif kind < 0.25:
                # Those who know what is lost must be there to say so.
                all_ready(self.fleet.gateways)
                time.sleep(1)
                faults = [self.random.choice(losses)]
            elif kind < 0.6:
                faults = [self.random.choice(of_redis + of_one)]
            else:
                # Two at once, in whatever order.
                faults = [self.random.choice(of_redis), self.random.choice(of_one)]
            how_long = how_long or [self.random.choice([self.random.uniform(0.05, 2), self.random.uniform(2, 12)])
                                    for _ in faults]
            said = [f"{fault.__name__} {seconds:.1f}" for fault, seconds in zip(faults, how_long)]
            print(f"   {', '.join(said)}", flush=True)
            running = [threading.Thread(target=fault, args=(seconds,)) for fault, seconds in zip(faults, how_long)]
            for thread in running:
                thread.start()
            for thread in running:
                thread.join()
            for fault in faults:
                self.counts[fault.__name__] = self.counts.get(fault.__name__, 0) + 1
            time.sleep(self.random.uniform(0, 3))
            broken = self.fleet.check()
            assert not broken, broken
        self.is_over = True
        self.settle()

    def settle(self):
        fleet = self.fleet
        all_ready(fleet.gateways)
        fleet.all_are_in()
        # Orders may still be answered meanwhile.
        for n in list(fleet.revoked):
            all_refuse(fleet.gateways, n)
        for n in list(fleet.perhaps):
            until(f"they agree on t{n}", lambda: len({gateway.page(n) for gateway in fleet.gateways}) == 1)
        broken = fleet.check()
        assert not broken, broken
        for_all = sum(holds == "all" for _, _, holds in fleet.revoked.values())
        print(f"passed: {sum(self.counts.values())} faults; {len(fleet.revoked)} revocations, {for_all} for all; "
              f"{self.refused} refused, {len(fleet.perhaps)} not answered\n   {fleet.told_of_frames()}")
        print(f"   {self.counts}")


if __name__ == "__main__":
    try:
        seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 40
        seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 32)
        print(f"-- faults at random for {seconds:.0f} s: seed {seed}", flush=True)
        Schedule(sys.argv[1], seed).run(seconds)
    finally:
        end_all()
