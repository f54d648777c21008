/* SPDX-License-Identifier: BSD-3-Clause */
/* test_frames.c -- frame numbers: one range per device, back to addresses */
#define _GNU_SOURCE
#include "frames.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

#include "device.h"
#include "fixture.h"
#include "oom.h"
#include "step.h"

enum { RANGE_PAGES = 1 << FRAMES_RANGE_SHIFT };

static char somewhere[DAX_PAGE_SIZE * 2] __aligned(4096);

static void round_trip(void)
{
	dax_pfn_t pfn = 0;

	EQ(frames_register(somewhere, 2, &pfn), 0);
	EQ(pfn % RANGE_PAGES, 0);
	CHECK(pfn >= RANGE_PAGES);
	CHECK(pfn_to_kaddr(pfn) == somewhere);
	CHECK(pfn_to_kaddr(pfn + 1) == somewhere + DAX_PAGE_SIZE);
	CHECK(pfn_is_device(pfn) && pfn_is_device(pfn + RANGE_PAGES - 1));
	CHECK(pfn < UINT64_C(1) << 51);
	frames_unregister(pfn, 2);
}

static void host_memory(void)
{
	dax_pfn_t pfn = host_pfn(somewhere);

	CHECK(pfn_to_kaddr(pfn) == somewhere);
	CHECK(!pfn_is_device(pfn));
	CHECK(pfn & DAX_PFN_HOST);
	CHECK(pfn_to_kaddr(host_pfn(somewhere + DAX_PAGE_SIZE)) ==
	      somewhere + DAX_PAGE_SIZE);
}

static void reserved(void)
{
	CHECK(!pfn_is_device(0) && !pfn_is_device(DAX_ZERO_PFN) &&
	      !pfn_is_device(DAX_HUGE_ZERO_PFN + 511) &&
	      !pfn_is_device(RANGE_PAGES - 1));
}

/* A device of more than a TiB takes neighbouring ranges. */
static void many_ranges(void)
{
	dax_pfn_t first = 0, big = 0, behind = 0;
	uint64_t pages = 3 * (uint64_t)RANGE_PAGES - 5;

	MUST(!frames_register(somewhere, 1, &first));
	MUST(!frames_register(somewhere, pages, &big));
	MUST(!frames_register(somewhere, 1, &behind));
	EQ(big, first + RANGE_PAGES);
	EQ(behind, big + 3 * (uint64_t)RANGE_PAGES);
	CHECK((uintptr_t)pfn_to_kaddr(big + pages - 1) ==
	      (uintptr_t)somewhere + ((pages - 1) << DAX_PAGE_SHIFT));
	frames_unregister(first, 1);
	frames_unregister(big, pages);
	MUST(!frames_register(somewhere, 1, &first));	/* the place is free again */
	EQ(first, RANGE_PAGES);
	frames_unregister(first, 1);
	frames_unregister(behind, 1);
}

/* Exactly a TiB is one range, a page more is two. */
static void edges(void)
{
	dax_pfn_t one = 0, two = 0, last = 0;

	MUST(!frames_register(somewhere, RANGE_PAGES, &one));
	MUST(!frames_register(somewhere, (uint64_t)RANGE_PAGES + 1, &two));
	MUST(!frames_register(somewhere, 1, &last));
	EQ(two - one, RANGE_PAGES);
	EQ(last - two, 2 * (uint64_t)RANGE_PAGES);
	frames_unregister(one, RANGE_PAGES);
	frames_unregister(two, (uint64_t)RANGE_PAGES + 1);
	frames_unregister(last, 1);
}

