/* SPDX-License-Identifier: BSD-3-Clause */
/* test_frames.c -- frame numbers: one range per device, back to addresses */
#include "frames.h"

#include <errno.h>
#include <string.h>

#include "fixture.h"

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

int main(void)
{
	plan(7);
	run("a number and back", round_trip);
	run("host memory has numbers of its own", host_memory);
	run("reserved numbers are of no device", reserved);
	run("more than a TiB", many_ranges);
	run("exactly a TiB, and a page more", edges);
	run("all ranges in use", full);
	run("two devices never share a number", devices);
	return done();
}
