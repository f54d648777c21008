/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * frames.c -- page frame numbers: which memory is meant
 *
 * Owns: the table of ranges, the word of each frame.
 * Locks: ranges_lock to give and take ranges; translation reads without it.
 *        Words change by atomic operations; nothing is held.
 * Kernel: pfn_to_page() and devm_memremap_pages(); dax_page_share_get(),
 *         dax_wait_page_idle().
 */
#include "frames.h"

#include <errno.h>

#include "errormsg.h"
#include "sys.h"
#include "zero_page.h"

_Atomic(char *) frames_base[FRAMES_NR_RANGES];
_Atomic(struct dax_device *) frames_device[FRAMES_NR_RANGES];
_Atomic bool frames_ever_shared;

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

/* ---- who needs a frame ----------------------------------------------------- */

/* Threads that wait for an unpin, and a number that every unpin changes while
 * there are any. */
static _Atomic uint32_t nr_waiting;
static _Atomic uint32_t nr_unpins;
static _Atomic uint64_t nr_buffers;

int frame_table_init(struct frame_table *table, uint64_t nr)
{
	void *word;

	if (sys_reserve(&word, nr * sizeof(*table->word)))
		return dax_error(-ENOMEM, "no address space for the counts of %llu frames",
				 (unsigned long long)nr);
	table->word = word;
	table->nr = nr;
	return 0;
}

void frame_table_fini(struct frame_table *table)
{
	sys_unreserve(table->word, table->nr * sizeof(*table->word));
}

void frame_share(struct frame_table *table, uint64_t i)
{
	if (!READ_ONCE(frames_ever_shared))
		smp_store_release(&frames_ever_shared, true);
	atomic_fetch_add(&table->word[i], 1);
}

bool frame_leave(struct frame_table *table, uint64_t i)
{
	uint64_t old = READ_ONCE(table->word[i]), word;

	/* Also where nothing changes: what was done to the frame comes before
	 * whatever its next owner does. */
	do {
		if (old & FRAME_SHARES)
			word = old - 1;
		else
			word = old ? old | FRAME_LEFT : 0;
	} while (!atomic_compare_exchange_weak(&table->word[i], &old, word));
	return old == 0;
}

void frame_pin(struct frame_table *table, uint64_t i)
{
	atomic_fetch_add(&table->word[i], FRAME_PIN);
}

static void tell_waiters(void)
{
	if (likely(!atomic_load(&nr_waiting)))
		return;
	atomic_fetch_add(&nr_unpins, 1);
	futex_wake(&nr_unpins, INT32_MAX);
}

bool frame_unpin(struct frame_table *table, uint64_t i)
{
	uint64_t old = READ_ONCE(table->word[i]), word;

	do {
		word = old - FRAME_PIN;
		if (word == FRAME_LEFT)
			word = 0;
	} while (!atomic_compare_exchange_weak(&table->word[i], &old, word));
	tell_waiters();
	return old == (FRAME_PIN | FRAME_LEFT);
}

uint32_t frames_wait_begin(void)
{
	atomic_fetch_add(&nr_waiting, 1);
	return atomic_load(&nr_unpins);
}

int frames_wait(uint32_t seen)
{
	dax_test_yield(DAX_TEST_BEFORE_PIN_WAIT);
	return futex_wait_interruptible(&nr_unpins, seen);
}

void frames_wait_end(void)
{
	atomic_fetch_sub(&nr_waiting, 1);
}

void frames_count_buffer(int n)
{
	atomic_fetch_add(&nr_buffers, (uint64_t)(int64_t)n);
}

bool frames_any_buffer(void)
{
	return atomic_load(&nr_buffers);
}