static void full(void)
{
	static dax_pfn_t pfn[FRAMES_NR_RANGES];
	dax_pfn_t none = 77;
	unsigned int nr = 0;
	int ret;

	while (!(ret = frames_register(somewhere, 1, &pfn[nr])))
		nr++;
	EQ(ret, -ENFILE);
	EQ(nr, FRAMES_NR_RANGES - 1);
	CHECK(errormsg_has("too many devices"));
	frames_unregister(pfn[1000], 1);
	frames_unregister(pfn[1002], 1);
	EQ(frames_register(somewhere, (uint64_t)RANGE_PAGES + 1, &none), -ENFILE);
	EQ(none, 77);
	EQ(frames_register(somewhere, 1, &none), 0);
	EQ(none, pfn[1000]);
	pfn[1002] = 0;
	for (unsigned int i = 0; i < nr; i++)
		if (pfn[i])
			frames_unregister(pfn[i], 1);
}

static void devices(void)
{
	struct dax_device *a = new_device(1 << 20), *b = new_device(1 << 20);
	dax_pfn_t pfn_a = 0, pfn_b = 0;
	void *kaddr = NULL;

	EQ(dax_direct_access(a, 3, 1, &kaddr, &pfn_a), 1);
	CHECK(pfn_to_kaddr(pfn_a) == kaddr);
	EQ(dax_direct_access(b, 3, 1, &kaddr, &pfn_b), 1);
	CHECK(pfn_to_kaddr(pfn_b) == kaddr);
	CHECK(pfn_a != pfn_b);
	dax_device_put(a);
	a = new_device(1 << 20);
	EQ(dax_direct_access(a, 3, 1, NULL, &pfn_b), 1);
	EQ(pfn_b, pfn_a);
	dax_device_put(a);
	dax_device_put(b);
}

/* ---- who needs a frame ------------------------------------------------------ */

static struct frame_table table;

static void table_init(void)
{
	MUST(!frame_table_init(&table, 8));
}

static void owners(void)
{
	table_init();
	CHECK(!frame_is_shared(&table, 3));
	CHECK(frame_leave(&table, 3));		/* the only owner */
	frame_share(&table, 3);
	frame_share(&table, 3);
	CHECK(frame_is_shared(&table, 3) && !frame_is_pinned(&table, 3));
	CHECK(!frame_leave(&table, 3) && !frame_leave(&table, 3));
	CHECK(!frame_is_shared(&table, 3));
	CHECK(frame_leave(&table, 3));
	EQ(frame_word(&table, 3), 0);
	EQ(frame_word(&table, 2), 0);
	EQ(frame_word(&table, 4), 0);
	frame_table_fini(&table);
}

/* Whoever comes last, owner or pin, frees it, and only that one. */
static void pins(void)
{
	table_init();
	frame_pin(&table, 1);
	CHECK(frame_is_pinned(&table, 1) && !frame_is_shared(&table, 1));
	CHECK(!frame_unpin(&table, 1));		/* its owner is there */
	EQ(frame_word(&table, 1), 0);
	frame_pin(&table, 1);
	frame_pin(&table, 1);
	CHECK(!frame_leave(&table, 1));		/* somebody is inside */
	CHECK(!frame_is_shared(&table, 1));
	CHECK(!frame_unpin(&table, 1));
	CHECK(frame_is_pinned(&table, 1));
	CHECK(frame_unpin(&table, 1));
	EQ(frame_word(&table, 1), 0);
	frame_share(&table, 1);			/* both counts at once */
	frame_pin(&table, 1);
	CHECK(!frame_leave(&table, 1) && !frame_unpin(&table, 1));
	EQ(frame_word(&table, 1), 0);
	frame_table_fini(&table);
}

static void table_without_memory(void)
{
	struct frame_table none = { .nr = 77 };

	oom_fail_nth(1);
	EQ(frame_table_init(&none, 8), -ENOMEM);
	oom_clear();
	EQ(none.nr, 77);
	CHECK(errormsg_has("8 frames"));
}

