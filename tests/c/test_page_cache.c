/* SPDX-License-Identifier: BSD-3-Clause */
/* test_page_cache.c -- the comparator: pages, their lock, two-step writes */
#include "page_cache.h"

#include <pthread.h>

#include "fixture.h"
#include "invariants.h"
#include "oom.h"

enum { MIB = 1 << 20 };

static struct dax_device *dev;

static struct dax_vma *map_4k(struct dax_mapping *mapping, uint64_t length)
{
	return map_pages(mapping, length, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
}

static void *tree_word(struct dax_mapping *mapping, dax_pgoff_t index)
{
	return radix_tree_lookup(&mapping->i_pages, index);
}

static bool is_page(struct dax_mapping *mapping, dax_pgoff_t index)
{
	void *word = tree_word(mapping, index);

	return word && ((uintptr_t)word & 3) == 0;
}

/* The frame a page shows. */
static dax_pfn_t frame(struct dax_vma *vma, dax_pgoff_t index)
{
	dax_pfn_t pfn = 0;

	EQ(dax_vma_pagemap(vma, index, &pfn, 1), 0);
	return pfn;
}

/* ---- holes ------------------------------------------------------------------------ */

static void a_page_each(unsigned int pool)
{
	struct dax_mapping *mapping = new_cached_file(dev, MIB, pool);
	struct dax_vma *vma = map_4k(mapping, MIB);

	EQ(gauge_of(mapping, DAX_GAUGE_PAGE_CACHE_BYTES), 0);
	EQ(dax_vma_fault_range(vma, 0, 256, 0, NULL, 0, NULL), 256);
	EQ(gauge_of(mapping, DAX_GAUGE_NRPAGES), 256);
	EQ(gauge_of(mapping, DAX_GAUGE_PAGE_CACHE_BYTES), MIB);
	EQ(gauge_of(mapping, DAX_GAUGE_NREXCEPTIONAL), 0);
	EQ(gauge_of(mapping, DAX_GAUGE_ALLOCATED_BYTES), 0);
	EQ(stat_of(mapping, DAX_STAT_LOAD_HOLE), 256);
	for (dax_pgoff_t i = 0; i < 256; i++) {
		CHECK(is_page(mapping, i));
		CHECK(frame(vma, i) & DAX_PFN_HOST);
		EQ(load(vma, i * DAX_PAGE_SIZE + 99), 0);
		for (dax_pgoff_t j = i < 3 ? 0 : i - 3; j < i; j++)
			CHECK(frame(vma, i) != frame(vma, j));
	}
	EQ(stat_of(mapping, DAX_STAT_PTE_FAULT), 256);	/* no load faulted again */
	check_invariants(mapping);
	dax_vma_put(vma);
	EQ(gauge_of(mapping, DAX_GAUGE_NRPAGES), 256);	/* they are the file's */
	dax_mapping_put(mapping);
}

static void pages_of_both_pools(void)
{
	a_page_each(DAX_PAGE_POOL_COLD);
	a_page_each(DAX_PAGE_POOL_WARM);
}

/* Pages used before, and spoiled behind the engine's back, come back zeroed. */
static void really_zeroed(void)
{
	struct dax_mapping *mapping = new_cached_file(dev, 8 * PAGE, DAX_PAGE_POOL_WARM);
	struct dax_vma *vma = map_4k(mapping, 8 * DAX_PAGE_SIZE);
	unsigned char page[DAX_PAGE_SIZE];

	for (int round = 0; round < 2; round++) {
		EQ(dax_vma_fault_range(vma, 0, 8, 0, NULL, 0, NULL), 8);
		for (dax_pgoff_t i = 0; i < 8; i++) {
			EQ(dax_vma_read(vma, page, sizeof(page), i * DAX_PAGE_SIZE, NULL), PAGE);
			CHECK(!page[0] && !memcmp(page, page + 1, sizeof(page) - 1));
			memset(pfn_to_kaddr(frame(vma, i)), 0xee, DAX_PAGE_SIZE);
		}
		EQ(dax_mapping_truncate(mapping, 0), 0);
		EQ(gauge_of(mapping, DAX_GAUGE_NRPAGES), 0);
		EQ(dax_mapping_truncate(mapping, 8 * PAGE), 0);
	}
	check_invariants(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
}

/* A second mapping shows the same page. */
static void one_page_for_all(void)
{
	struct dax_mapping *mapping = new_cached_file(dev, MIB, DAX_PAGE_POOL_COLD);
	struct dax_vma *a = map_4k(mapping, MIB), *b = map_4k(mapping, MIB);

	EQ(load(a, 0), 0);
	EQ(load(b, 0), 0);
	EQ(frame(a, 0), frame(b, 0));
	EQ(gauge_of(mapping, DAX_GAUGE_NRPAGES), 1);
	EQ(stat_of(mapping, DAX_STAT_LOAD_HOLE), 2);
	check_invariants(mapping);
	/* A write through one takes the page from both, and gives it back. */
	EQ(store(a, 0, 'w'), 0);
	EQ(load(b, 0), 'w');
	EQ(gauge_of(mapping, DAX_GAUGE_NRPAGES), 0);
	check_invariants(mapping);
	dax_vma_put(a);
	dax_vma_put(b);
	dax_mapping_put(mapping);
}

/* A pool that was warm for the size at first serves a file that grew. */
static void pool_grows(void)
{
	struct dax_mapping *mapping = new_cached_file(dev, 2 * PAGE, DAX_PAGE_POOL_WARM);
	struct dax_vma *vma = map_4k(mapping, MIB);

	EQ(dax_mapping_truncate(mapping, MIB), 0);
	EQ(dax_vma_fault_range(vma, 0, 256, 0, NULL, 0, NULL), 256);
	EQ(gauge_of(mapping, DAX_GAUGE_NRPAGES), 256);
	check_invariants(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
}

/* ---- fault counts (both policies side by side) ---------------------------------------- */

static struct dax_mapping *file_of(unsigned int policy)
{
	return policy ? new_cached_file(dev, MIB, DAX_PAGE_POOL_COLD)
		      : new_file(dev, MIB);
}

static int64_t touch(struct dax_vma *vma, dax_pgoff_t index, int write)
{
	return dax_vma_fault_range(vma, index, 1, write, NULL, 0, NULL);
}

static void fault_counts(void)
{
	const int64_t untouched[] = { 1, 2 }, after_read[] = { 2, 3 };

	for (unsigned int policy = 0; policy < 2; policy++) {
		struct dax_mapping *mapping = file_of(policy);
		struct dax_vma *vma = map_4k(mapping, MIB);

		EQ(touch(vma, 0, 1), untouched[policy]);
		EQ(touch(vma, 0, 1), 0);
		EQ(touch(vma, 1, 0) + touch(vma, 1, 1), after_read[policy]);
		EQ(put(mapping, 2 * PAGE, 'b'), 0);	/* a page with a block */
		EQ(touch(vma, 2, 0) + touch(vma, 2, 1), 2);
		EQ(stat_of(mapping, DAX_STAT_PFN_MKWRITE), policy ? 3 : 0);
		check_invariants(mapping);
		dax_vma_put(vma);
		dax_mapping_put(mapping);
	}
}

/* The two steps one by one: read-only data, then writable and dirty. */
static void two_steps(void)
{
	struct dax_mapping *mapping = new_cached_file(dev, MIB, DAX_PAGE_POOL_COLD);
	struct dax_vma *vma = map_4k(mapping, MIB);
	struct dax_fault_info info;
	uint64_t leaf;

	EQ(dax_vma_fault(vma, 5, 0, &info), DAX_VM_FAULT_NOPAGE);
	CHECK(is_page(mapping, 5));
	EQ(vma_soft_leaf(vma, 5) & (LEAF_WRITE | LEAF_DIRTY), 0);
	/* Page filled: NEW block, entry dirty, leaf read-only still. */
	EQ(dax_vma_fault(vma, 5, 1, &info),
	   (int)(DAX_VM_FAULT_NOPAGE | DAX_VM_FAULT_MAJOR));
	leaf = vma_soft_leaf(vma, 5);
	CHECK(dax_is_data_entry(tree_word(mapping, 5)) && !is_page(mapping, 5));
	CHECK(pfn_is_device(leaf >> DAX_PAGE_SHIFT));
	EQ(leaf & (LEAF_WRITE | LEAF_DIRTY), 0);
	EQ(stat_of(mapping, DAX_STAT_PFN_MKWRITE), 0);
	CHECK(radix_tree_tagged(&mapping->i_pages, DAX_PAGECACHE_TAG_DIRTY));
	check_invariants(mapping);
	EQ(dax_vma_fault(vma, 5, 1, &info), DAX_VM_FAULT_NOPAGE);
	EQ(vma_soft_leaf(vma, 5), leaf | LEAF_WRITE | LEAF_DIRTY | LEAF_YOUNG);
	EQ(stat_of(mapping, DAX_STAT_PFN_MKWRITE), 1);
	EQ(gauge_of(mapping, DAX_GAUGE_NRPAGES), 0);
	check_invariants(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
}

/* The first step of a read of data tags nothing; the second step tags. */
static void mkwrite_tags(void)
{
	struct dax_mapping *mapping = new_cached_file(dev, MIB, DAX_PAGE_POOL_COLD);
	struct dax_vma *vma = map_4k(mapping, MIB);

	EQ(put(mapping, 0, 'b'), 0);
	EQ(load(vma, 0), 'b');
	CHECK(!radix_tree_tagged(&mapping->i_pages, DAX_PAGECACHE_TAG_DIRTY));
	EQ(store(vma, 0, 'c'), 0);
	CHECK(radix_tree_tagged(&mapping->i_pages, DAX_PAGECACHE_TAG_DIRTY));
	EQ(get(mapping, 0), 'c');
	check_invariants(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
}

/* ---- pages and everything else --------------------------------------------------------- */

static void pages_leave(void)
{
	struct dax_mapping *mapping = new_cached_file(dev, MIB, DAX_PAGE_POOL_COLD);
	struct dax_vma *vma = map_4k(mapping, MIB);
	struct dax_vma *copy = map_private(mapping, MIB);

	EQ(dax_vma_fault_range(vma, 0, 100, 0, NULL, 0, NULL), 100);
	EQ(store(copy, 0, 'c'), 0);	/* copied from a page; the page stays */
	EQ(gauge_of(mapping, DAX_GAUGE_NRPAGES), 100);
	EQ(fill(mapping, 0, 10 * DAX_PAGE_SIZE, 'w'), 10 * PAGE);
	EQ(gauge_of(mapping, DAX_GAUGE_NRPAGES), 90);
	EQ(load(vma, 5 * DAX_PAGE_SIZE), 'w');
	EQ(load(copy, 0), 'c');
	check_invariants(mapping);
	EQ(dax_mapping_punch_hole(mapping, 20 * PAGE, 10 * DAX_PAGE_SIZE), 0);
	EQ(gauge_of(mapping, DAX_GAUGE_NRPAGES), 80);
	check_invariants(mapping);
	EQ(dax_mapping_truncate(mapping, 50 * PAGE), 0);
	EQ(gauge_of(mapping, DAX_GAUGE_NRPAGES), 30);
	EQ(load(vma, 25 * DAX_PAGE_SIZE), 0);
	check_invariants(mapping);
	EQ(dax_mapping_truncate(mapping, 0), 0);
	EQ(gauge_of(mapping, DAX_GAUGE_NRPAGES), 0);
	EQ(gauge_of(mapping, DAX_GAUGE_NREXCEPTIONAL), 0);
	check_invariants(mapping);
	dax_vma_put(vma);
	dax_vma_put(copy);
	dax_mapping_put(mapping);
}

/* A page anywhere in 2 MiB keeps a 2 MiB fault out; none: a huge zero page,
 * under this policy as before the zero page. */
static void pages_and_pmd(void)
{
	struct dax_mapping *mapping = new_cached_file(dev, 2 * PMD, DAX_PAGE_POOL_COLD);
	struct dax_vma *small = map_4k(mapping, 2 * PMD);
	struct dax_vma *huge = map_pages(mapping, 2 * PMD, RW | DAX_VM_SHARED,
					 DAX_PAGES_PMD);
	struct dax_fault_info info;

	EQ(load(small, 300 * DAX_PAGE_SIZE), 0);
	EQ(dax_vma_fault(huge, 0, 0, &info), DAX_VM_FAULT_FALLBACK);
	EQ(info.reason, DAX_FALLBACK_ENTRY_EXISTS);
	CHECK(is_page(mapping, 300));
	EQ(dax_vma_fault(huge, 512, 0, &info), DAX_VM_FAULT_NOPAGE);
	EQ(frame(huge, 512), DAX_HUGE_ZERO_PFN);
	EQ(gauge_of(mapping, DAX_GAUGE_NRPAGES), 1);
	/* A 4 KiB read of the 2 MiB hole downgrades it: a page. */
	EQ(load(small, 600 * DAX_PAGE_SIZE), 0);
	EQ(stat_of(mapping, DAX_STAT_DOWNGRADE), 1);
	EQ(frame(huge, 512), 0);
	EQ(gauge_of(mapping, DAX_GAUGE_NRPAGES), 2);
	check_invariants(mapping);
	dax_vma_put(small);
	dax_vma_put(huge);
	dax_mapping_put(mapping);
}

/* In a tree of the zero-page policy a page pointer is a foreign word: -EIO for
 * every fault, and no call trips over it. */
static void foreign_pointer(void)
{
	static char foreign[64] __attribute__((aligned(64)));
	struct dax_mapping *mapping = new_file(dev, 2 * PMD);
	struct dax_vma *vma = map_shared(mapping, 2 * PMD);
	struct dax_vma *copy = map_private(mapping, 2 * PMD);
	struct radix_tree_iter iter;
	struct dax_fault_info info;

	MUST(!radix_tree_insert(&mapping->i_pages, 3, 0, foreign, &iter));
	for (int write = 0; write < 2; write++) {
		EQ(dax_vma_fault(vma, 3, write, &info), DAX_VM_FAULT_SIGBUS);
		EQ(info.error, -EIO);
		CHECK(errormsg_has("page pointer"));
		EQ(dax_vma_fault(copy, 3, write, &info), DAX_VM_FAULT_SIGBUS);
		EQ(info.error, -EIO);
	}
	CHECK(tree_word(mapping, 3) == foreign);
	EQ(load(vma, 4 * DAX_PAGE_SIZE), 0);	/* neighbours are well */
	EQ(put(mapping, 3 * PAGE, 'x'), 0);	/* the file's bytes, too */
	EQ(get(mapping, 3 * PAGE), 'x');
	EQ(load(vma, 3 * DAX_PAGE_SIZE), -1);
	*iter.slot = NULL;
	EQ(load(vma, 3 * DAX_PAGE_SIZE), 'x');
	check_invariants(mapping);
	dax_vma_put(vma);
	dax_vma_put(copy);
	dax_mapping_put(mapping);
}

/* ---- no memory ------------------------------------------------------------------------------ */

static void faults_without_memory(void)
{
	for (int way = 0; way < 4; way++) {
		unsigned int n = 1;

		do {
			struct dax_mapping *mapping =
				new_cached_file(dev, MIB, DAX_PAGE_POOL_COLD);
			struct dax_vma *vma = map_4k(mapping, MIB);

			if (way & 2)
				EQ(load(vma, 0), 0);
			oom_fail_nth(n);
			dax_vma_fault_range(vma, 0, 1, way & 1, NULL, 0, NULL);
			oom_clear();
			check_invariants(mapping);
			EQ(store(vma, 0, 'f'), 0);
			EQ(get(mapping, 0), 'f');
			EQ(gauge_of(mapping, DAX_GAUGE_NRPAGES), 0);
			check_invariants(mapping);
			dax_vma_put(vma);
			dax_mapping_put(mapping);
		} while (oom_fired() && n++ < 100);
		CHECK(way == 2 ? n == 1 : n > 1);	/* a mapped page needs none */
	}
}

static void new_without_memory(void)
{
	struct dax_mapping_attr attr = {
		.struct_size = sizeof(attr), .size = MIB,
		.policy = DAX_POLICY_PAGE_CACHE, .page_pool = DAX_PAGE_POOL_WARM,
	};
	struct dax_mapping *mapping = NULL;

	OOM_LOOP(n) {
		int ret;

		oom_fail_nth(n);
		ret = dax_mapping_new(&mapping, dev, &attr);
		oom_clear();
		if (!oom_fired()) {
			EQ(ret, 0);
			break;
		}
		EQ(ret, -ENOMEM);
		CHECK(!mapping);
	}
	CHECK(oom_rounds() >= 4);
	dax_mapping_put(mapping);
	mapping = NULL;
	attr.size = INT64_MAX - 4095;	/* no such memory: said so, not tried */
	EQ(dax_mapping_new(&mapping, dev, &attr), -ENOMEM);
	CHECK(!mapping && errormsg_has("cold"));
	attr.page_pool = 2;
	EQ(dax_mapping_new(&mapping, dev, &attr), -EINVAL);
	attr.policy = 2;
	EQ(dax_mapping_new(&mapping, dev, &attr), -EINVAL);
}

/* ---- B4: many readers of one hole --------------------------------------------------------- */

enum { READERS = 9, ROUNDS = 300 };

static struct dax_mapping *shared_mapping;
static struct dax_vma *reader_vma[READERS];
static pthread_barrier_t begin, end;
static _Atomic unsigned int wrong;

static void *reader(void *arg)
{
	uintptr_t me = (uintptr_t)arg;

	for (int i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&begin);
		wrong += load(reader_vma[me], 7 * DAX_PAGE_SIZE) != 0;
		pthread_barrier_wait(&end);
	}
	return NULL;
}

static void yield_at_random(enum dax_test_point point)
{
	static _Atomic unsigned int nr;

	if (point == DAX_TEST_AFTER_GRAB && nr++ % 3 == 0)
		sched_yield();
}

/* The hole's entry becomes a page while eight others wait for it: all get the
 * one page, nobody sleeps for ever. */
static void nine_readers(void)
{
	pthread_t thread[READERS];

	shared_mapping = new_cached_file(dev, MIB, DAX_PAGE_POOL_COLD);
	dax_test.no_spin = true;
	dax_test.yield = yield_at_random;
	pthread_barrier_init(&begin, NULL, READERS + 1);
	pthread_barrier_init(&end, NULL, READERS + 1);
	for (uintptr_t i = 0; i < READERS; i++) {
		reader_vma[i] = map_4k(shared_mapping, MIB);
		MUST(!pthread_create(&thread[i], NULL, reader, (void *)i));
	}
	for (int i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&begin);
		pthread_barrier_wait(&end);
		EQ(gauge_of(shared_mapping, DAX_GAUGE_NRPAGES), 1);
		for (int j = 1; j < READERS; j++)
			EQ(frame(reader_vma[j], 7), frame(reader_vma[0], 7));
		EQ(dax_mapping_truncate(shared_mapping, 0), 0);
		EQ(dax_mapping_truncate(shared_mapping, MIB), 0);
	}
	for (int i = 0; i < READERS; i++)
		pthread_join(thread[i], NULL);
	EQ(wrong, 0);
	dax_test.no_spin = false;
	dax_test.yield = NULL;
	check_invariants(shared_mapping);
	for (int i = 0; i < READERS; i++)
		dax_vma_put(reader_vma[i]);
	dax_mapping_put(shared_mapping);
}

int main(void)
{
	plan(13);
	dev = new_device(8 * MIB);
	run("a hole is a page each, from a cold and a warm pool", pages_of_both_pools);
	run("pages are zeroed each time", really_zeroed);
	run("all mappings show one page, until it is written to", one_page_for_all);
	run("a warm pool grows with the file", pool_grows);
	run("faults of a write: 1 and 2, after a read: 2 and 3", fault_counts);
	run("the two steps of a write", two_steps);
	run("the second step tags the entry", mkwrite_tags);
	run("pwrite, punch and truncate take pages out", pages_leave);
	run("pages and 2 MiB faults", pages_and_pmd);
	run("a page pointer in a zero-page tree is -EIO", foreign_pointer);
	run("faults: every allocation fails in turn", faults_without_memory);
	run("new file: every allocation fails in turn", new_without_memory);
	run("B4: nine readers of one hole, 300 rounds", nine_readers);
	dax_device_put(dev);
	return done();
}
