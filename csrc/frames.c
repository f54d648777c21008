/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * frames.c -- page frame numbers: which memory is meant
 *
 * Owns: the table of ranges.
 * Locks: ranges_lock to give and take ranges; translation reads without it.
 * Kernel: pfn_to_page() and devm_memremap_pages().
 */
#include "frames.h"

#include <errno.h>

#include "errormsg.h"
#include "sys.h"
#include "zero_page.h"

_Atomic(char *) frames_base[FRAMES_NR_RANGES];
_Atomic(struct dax_device *) frames_device[FRAMES_NR_RANGES];

static struct mutex ranges_lock;

/* Constructors run in order of priority: sys.c, zero_page.c, this. */
__attribute__((constructor(103))) static void frames_init(void)
{
	WRITE_ONCE(frames_base[0], zero_page_base());
}

static unsigned int ranges_for(uint64_t nr_pages)
{
	return (unsigned int)((nr_pages - 1) >> FRAMES_RANGE_SHIFT) + 1;
}

/* First of @nr neighbouring free ranges; 0 if there are none. */
static unsigned int find_ranges(unsigned int nr)
{
	unsigned int run = 0;

	for (unsigned int i = 1; i < FRAMES_NR_RANGES; i++) {
		run = READ_ONCE(frames_base[i]) ? 0 : run + 1;
		if (run == nr)
			return i - nr + 1;
	}
	return 0;
}

int frames_register(void *base, uint64_t nr_pages, dax_pfn_t *ret_pfn)
{
	unsigned int nr = ranges_for(nr_pages);
	unsigned int first;

	mutex_lock(&ranges_lock);
	first = find_ranges(nr);
	for (unsigned int i = 0; first && i < nr; i++)
		smp_store_release(&frames_base[first + i],
				  (char *)base + ((uint64_t)i << (FRAMES_RANGE_SHIFT + DAX_PAGE_SHIFT)));
	mutex_unlock(&ranges_lock);
	if (!first)
		return dax_error(-ENFILE, "too many devices are open: no range of "
				 "frame numbers is free");
	*ret_pfn = (dax_pfn_t)first << FRAMES_RANGE_SHIFT;
	return 0;
}

void frames_set_device(dax_pfn_t pfn, uint64_t nr_pages, struct dax_device *dev)
{
	unsigned int first = (unsigned int)(pfn >> FRAMES_RANGE_SHIFT);

	for (unsigned int i = 0; i < ranges_for(nr_pages); i++)
		smp_store_release(&frames_device[first + i], dev);
}

void frames_unregister(dax_pfn_t pfn, uint64_t nr_pages)
{
	unsigned int first = (unsigned int)(pfn >> FRAMES_RANGE_SHIFT);
	unsigned int nr = ranges_for(nr_pages);

	frames_set_device(pfn, nr_pages, NULL);
	mutex_lock(&ranges_lock);
	for (unsigned int i = 0; i < nr; i++)
		smp_store_release(&frames_base[first + i], NULL);
	mutex_unlock(&ranges_lock);
}

void frames_fork_prepare(void)
{
	mutex_lock(&ranges_lock);
}

void frames_fork_done(void)
{
	mutex_unlock(&ranges_lock);
}