/* An unpin between the look and the sleep is not slept through. */
static void no_lost_unpin(void)
{
	uint32_t seen;

	table_init();
	frame_pin(&table, 0);
	seen = frames_wait_begin();
	CHECK(frame_is_pinned(&table, 0));
	frame_unpin(&table, 0);
	EQ(frames_wait(seen), 0);		/* would hang */
	frames_wait_end();
	frame_table_fini(&table);
}

static void unpin_body(void *arg)
{
	(void)arg;
	frame_unpin(&table, 0);
}

static void wait_body(void *arg)
{
	bool busy = true;

	while (busy) {
		uint32_t seen = frames_wait_begin();

		busy = frame_is_pinned(&table, 0);
		if (busy)
			EQ(frames_wait(seen), 0);
		frames_wait_end();
	}
	*(bool *)arg = true;
}

static void sleeper_is_woken(void)
{
	struct step waiter, other;
	bool woken = false;

	table_init();
	frame_pin(&table, 0);
	dax_test.yield = step_yield;
	step_start(&waiter, wait_body, &woken, DAX_TEST_BEFORE_PIN_WAIT);
	CHECK(step_parked(&waiter));
	step_go(&waiter, STEP_NOWHERE);
	step_start(&other, unpin_body, NULL, STEP_NOWHERE);
	step_join(&other);
	step_join(&waiter);
	dax_test.yield = NULL;
	CHECK(woken);
	frame_table_fini(&table);
}

static void on_signal(int sig)
{
	(void)sig;
}

static void interrupted_body(void *arg)
{
	uint32_t seen = frames_wait_begin();

	*(_Atomic int *)arg = frames_wait(seen);
	frames_wait_end();
}

/* The signal may come before the sleep: it is sent until the sleep ends. */
static void a_signal_ends_the_wait(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	_Atomic int ret = 1;
	struct step waiter;

	sigaction(SIGUSR1, &action, NULL);
	step_start(&waiter, interrupted_body, &ret, STEP_NOWHERE);
	while (!step_finished(&waiter)) {
		pthread_kill(waiter.thread, SIGUSR1);
		sched_yield();
	}
	step_join(&waiter);
	EQ(ret, -EINTR);
}

/* Numbers lead to the words of their device. */
static void words_by_number(void)
{
	struct dax_device *a = new_device(1 << 20), *b = new_device(1 << 20);
	dax_pfn_t pfn = b->pfn_base + 5;

	pfn_pin(pfn, 2);
	CHECK(frame_is_pinned(&b->blocks.frames, 5) && frame_is_pinned(&b->blocks.frames, 6));
	CHECK(!pfn_is_shared(pfn));
	frame_share(&b->blocks.frames, 5);
	CHECK(pfn_is_shared(pfn) && pfn_may_move(pfn) && pfn_may_move(pfn + 1));
	CHECK(!pfn_may_move(pfn + 2));
	CHECK(!pfn_is_shared(a->pfn_base + 5) && !pfn_is_shared(pfn + 1));
	pfn_unpin(pfn, 2);
	CHECK(!frame_is_pinned(&b->blocks.frames, 5) && !frame_is_pinned(&b->blocks.frames, 6));
	CHECK(!frame_leave(&b->blocks.frames, 5));
	dax_device_put(a);
	dax_device_put(b);
}

int main(void)
{
	plan(14);
	run("a number and back", round_trip);
	run("host memory has numbers of its own", host_memory);
	run("reserved numbers are of no device", reserved);
	run("more than a TiB", many_ranges);
	run("exactly a TiB, and a page more", edges);
	run("all ranges in use", full);
	run("two devices never share a number", devices);
	run("owners are counted, the last one frees", owners);
	run("pins are counted, the last one frees what was left", pins);
	run("no address space for the counts", table_without_memory);
	run("an unpin before the sleep is seen", no_lost_unpin);
	run("an unpin wakes who sleeps", sleeper_is_woken);
	run("a signal ends the wait", a_signal_ends_the_wait);
	run("counts by frame number", words_by_number);
	return done();
}
