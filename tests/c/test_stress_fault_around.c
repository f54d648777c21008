/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_stress_fault_around.c -- runs of faults, stores, fsync and punch at once
 *
 * Nothing is forced here; that the entries are right in the end and that no
 * store is lost, whoever settled its page, is what is looked at.
 */
#include "ahead.h"
#include "fixture.h"
#include "invariants.h"

enum { PAGES = 1024, DEVICE = 4096, THREADS = 3, ROUNDS = 400 };

static struct dax_device *dev;
static struct dax_mapping *file;
static struct dax_vma *vma;
static _Atomic unsigned int bad;

/* Thread k stores k + 1 to pages that are k modulo THREADS. */
static void one_round(uint64_t k, unsigned int i, uint64_t *state)
{
	uint64_t page = next_random(state) % (PAGES - THREADS);
	uint64_t nr = 1 + next_random(state) % 100;

	page += k - page % THREADS;
	bad += vma_fault_around(vma, page, (unsigned int)nr, i % 4) < 1;
	bad += !!store(vma, page * PAGE, (int)(1 + k));
	bad += load(vma, page * PAGE) != (int)(1 + k);
	if (i % 32 == 7)
		bad += !!dax_mapping_fsync(file, NULL);
	if (i % 64 == 9)
		bad += !!mapping_give_back_ahead(file);
	if (i % 64 == 21)
		bad += !!dax_mapping_punch_hole(file, (PAGES - 1) * PAGE, PAGE);
}

static void *body(void *arg)
{
	uint64_t k = (uint64_t)(uintptr_t)arg, state = k + 12345;

	for (unsigned int i = 0; i < ROUNDS; i++)
		one_round(k, i, &state);
	return NULL;
}

static void run_threads(void)
{
	pthread_t thread[THREADS];

	for (uintptr_t k = 0; k < THREADS; k++)
		MUST(!pthread_create(&thread[k], NULL, body, (void *)k));
	for (int k = 0; k < THREADS; k++)
		MUST(!pthread_join(thread[k], NULL));
}

/* How many pages were stored to; each by its own thread. */
static uint64_t check_pages(void)
{
	uint64_t stored = 0;

	for (int page = 0; page < PAGES; page++) {
		int byte = get(file, page * PAGE);

		CHECK(byte == 0 || byte == 1 + page % THREADS);
		stored += byte != 0;
	}
	return stored;
}

static void many_at_once(void)
{
	dev = new_device((uint64_t)DEVICE << DAX_PAGE_SHIFT);
	file = new_file(dev, PAGES * PAGE);
	vma = map_pages(file, PAGES * PAGE, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
	run_threads();
	EQ(bad, 0);
	check_invariants(file);
	EQ(mapping_give_back_ahead(file), 0);
	CHECK(stat_of(file, DAX_STAT_AHEAD_GIVEN_BACK) > 0);
	EQ(gauge_of(file, DAX_GAUGE_ALLOCATED_BYTES), check_pages() * PAGE);
	check_leaf_bytes(file);
	dax_vma_put(vma);
	check_owners(dev, &file, 1);
	dax_mapping_put(file);
	dax_device_put(dev);
	check_wait_table();
}

int main(void)
{
	plan(1);
	run("runs, stores, fsync and punch at once", many_at_once);
	return done();
}
