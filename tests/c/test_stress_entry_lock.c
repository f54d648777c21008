/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_stress_entry_lock.c -- two threads lock, delete and downgrade the same
 * entries; built under TSan too
 *
 * The lock of an entry guards a plain counter for each of its pages.  Whoever
 * holds the lock counts; TSan sees every hand-over that has no happens-before
 * in it, whether it goes by unlock, by delete and insert, or by downgrade.
 */
#include <pthread.h>

#include "invariants.h"
#include "white_box.h"

enum { THREADS = 2, STEPS = 600000, HOT = 8, MEET = 4000 };

static uint64_t guarded[4 * PMD_PAGES];
static uint64_t sum[THREADS];
static pthread_barrier_t meeting;

/* Few pages, two of them in one 2 MiB, so that they meet. */
static dax_pgoff_t hot_page(unsigned int *seed)
{
	return rnd(seed, 4) * PMD_PAGES + rnd(seed, HOT);
}

static void count_page(dax_pgoff_t index, unsigned int thread)
{
	guarded[index]++;
	sum[thread]++;
}

/* Replace as the fault path would: EMPTY gets a block or the zero page. */
static void fill_in(struct dax_slot *slot, unsigned int *seed)
{
	unsigned int pmd = slot->iter.order ? DAX_PMD : 0;

	if (!dax_is_empty_entry(slot->iter.entry))
		return;
	if (rnd(seed, 2))
		dax_replace_entry(slot, dax_radix_locked_entry(0, pmd | DAX_ZERO_PAGE));
	else
		dax_replace_entry(slot, dax_radix_locked_entry(
			device_pfn(slot->iter.index), pmd));
}

static void grab(struct dax_slot *slot, unsigned int order, unsigned int *seed,
		 unsigned int thread)
{
	if (grab_mapping_entry(slot, order))
		return;
	count_page(slot->index, thread);
	jitter(DAX_TEST_AFTER_GRAB);
	fill_in(slot, seed);
	if (rnd(seed, 4))
		put_locked_mapping_entry(slot);
	else
		dax_delete_locked_entry(slot);
}

static bool mostly(const struct dax_slot *slot, const void *seed)
{
	return slot->iter.entry && rnd((unsigned int *)(uintptr_t)seed, 8);
}

static void get(struct dax_slot *slot, unsigned int *seed, unsigned int thread)
{
	if (!lock_slot_if(slot, mostly, seed))
		return;
	count_page(slot->index, thread);
	if (rnd(seed, 2))
		put_locked_mapping_entry(slot);
	else
		dax_delete_locked_entry(slot);
}

static void step(unsigned int *seed, unsigned int thread)
{
	dax_pgoff_t index = hot_page(seed);
	struct percpu_area *area;
	struct dax_slot slot;

	MUST(!mapping_lock_shared(fx.file, &area));
	dax_slot_init(&slot, fx.file, area, index);
	switch (rnd(seed, 4)) {
	case 0:
		grab(&slot, DAX_PMD_ORDER, seed, thread);
		break;
	case 1:
		grab(&slot, 0, seed, thread);
		break;
	default:
		get(&slot, seed, thread);
		break;
	}
	mapping_unlock_shared(fx.file, area);
}

/* Empty nodes go, so that 2 MiB entries find room again. */
static void start_afresh(void)
{
	check_tree_and_leaves(fx.file);
	MUST(!mapping_lock_exclusive(fx.file));
	forget_entries(0, 4 * PMD_PAGES);
	mapping_unlock_exclusive(fx.file);
}

static void *thread_main(void *arg)
{
	unsigned int thread = (unsigned int)(uintptr_t)arg, seed = thread + 1;

	for (int i = 1; i <= STEPS; i++) {
		step(&seed, thread);
		if (i % MEET)
			continue;
		pthread_barrier_wait(&meeting);
		if (thread == 0)
			start_afresh();
		pthread_barrier_wait(&meeting);
	}
	return NULL;
}

static void check_sum(void)
{
	uint64_t total = 0;

	for (dax_pgoff_t i = 0; i < 4 * PMD_PAGES; i++)
		total += guarded[i];
	EQ(total, sum[0] + sum[1]);
	CHECK(total > STEPS / 4);
}

static void lock_delete_downgrade(void)
{
	pthread_t threads[THREADS];

	dax_test.yield = jitter;
	fx_open(4 * PMD_PAGES);
	pthread_barrier_init(&meeting, NULL, THREADS);
	for (uintptr_t i = 0; i < THREADS; i++)
		MUST(!pthread_create(&threads[i], NULL, thread_main, (void *)i));
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	dax_test.yield = NULL;
	check_sum();
	CHECK(count(DAX_STAT_DOWNGRADE) > 0);
	fx_close();
}

/* ---- hand-over through an empty slot ----------------------------------------------- */

/*
 * One thread has seen a slot empty and builds nodes for it; meanwhile the
 * other puts a 2 MiB entry there, works under its lock and deletes it.  The
 * first then publishes its nodes over an empty slot again, and what the other
 * did under the lock must be visible to it.  The flags are relaxed: they tell
 * TSan nothing.
 */
static _Atomic int stage;
static __thread bool pauses;

static void pause_in_prealloc(enum dax_test_point point)
{
	if (point != DAX_TEST_GRAB_PREALLOC || !pauses)
		return;
	WRITE_ONCE(stage, 1);
	while (READ_ONCE(stage) != 2)
		cpu_relax();
}

static void with_entry(dax_pgoff_t index, unsigned int order, bool delete)
{
	struct percpu_area *area;
	struct dax_slot slot;

	MUST(!mapping_lock_shared(fx.file, &area));
	dax_slot_init(&slot, fx.file, area, index);
	EQ(grab_mapping_entry(&slot, order), 0);
	guarded[index]++;
	if (delete)
		dax_delete_locked_entry(&slot);
	else
		put_locked_mapping_entry(&slot);
	mapping_unlock_shared(fx.file, area);
}

static void *builds_nodes(void *arg)
{
	(void)arg;
	pauses = true;
	with_entry(PMD_PAGES, 0, false);
	return NULL;
}

static void hand_over_through_an_empty_slot(void)
{
	pthread_t thread;

	fx_open(4 * PMD_PAGES);
	plant(0, 0, DAX_ZERO_PAGE | DAX_PMD);	/* so that the node is there */
	guarded[PMD_PAGES] = 0;
	WRITE_ONCE(stage, 0);
	dax_test.yield = pause_in_prealloc;
	MUST(!pthread_create(&thread, NULL, builds_nodes, NULL));
	while (READ_ONCE(stage) != 1)
		cpu_relax();
	with_entry(PMD_PAGES, DAX_PMD_ORDER, true);
	WRITE_ONCE(stage, 2);
	pthread_join(thread, NULL);
	dax_test.yield = NULL;
	EQ(guarded[PMD_PAGES], 2);
	fx_close();
}

int main(void)
{
	plan(2);
	run("1.2 million locks of two threads", lock_delete_downgrade);
	run("hand-over through an empty slot", hand_over_through_an_empty_slot);
	return done();
}
